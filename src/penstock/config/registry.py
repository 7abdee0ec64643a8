"""From a configuration to bound sinks: those that ship, which carry out the tables, and the user's own; all in one list.

The shipped ones get no special treatment: they are imported by path like the user's, and stand at the built-in priority; ``tables`` says
which they are.
"""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..events.plug import CanarySettings, Plug, Provenance
from ..events.rule import Match
from ..events.sink import Sink, marks_of, settings_type
from ..observe.log import get_log
from . import code
from .checks import known_listeners
from .contradictions import refuse
from .controls import Canary
from .faults import faults_of_the_user
from .kept import Kept, read
from .load import convert
from .reuse import Reuse
from .schema import BindingTable, Config
from .sources import Written, changes_path, in_files, live_place, with_changes, with_control
from .tables import shipped_bindings
from .values import Percent

GROUP = "penstock.sinks"


def plugs(config: Config, kept: Kept | None = None, reuse: Reuse | None = None) -> list[Plug]:
    """All sinks of a configuration, made and ready to be bound: those of the tables, the files, the packages, and the live changes.

    Args:
        config: the configuration.
        kept: the live changes; None for those that are kept.
        reuse: the sinks that may be kept from before; None for none.

    Raises: ConfigError for what cannot be imported or does not fit.
    """
    find_modules(config)
    changes = read(changes_path(config)) if kept is None else kept
    reuse = reuse or Reuse()
    shipped = [_shipped(config, table, key, changes, reuse) for table, key in shipped_bindings(config)]
    own = [_own(config, one, reuse) for one in with_changes(config, in_files(config), changes)]
    found = [plug for plug in (*shipped, *own) if plug is not None]
    refuse(found)
    return found


def find_modules(config: Config) -> None:
    """Lets Python find the user's modules beside the file, and in the folder ``sinks`` there."""
    for path in (str(config.path.parent), str(config.path.parent / "sinks")):
        if path not in sys.path:
            sys.path.insert(0, path)


def _shipped(config: Config, table: BindingTable, key: str, kept: Kept, reuse: Reuse) -> Plug:
    """The plug of a binding that carries out a table; errors that it causes belong to that table's key."""
    where = f"{config.path}: {key}"
    override = kept.bindings.get(table.name)
    if override is None:
        return _plug(config, table, Place(where, where, where), Provenance("built-in"), reuse)
    changed = with_control(table, override, live_place(changes_path(config), table.name))
    return _plug(config, changed, Place(where, where, where), Provenance("built-in", override.by, override.at), reuse)


def _own(config: Config, one: Written, reuse: Reuse) -> Plug | None:
    """The plug of a binding of the user's; None for one that is switched off and cannot even be imported."""
    place = Place(one.where, f"{one.where}.sink", f"{one.where}.settings")
    if one.table.enabled:
        return _plug(config, one.table, place, one.provenance, reuse)
    try:
        return _plug(config, one.table, place, one.provenance, reuse)
    except ConfigError:
        return None


class Place(NamedTuple):
    """Where a binding is written, and its sink, and its settings: for errors."""

    table: str
    sink: str
    settings: str


def _plug(config: Config, table: BindingTable, place: Place, provenance: Provenance, reuse: Reuse) -> Plug:
    """The sink of a binding, made. Raises ConfigError."""
    cls = find_sink(table.sink, place.sink)
    for method, mark in marks_of(cls):
        if mark.match is not None:
            names = [one.name for one in config.listeners]
            known_listeners(names, mark.match.listener, f"{place.table}: {cls.__qualname__}.{method}")
    return Plug(
        name=table.name,
        sink=_make(cls, table, place.settings, config.path.parent, reuse),
        priority=table.priority,
        match=_match(table, place.table),
        timeout=float(table.timeout),
        on_error=table.on_error,
        run_in=table.run_in,
        where=place.table,
        threads=table.threads,
        concurrency=table.concurrency,
        enabled=table.enabled,
        mode=table.mode,
        canary=canary(table, place.table),
        sample=float(table.sample),
        expires=float(table.expires),
        max_firings=table.max_firings,
        breaker=table.breaker.settings(),
        process=table.process.settings(),
        import_path=table.sink,
        version=code.version(cls.__module__),
        provenance=provenance,
    )


def _match(table: BindingTable, where: str) -> Match | None:
    """The conditions, with the listeners that are named beside them. Raises ConfigError when both name listeners."""
    if not table.listeners:
        return table.match
    if table.match is not None and table.match.listener is not None:
        raise ConfigError(f"{where}.match", "'listeners' and 'match.listener' both name listeners; use one of them")
    return replace(table.match or Match(), listener=table.listeners)


def canary(table: BindingTable, where: str) -> CanarySettings | None:
    """How a canary is tried, written as a percentage or a table. Raises ConfigError."""
    if table.canary is None or not isinstance(table.canary, str):
        return table.canary.settings() if table.canary else None
    try:
        return Canary(Percent.parse(table.canary)).settings()
    except ValueError as error:
        raise ConfigError(f"{where}.canary", str(error)) from None


def find_sink(name: str, where: str) -> type[Sink[Any]]:
    """The sink class of an import path or an entry point. Raises ConfigError."""
    if ":" not in name:
        found = _entry_point(name, where)
    else:
        module_name, _, attribute = name.partition(":")
        with faults_of_the_user(where, f"{module_name!r} cannot be imported"):
            module = code.load(module_name)
        try:
            found = getattr(module, attribute)
        except AttributeError:
            # The wrong module of two with one name is the usual reason: say which one it was.
            read = getattr(module, "__file__", None)
            raise ConfigError(where, f"module {module_name!r} has no {attribute!r}", f"it was read from {read}" if read else "") from None
    if not (isinstance(found, type) and issubclass(found, Sink)):
        raise ConfigError(where, f"{name!r} is not a sink", "a sink is a class that inherits from penstock.Sink")
    return found


def _entry_point(name: str, where: str) -> object:
    """What an installed package offers under a name. Raises ConfigError."""
    entries = {entry.value: entry for entry in importlib.metadata.entry_points(group=GROUP, name=name)}
    if not entries:
        raise ConfigError(where, f"no installed package offers a sink {name!r}", "write an import path such as 'my_sinks:Archive'")
    if len(entries) > 1:
        raise ConfigError(where, f"several installed packages offer a sink {name!r}", f"write one of: {', '.join(sorted(entries))}")
    value, entry = entries.popitem()
    with faults_of_the_user(where, f"the sink {name!r} of an installed package, {value}, cannot be loaded"):
        return code.load_entry(entry)


def _make(cls: type[Sink[Any]], table: BindingTable, where: str, folder: Path, reuse: Reuse) -> Sink[Any]:
    """The sink; only its shell, which is never called, where it is to live in another process or is switched off."""
    wanted = settings_type(cls)
    if wanted is None and table.settings:
        raise ConfigError(where, f"{cls.__name__} takes no settings", f"declare them: class {cls.__name__}(Sink[YourSettings])")
    if wanted is not None and not is_dataclass(wanted):
        raise ConfigError(where, f"the settings of {cls.__name__} are no dataclass: {wanted!r}")
    with faults_of_the_user(where, f"{cls.__name__} cannot be made"):
        settings = () if wanted is None else (convert(table.settings, wanted, where, folder),)
        known = reuse.sink(table.name, cls, settings[0] if settings else None, (table.run_in, table.enabled))
        if known is not None:
            return known
        sink = _shell(cls, *settings) if table.run_in == "process" or not table.enabled else _called(cls, where, *settings)
        sink.log = get_log(binding=table.name)
    return sink


def _called(cls: type[Sink[Any]], where: str, *settings: object) -> Sink[Any]:
    try:
        return cls(*settings)
    except ValueError as error:
        # How a sink says that a value is out of the question: its own words are enough.
        raise ConfigError(where, str(error) or f"{cls.__name__} refuses its settings") from error


def _shell(cls: type[Sink[Any]], *settings: object) -> Sink[Any]:
    """An object of the class of which no line has run: what its ``__init__`` does belongs into the sink's own process."""
    shell = object.__new__(cls)
    if settings:
        shell.settings = settings[0]
    return shell
