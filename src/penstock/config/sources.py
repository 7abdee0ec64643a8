"""Where bindings are written: the file, the folder of further files, installed packages, and live changes; put together in that order.

A name stands for one binding wherever it is written; two of them are an error that names both places. Live changes come last: they stay
until they are reset, whatever the files say meanwhile.
"""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..events.plug import Provenance
from . import code
from .checks import check_binding
from .faults import faults_of_the_user
from .kept import NAME, Kept, Override
from .keys import changed, path_of
from .load import convert, unknown_keys
from .schema import BindingTable, Config, ServerTable

GROUP = "penstock.bindings"
# What can be changed of a binding that carries out a table: the rest is what the table says.
CONTROL = frozenset({"enabled", "priority", "timeout", "on_error", "threads", "concurrency", "breaker"})


@dataclass(frozen=True, slots=True)
class Written:
    """A binding as it is written.

    Args:
        table: what it says.
        where: the file and table, for errors.
        provenance: where it comes from, and who changed it last.
        raw: the table as it was read, references to secrets and all.
    """

    table: BindingTable
    where: str
    provenance: Provenance
    raw: Mapping[str, Any]


def changes_path(config: Config) -> Path:
    """The file of the live changes."""
    return config.resolve(config.server.spool) / NAME


def in_files(config: Config) -> list[Written]:
    """The bindings of the file, the folder and the packages, in that order. Raises ConfigError."""
    found = list(_listed(str(config.path), config.raw_bindings))
    folder = config.resolve(config.server.bindings)
    for path in _drop_ins(config, folder):
        found += _listed(str(path), _tables(path))
    for name in config.server.packages:
        found += _of_package(config, name)
    _check_names(found)
    for one in found:
        check_binding(config, one.table, one.where)
    return found


def with_changes(config: Config, base: Sequence[Written], kept: Kept) -> list[Written]:
    """The bindings as they are with the live changes. Raises ConfigError that names the live change."""
    path = changes_path(config)
    found: list[Written] = []
    for one in base:
        override = kept.bindings.get(one.table.name)
        if override is None:
            found.append(one)
        elif not override.removed:
            found.append(_overridden(path, one, override))
    names = {one.table.name for one in base}
    for name, override in kept.bindings.items():
        if override.table is not None and name not in names and not override.removed:
            found.append(_live(path, name, override.table, override))
    for one in found:
        check_binding(config, one.table, one.where)
    return found


def live_place(path: Path, name: str) -> str:
    """Where a live change is, for errors."""
    return f"{path}: binding.{name}"


def _overridden(path: Path, base: Written, override: Override) -> Written:
    name = base.table.name
    if override.table is None:
        return _live(path, name, base.raw, override, base.provenance.source)
    if not override.replaces:
        hint = f"the other one is {base.where}; 'penstock bindings reset {name}' takes the live one out"
        raise ConfigError(live_place(path, name), f"there are two bindings with the name {name!r}", hint)
    return _live(path, name, override.table, override, base.provenance.source)


def _live(path: Path, name: str, raw: Mapping[str, Any], override: Override, source: str = "live") -> Written:
    where = live_place(path, name)
    merged = deepcopy(dict(raw))
    merged["name"] = name
    for key, value in override.values.items():
        merged = changed(merged, key, value, where)
    return Written(convert(merged, BindingTable, where), where, Provenance(source, override.by, override.at), merged)


def with_control(table: BindingTable, override: Override, where: str) -> BindingTable:
    """A binding that carries out a table, with what may be changed of it: when it is asked, not what it does.

    Raises: ConfigError for anything else, which the table that it carries out is for.
    """
    hint = "it carries out a table of the file: change that; of the binding itself only these can be: " + ", ".join(sorted(CONTROL))
    if override.removed or override.table is not None:
        raise ConfigError(where, f"{table.name!r} is a binding of the server's own", hint)
    raw: dict[str, Any] = {"name": table.name, "sink": table.sink}
    for key, value in override.values.items():
        if path_of(key, where)[0] not in CONTROL:
            raise ConfigError(f"{where}.{key}", f"{table.name!r} is a binding of the server's own", hint)
        raw = changed(raw, key, value, where)
    partial = convert(raw, BindingTable, where)
    return replace(table, **{name: getattr(partial, name) for name in raw if name in CONTROL})


# --- the files ---


def _drop_ins(config: Config, folder: Path) -> list[Path]:
    """The files of the folder, by name. What an editor leaves there does not end in .toml, or begins with a dot."""
    where = f"{config.path}: server.bindings"
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except FileNotFoundError:
        if config.server.bindings != ServerTable.__dataclass_fields__["bindings"].default:
            raise ConfigError(where, f"there is no folder {folder}", "make it, or leave the key out") from None
        return []
    except OSError as error:
        raise ConfigError(where, f"{folder} cannot be read: {error.strerror or error}") from None


def _tables(path: Path) -> list[Any]:
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"the file cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:  # a number of too many digits is no TOMLDecodeError, nor are too many brackets
        raise ConfigError(str(path), f"this is not TOML: {error}") from None
    unknown_keys(raw, {"binding"}, str(path))
    tables = raw.get("binding", [])
    if not isinstance(tables, list):
        raise ConfigError(f"{path}: binding", "a list of tables is expected here", "write [[binding]] with two brackets")
    return tables


def _listed(place: str, tables: Iterable[Any], source: str = "") -> Iterator[Written]:
    for number, raw in enumerate(tables, 1):
        label = raw.get("name") if isinstance(raw, dict) else None
        where = f"{place}: binding.{label if isinstance(label, str) else number}"
        yield Written(convert(raw, BindingTable, where), where, Provenance(source or where), raw)


def _check_names(found: Sequence[Written]) -> None:
    seen: dict[str, Written] = {}
    for one in found:
        first = seen.setdefault(one.table.name, one)
        if first is not one:
            same = "; both are in this file" if first.where == one.where else f"; the other one is {first.where}"
            raise ConfigError(one.where, f"there are two bindings with the name {one.table.name!r}{same}", "give one of them another name")


# --- packages ---


def _of_package(config: Config, name: str) -> list[Written]:
    where = f"{config.path}: server.packages"
    entries = {entry.value: entry for entry in importlib.metadata.entry_points(group=GROUP, name=name)}
    if not entries:
        offered = sorted({entry.name for entry in importlib.metadata.entry_points(group=GROUP)})
        raise ConfigError(where, f"no installed package offers bindings as {name!r}", f"there are: {', '.join(offered) or 'none'}")
    if len(entries) > 1:
        raise ConfigError(where, f"several installed packages offer bindings as {name!r}: {', '.join(sorted(entries))}")
    value, entry = entries.popitem()
    with faults_of_the_user(where, f"the bindings {name!r} of an installed package, {value}, cannot be had"):
        offer: Callable[[], Any] = code.load_entry(entry)
        tables = list(offer())
    source = f"package {entry.dist.name} {entry.dist.version}" if entry.dist else f"package {value}"
    return list(_listed(f"package {name}", tables, source))
