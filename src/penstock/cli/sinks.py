"""``penstock sinks``: which sinks there are, and what one of them handles and takes for settings.

A sink is looked at, never made: what is shown comes from the class, its decorators and its settings dataclass. What would be refused when
it is bound is refused here, with the same words.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import sys
import types
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import typer

from .. import sinks as shipped
from ..config.registry import GROUP, find_sink
from ..errors import ConfigError
from ..events.binding import Binding, Bindings
from ..events.catalog import CATALOG
from ..events.plug import Plug
from ..events.secret import Secret
from ..events.sink import Sink, settings_type
from .bindings import conditions, event_label
from .exits import EX_CONFIG, complain
from .in_json import in_json
from .listing import Layout, Row, show

LAYOUT = Layout(columns=("sink", "events", "from", "what"), narrow=("sink", "events", "what"), fold=("events", "what"))


def show_sinks(config: Path, name: str, as_json: bool) -> None:
    """Lists the sinks that ship and those of installed packages, or shows one. Raises ConfigError; typer.Exit."""
    for folder in (config.parent, config.parent / "sinks", Path.cwd()):
        if str(folder.absolute()) not in sys.path:
            sys.path.append(str(folder.absolute()))
    if name:
        _show_one(name, as_json)
    else:
        show([*_shipped(), *_offered()], LAYOUT, as_json)


# --- all ---


def _shipped() -> list[Row]:
    found = [getattr(shipped, name) for name in shipped.__all__]
    return [_row(f"penstock.sinks:{cls.__name__}", cls, "penstock") for cls in found if isinstance(cls, type) and issubclass(cls, Sink)]


def _offered() -> list[Row]:
    found: list[Row] = []
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        source = entry.dist.name if entry.dist else entry.value
        try:
            found.append(_row(entry.name, find_sink(entry.name, f"sink {entry.name}"), source))
        except ConfigError as error:
            found.append({"sink": entry.name, "events": "", "from": source, "what": f"it cannot be used: {error.what}"})
    return found


def _row(name: str, cls: type[Sink[Any]], source: str) -> Row:
    try:
        events = ", ".join(dict.fromkeys(str(row["event"]) for row in _handlers(cls, name)))
    except ConfigError as error:
        return {"sink": name, "events": "", "from": source, "what": f"it cannot be used: {error.what}"}
    return {"sink": name, "events": events, "from": source, "what": _doc(cls).partition("\n")[0]}


# --- one ---


def _show_one(name: str, as_json: bool) -> None:
    where = f"sink {name}"
    cls = find_sink(name, where)
    settings = _settings(cls, where)
    try:
        handlers, broken = _handlers(cls, where), None
    except ConfigError as error:
        handlers, broken = [], error
    facts = {
        "sink": name,
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "file": inspect.getsourcefile(cls) or "",
        "doc": _doc(cls),
        "handlers": handlers,
        "settings": settings,
        "error": broken.what if broken is not None else "",
    }
    if as_json:
        typer.echo(in_json(facts))
    else:
        _print(facts)
    if broken is not None:
        raise typer.Exit(complain(EX_CONFIG, f"{broken.where}: {broken.what}", broken.hint))


def _handlers(cls: type[Sink[Any]], where: str) -> list[dict[str, Any]]:
    """What a binding of this sink would be asked, in the order of the catalogue. Raises ConfigError where it could not be bound."""
    # Of the object only the methods are looked at, so no line of its own runs.
    bound = Bindings([Plug("sink", object.__new__(cls), where=where)])
    found = sorted(bound.all, key=lambda binding: list(CATALOG.values()).index(binding.event))
    return [_handler(binding) for binding in found]


def _handler(binding: Binding) -> dict[str, Any]:
    return {
        "event": event_label(binding),
        "handler": binding.method,
        "mode": binding.mode,
        "match": "; ".join(conditions(binding)),
        "answers": [verdict.__name__ for verdict in binding.event.admits],
        "report": binding.event.report,
        "doc": (inspect.getdoc(binding.handler) or "").partition("\n")[0],
    }


def _settings(cls: type[Sink[Any]], where: str) -> list[dict[str, object]]:
    """The settings, those within tables by their dotted names. Raises ConfigError when they are no dataclass."""
    wanted = settings_type(cls)
    if wanted is None:
        return []
    if not is_dataclass(wanted):
        raise ConfigError(where, f"the settings of {cls.__name__} are no dataclass: {wanted!r}")
    return _fields(wanted, "", where, (wanted,))


def _fields(cls: type[Any], prefix: str, where: str, seen: tuple[type[Any], ...]) -> list[dict[str, object]]:
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, AttributeError, TypeError) as error:
        raise ConfigError(where, f"the types of the settings {cls.__name__} cannot be read: {error}") from None
    documented = _documented(cls)
    found: list[dict[str, object]] = []
    for field in fields(cls):
        kind = hints[field.name]
        name = f"{prefix}{field.name}"
        default = _default(field)
        found.append({
            "name": name, "type": type_name(kind), "required": default is MISSING,
            "default": "" if default is MISSING else _written(default), "doc": documented.get(field.name, ""),
        })  # fmt: skip
        inner = _table_in(kind)
        if inner is not None and inner not in seen:
            found += _fields(inner, f"{name}[]." if typing.get_origin(kind) is list else f"{name}.", where, (*seen, inner))
    return found


def _default(field: Field[Any]) -> object:
    if field.default is not MISSING:
        return "***" if not field.repr and field.default else field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return MISSING


def _written(value: object) -> str:
    """A default as one would write it in the file."""
    if isinstance(value, Secret):
        return '"***"' if value else '""'
    if is_dataclass(value):
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return in_json(value, None)


def _table_in(kind: Any) -> type[Any] | None:
    """The dataclass that a value is, or is made of; None for none."""
    if isinstance(kind, type) and is_dataclass(kind):
        return kind
    return next((found for part in typing.get_args(kind) if (found := _table_in(part)) is not None), None)


def type_name(kind: Any) -> str:
    """How a type reads in a settings dataclass, without the modules' names."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " | ".join(type_name(part) for part in parts)
    if origin is typing.Literal:
        return " | ".join(json.dumps(part) for part in parts)
    if parts:
        return f"{getattr(origin, '__name__', origin)}[{', '.join('...' if part is ... else type_name(part) for part in parts)}]"
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))


def _doc(cls: type[Any]) -> str:
    # A class without one inherits that of Sink, which says nothing about it; a dataclass makes one of its signature.
    return inspect.cleandoc(cls.__doc__) if cls.__doc__ and cls.__doc__ != Sink.__doc__ else ""


def _documented(cls: type[Any]) -> dict[str, str]:
    """What the docstring says of each field, under ``Args:``."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__[1:] if is_dataclass(base)]):
        found |= _documented(base)
    names: list[str] = []
    depth = 0
    _, _, text = _doc(cls).partition("Args:\n")
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if not line.strip() or (depth and indent < depth):
            break
        depth = depth or indent
        if indent == depth:
            written, _, said = line.strip().partition(":")
            names = [each.strip() for each in written.split(",")]
            found.update(dict.fromkeys(names, said.strip()))
        else:
            for each in names:
                found[each] += f" {line.strip()}"
    return found


def _print(facts: dict[str, Any]) -> None:
    typer.echo(f"{facts['sink']}: {facts['doc'].partition(chr(10))[0]}".rstrip(": "))
    typer.echo(f"  class {facts['class']}, in {facts['file']}")
    for row in facts["handlers"]:
        condition = f" when {row['match']}" if row["match"] else ""
        typer.echo(f"  handles {row['event']} in {row['handler']} ({row['mode']}){condition}")
        if row["doc"]:
            typer.echo(f"    {row['doc']}")
        answers = ", ".join([*row["answers"], "None"])
        typer.echo("    is told, and answers nothing" if row["report"] else f"    may answer: {answers}")
    typer.echo("  settings:" if facts["settings"] else "  takes no settings")
    for one in facts["settings"]:
        default = "required" if one["required"] else f"default {one['default']}"
        typer.echo(f"    {one['name']}: {one['type']} ({default}){'  ' + one['doc'] if one['doc'] else ''}")
