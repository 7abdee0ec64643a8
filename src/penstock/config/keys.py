"""Dotted keys, as in TOML: ``priority``, ``settings.directory``, ``match.recipient``, ``settings.domains."a.example".users``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def path_of(key: str, where: str = "") -> tuple[str, ...]:
    """The parts of a key. Raises ConfigError for what is no key."""
    try:
        if "\n" in key or "=" in key:
            raise tomllib.TOMLDecodeError
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        raise ConfigError(where, f"{key!r} is no key", "write one such as 'priority', 'match.recipient' or 'settings.directory'") from None
    parts: list[str] = []
    while isinstance(table, dict):
        ((part, table),) = table.items()
        parts.append(part)
    return tuple(parts)


def key_of(path: Sequence[str]) -> str:
    """A key as it is written, in one form, so that two ways to write it are the same key."""
    quoted = (part.replace("\\", "\\\\").replace('"', '\\"') for part in path)
    return ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in quoted)


def changed(table: Mapping[str, Any], key: str, value: object, where: str) -> dict[str, Any]:
    """A table with this key set, or taken out where the value is None; the table itself stays as it is.

    Raises: ConfigError when the key leads through something that is no table.
    """
    first, *others = path_of(key, where)
    result = dict(table)
    if not others:
        result.pop(first, None)
        return result if value is None else {**result, first: value}
    inner = result.get(first)
    if inner is None and value is None:
        return result
    if inner is not None and not isinstance(inner, Mapping):
        raise ConfigError(f"{where}.{first}", f"this is no table, so it has no key {key_of(others)!r}")
    result[first] = changed(inner or {}, key_of(others), value, f"{where}.{first}")
    return result


def at(table: Mapping[str, Any], path: Sequence[str]) -> object:
    """What a table has at a key; None for nothing."""
    found: object = table
    for part in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found
