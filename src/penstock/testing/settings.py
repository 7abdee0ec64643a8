"""The configuration of a server in a test: TOML text, or a dictionary of the same shape, with what a test need not say."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Config, load
from ..errors import ConfigError

HOSTNAME, DOMAIN, LISTENER = "mx.example.com", "example.com", "mx"
# Clients of a test come from here where it says nothing else, and may send anywhere.
INSIDE = "192.0.2.0/24"


def configuration(given: str | Mapping[str, Any], folder: Path) -> tuple[Config, list[str]]:
    """The configuration as the server would load it, and the local domains that are left to the mailboxes of the test.

    What is not given: the host name ``mx.example.com``, a listener "mx", the local domain ``example.com``, and that clients of 192.0.2.0/24
    may send anywhere. A local domain that does not say how to deliver delivers to mailboxes in memory.

    Args:
        given: TOML, or a dictionary of the same shape.
        folder: where the file is written, from which its relative paths start.

    Raises: ConfigError.
    """
    raw = _read(given)
    raw.setdefault("server", {}).setdefault("hostname", HOSTNAME)
    raw.setdefault("listener", [{"name": LISTENER, "address": "127.0.0.1:2525"}])
    raw.setdefault("relay", {"networks": [INSIDE]})
    domains = raw.setdefault("domain", {DOMAIN: {"kind": "local"}})
    boxes = [name.lower() for name, table in domains.items() if table.get("kind", "local") == "local" and "deliver" not in table]
    for name in domains:
        if name.lower() in boxes:
            domains[name]["deliver"] = "discard:"
    path = folder / "penstock.toml"
    path.write_text("".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in raw.items()), "utf-8")
    return load(path), boxes


def _read(given: str | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, str):
        return {key: _copy(value) for key, value in given.items()}
    try:
        return tomllib.loads(given)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("the configuration of the test", f"this is not TOML: {error}") from None


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _toml(value: object) -> str:
    """A value in one line of TOML; the escapes of JSON's strings are those of TOML's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return json.dumps(str(value)).replace("\x7f", "\\u007f")
