"""``penstock bindings show`` and ``history``: one binding with all that is known of it, and who changed what."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from ..config import Config, load, plugs
from ..config.kept import Kept, read, visible
from ..config.keys import at, key_of
from ..config.load import convert
from ..config.registry import find_modules, find_sink
from ..config.schema import BindingTable
from ..config.shown import shown
from ..config.sources import Written, changes_path, in_files, with_changes
from ..config.tables import shipped_bindings
from ..errors import ConfigError
from ..events.binding import Bindings
from ..events.plug import Provenance
from ..events.sink import settings_type
from .bindings import rows, state_of
from .bindings_live import ask_workers
from .exits import EX_NOUSER, Stop, complain
from .in_json import in_json
from .listing import Layout, Row, show

HISTORY = Layout(columns=("at", "by", "op", "binding", "keys"), narrow=("at", "by", "op", "binding", "keys"), fold=("keys",))


def show_history(path: Path, as_json: bool) -> None:
    """Lists the changes that were made while the server ran. Raises ConfigError."""
    kept = read(changes_path(load(path)))
    found: list[Row] = [
        {"at": _moment(deed.at), "by": deed.by, "op": deed.op, "binding": deed.name, "keys": ", ".join(deed.keys)} for deed in kept.history
    ]
    show(found, HISTORY, as_json)


def show_one(path: Path, name: str, as_json: bool) -> None:
    """Shows one binding. Raises ConfigError; Stop when there is none of this name."""
    config = load(path)
    kept, hidden = visible(changes_path(config))
    one = _written(config, kept, name)
    facts = _facts(config, kept, one)
    if as_json:
        typer.echo(in_json(facts))
    else:
        _print(facts)
    if hidden:
        complain(0, hidden)


def _written(config: Config, kept: Kept, name: str) -> Written:
    found = {one.table.name: one for one in with_changes(config, in_files(config), kept)}
    for table, key in shipped_bindings(config):
        where = f"{config.path}: {key}"
        raw = {"sink": table.sink, "priority": table.priority, "timeout": float(table.timeout), "threads": table.threads}
        found.setdefault(table.name, Written(table, where, Provenance("built-in"), {**raw, "settings": table.settings}))
    if name not in found:
        override = kept.bindings.get(name)
        if override is not None and override.removed:
            raise Stop(EX_NOUSER, f"binding {name!r} is taken out, by {override.by}", f"'penstock bindings reset {name}' brings it back")
        near = difflib.get_close_matches(name, found, 1)
        raise Stop(EX_NOUSER, f"there is no binding {name!r}", f"did you mean {near[0]!r}?" if near else "see: penstock bindings")
    return found[name]


def _facts(config: Config, kept: Kept, one: Written) -> dict[str, Any]:
    """What is known of a binding, with no secret in it."""
    name = one.table.name
    plug = next((plug for plug in plugs(config, kept) if plug.name == name), None)
    override = kept.bindings.get(name)
    bound = Bindings([plug]) if plug is not None else None
    live = ask_workers(config)
    facts: dict[str, Any] = {
        "name": name,
        "sink": one.table.sink,
        "state": state_of(plug, time.time()) if plug is not None else "disabled",
        "from": one.provenance.source,
        "keys": _keys(one, override.values if override is not None else {}, override is not None and override.table is not None),
        "settings": shown(one.raw.get("settings", {}), _settings_type(config, one)),
        "handlers": [{key: row[key] for key in ("event", "handler", "mode", "match")} for row in (rows(bound) if bound else [])],
    }
    if override is not None:
        facts["changed"] = {"by": override.by, "at": _moment(override.at), "keys": list(override.values)}
    if live is not None:
        facts["counters"] = [
            {"event": event, "handler": handler, **known} for (binding, handler, event), known in live.items() if binding == name
        ]
    return facts


def _settings_type(config: Config, one: Written) -> type[Any] | None:
    find_modules(config)
    try:
        return settings_type(find_sink(one.table.sink, one.where))
    except ConfigError:
        return None


def _keys(one: Written, live: Mapping[str, Any], added: bool) -> dict[str, Any]:
    """All keys but the settings, each with its value and where that is from."""
    default = convert({"name": "x", "sink": "x"}, BindingTable, "")
    found: dict[str, Any] = {}
    for field in fields(BindingTable):
        if field.name in ("name", "sink", "settings"):
            continue
        written = at(one.raw, (field.name,))
        changed = any(key == key_of((field.name,)) or key.startswith(f"{field.name}.") for key in live)
        source = "live" if changed or (added and written is not None) else "file" if written is not None else "default"
        found[field.name] = {"value": _plain(getattr(default, field.name)) if written is None else written, "from": source}
    return found


def _plain(value: object) -> object:
    """A default, as one would write it."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def _print(facts: Mapping[str, Any]) -> None:
    typer.echo(f"binding {facts['name']}: {facts['state']}")
    typer.echo(f"  sink {facts['sink']}")
    typer.echo(f"  written in {facts['from']}")
    if changed := facts.get("changed"):
        keys = f": {', '.join(changed['keys'])}" if changed["keys"] else ""
        typer.echo(f"  changed by {changed['by']} at {changed['at']}{keys}")
    for name, key in facts["keys"].items():
        if key["from"] != "default":
            typer.echo(f"  {name} = {in_json(key['value'], None)}{' (live)' if key['from'] == 'live' else ''}")
    for name, value in (facts["settings"] or {}).items():
        typer.echo(f"  settings.{name} = {in_json(value, None)}")
    for handler in facts["handlers"]:
        condition = f" when {handler['match']}" if handler["match"] else ""
        typer.echo(f"  handles {handler['event']} in {handler['handler']} ({handler['mode']}){condition}")
    for counted in facts.get("counters", []):
        numbers = ", ".join(f"{key} {value}" for key, value in counted.items() if key not in ("event", "handler") and value not in ("", 0))
        typer.echo(f"  at {counted['event']}: {numbers or 'nothing yet'}")


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
