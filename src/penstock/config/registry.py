"""From a configuration to bound sinks: those that ship, which carry out the tables, and the user's own; all in one list.

The shipped ones get no special treatment: they are imported by path like the user's, and stand at the built-in priority; ``tables`` says
which they are.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..events.plug import Plug
from ..events.rule import Match
from ..events.sink import Sink, marks_of, settings_type
from ..observe.log import get_log
from .checks import known_listeners
from .load import convert
from .schema import BindingTable, Config
from .tables import shipped_bindings

GROUP = "penstock.sinks"


def plugs(config: Config) -> list[Plug]:
    """All sinks of a configuration, made and ready to be bound. Raises ConfigError for what cannot be imported or does not fit."""
    folder = str(config.path.parent)
    for path in (folder, str(config.path.parent / "sinks")):
        if path not in sys.path:
            sys.path.insert(0, path)
    shipped = [_plug(config, table, where) for table, where in shipped_bindings(config)]
    own = [_plug(config, table, "") for table in config.bindings if table.enabled]
    return [*shipped, *own]


def _plug(config: Config, table: BindingTable, carries_out: str) -> Plug:
    """The sink of a binding, made.

    Args:
        config: the configuration.
        table: the binding.
        carries_out: the key that the binding carries out, where errors belong that it causes; "" for a binding of the user's.
    """
    where = f"{config.path}: {carries_out or f'binding.{table.name}'}"
    cls = find_sink(table.sink, where if carries_out else f"{where}.sink")
    match = table.match
    if table.listeners:
        if match is not None and match.listener is not None:
            raise ConfigError(f"{where}.match", "'listeners' and 'match.listener' both name listeners; use one of them")
        match = replace(match or Match(), listener=table.listeners)
    for method, mark in marks_of(cls):
        if mark.match is not None:
            known_listeners([one.name for one in config.listeners], mark.match.listener, f"{where}: {cls.__qualname__}.{method}")
    return Plug(
        name=table.name,
        sink=_make(cls, table, where if carries_out else f"{where}.settings", config.path.parent),
        priority=table.priority,
        match=match,
        timeout=float(table.timeout),
        on_error=table.on_error,
        run_in=table.run_in,
        threads=table.threads,
        where=where,
    )


def find_sink(name: str, where: str) -> type[Sink[Any]]:
    """The sink class of an import path or an entry point. Raises ConfigError."""
    if ":" not in name:
        found = _entry_point(name, where)
    else:
        module_name, _, attribute = name.partition(":")
        with _faults_of_the_user(where, f"{module_name!r} cannot be imported"):
            module = importlib.import_module(module_name)
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
    with _faults_of_the_user(where, f"the sink {name!r} of an installed package, {value}, cannot be loaded"):
        return entry.load()


@contextmanager
def _faults_of_the_user(where: str, what: str) -> Iterator[None]:
    """Makes a ConfigError of whatever somebody else's code raises.

    That includes SystemExit: a script without its ``if __name__ == "__main__"`` would end this command with its own exit code, 0 perhaps.
    """
    try:
        yield
    except (ConfigError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise ConfigError(where, f"{what}: it calls sys.exit({error.code!r})", "a sink leaves the process alone") from error
    except BaseException as error:
        text = " ".join(str(error).split())
        raise ConfigError(where, f"{what}: {type(error).__name__}{f': {text}' if text else ''}", _place_of(error)) from error


def _place_of(error: BaseException) -> str:
    """The line that raised, as a hint; "" when it was one of Python's own."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    ours = str(Path(__file__).parent)
    theirs = [frame for frame in frames if not frame.filename.startswith(ours) and "importlib" not in frame.filename]
    return f"raised in {theirs[-1].filename}, line {theirs[-1].lineno}" if theirs else ""


def _make(cls: type[Sink[Any]], table: BindingTable, where: str, folder: Path) -> Sink[Any]:
    wanted = settings_type(cls)
    if wanted is None and table.settings:
        raise ConfigError(where, f"{cls.__name__} takes no settings", f"declare them: class {cls.__name__}(Sink[YourSettings])")
    if wanted is not None and not is_dataclass(wanted):
        raise ConfigError(where, f"the settings of {cls.__name__} are no dataclass: {wanted!r}")
    with _faults_of_the_user(where, f"{cls.__name__} cannot be made"):
        settings = () if wanted is None else (convert(table.settings, wanted, where, folder),)
        try:
            sink = cls(*settings)
        except ValueError as error:
            # How a sink says that a value is out of the question: its own words are enough.
            raise ConfigError(where, str(error) or f"{cls.__name__} refuses its settings") from error
        sink.log = get_log(binding=table.name)
    return sink
