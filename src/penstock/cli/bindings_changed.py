"""``penstock bindings add`` and all the others that change something: kept first, then taken up by the running server."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import typer

from ..config import load
from ..config.changes import Change, Result
from ..config.keys import key_of
from ..config.load import unknown_keys
from ..config.tables import shipped_bindings
from ..errors import ConfigError
from .assignments import assignments
from .bindings_live import make
from .exits import EX_USAGE, Stop, complain
from .in_json import in_json


def add(path: Path, name: str, sink: str, words: list[str], file: Path | None, replace: bool, as_json: bool) -> None:
    """Adds a binding, or those of a file. Raises ConfigError; Stop."""
    if file is not None:
        if name or sink or words:
            raise Stop(EX_USAGE, "--file takes the place of NAME, SINK and KEY=VALUE", "give the one or the others")
        _make(path, [Change("add", str(table.get("name", "")), _keyed(table), replace=replace) for table in _tables(file)], as_json)
        return
    if not name or not sink:
        raise Stop(EX_USAGE, "a binding needs a name and a sink", "such as: penstock bindings add archive my_sinks:Archive priority=100")
    if "=" in sink:
        raise Stop(EX_USAGE, f"{sink!r} is no sink", "the sink comes before the values: 'module:Class', or the name of an entry point")
    _make(path, [Change("add", name, {"sink": sink, **assignments(words)}, replace=replace)], as_json)


def _tables(file: Path) -> list[dict[str, Any]]:
    """The ``[[binding]]`` tables of a file. Raises ConfigError."""
    try:
        raw = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(str(file), f"the file cannot be read: {error}") from None
    unknown_keys(raw, {"binding"}, str(file))
    tables = raw.get("binding")
    if not isinstance(tables, list) or not all(isinstance(table, dict) and isinstance(table.get("name"), str) for table in tables):
        raise ConfigError(str(file), "tables [[binding]], each with a name, are expected here")
    return tables


def _keyed(table: dict[str, Any]) -> dict[str, Any]:
    return {key_of((key,)): value for key, value in table.items() if key != "name"}


def remove(path: Path, name: str, as_json: bool) -> None:
    """Takes a binding out. Raises ConfigError; Stop."""
    _make(path, [Change("remove", name)], as_json)


def switch(path: Path, name: str, on: bool, yes: bool, as_json: bool) -> None:
    """Switches a binding on or off. Raises ConfigError; Stop for one of the server's own that was not confirmed."""
    if not yes and any(table.name == name for table, _ in shipped_bindings(load(path))):
        what = f"{name!r} is the server's own: without it the server may take mail for anybody, or deliver none"
        raise Stop(EX_USAGE, what, "add --yes if that is meant")
    _make(path, [Change("enable" if on else "disable", name)], as_json)


def set_values(path: Path, name: str, words: list[str], unset: list[str], as_json: bool) -> None:
    """Sets keys, and takes out others. Raises ConfigError; Stop."""
    values: dict[str, object] = {**assignments(words), **dict.fromkeys(unset)}
    if not values:
        raise Stop(EX_USAGE, "nothing is to be set", f"such as: penstock bindings set {name} priority=100")
    _make(path, [Change("set", name, values)], as_json)


def reset(path: Path, name: str, keys: list[str], every: bool, as_json: bool) -> None:
    """Goes back to the files. Raises ConfigError; Stop."""
    if bool(name) == every:
        raise Stop(EX_USAGE, "what is to be reset?", "name a binding, or give --all")
    _make(path, [Change("reset", name, keys=tuple(keys))], as_json)


def _make(path: Path, changes: list[Change], as_json: bool) -> None:
    results, server = make(load(path), changes)
    if as_json:
        rows = [
            {"binding": c.name, "changed": r.changed, "what": r.what, "notes": list(r.notes)} for c, r in zip(changes, results, strict=True)
        ]
        typer.echo(in_json({"changes": rows, "server": server}))
        return
    for result in results:
        _tell(result)
    if server:
        typer.echo(server)


def _tell(result: Result) -> None:
    typer.echo(result.what)
    for note in result.notes:
        complain(0, f"note: {note}")
