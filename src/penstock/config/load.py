"""Reads the TOML file. Whatever is wrong is told with file, key and a way out, before anything starts."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..errors import AddressError, ConfigError
from ..mail.address import Address
from .schema import BindingTable, Config, DomainTable, LimitsTable, ListenerTable, LogTable, RelayTable, RetryTable, ServerTable
from .values import Duration, Endpoint, Size, located

T = TypeVar("T")
_TABLES = ("server", "limits", "retry", "relay", "log", "listener", "domain", "binding")


def load(path: Path) -> Config:
    """The configuration in a file, checked in itself; sinks are not imported yet.

    Raises: ConfigError with the place, what is wrong, and what to do.
    """
    raw = _read(path)
    unknown_keys(raw, set(_TABLES), str(path))
    place = str(path)
    config = Config(
        path=path.absolute(),
        server=_table(raw, "server", ServerTable, place),
        limits=_table(raw, "limits", LimitsTable, place),
        retry=_table(raw, "retry", RetryTable, place),
        relay=_table(raw, "relay", RelayTable, place),
        log=_table(raw, "log", LogTable, place),
        listeners=_list(raw, "listener", ListenerTable, place),
        domains={name.lower(): convert(t, DomainTable, f'{place}: domain."{name}"') for name, t in _tables(raw, "domain", place).items()},
        bindings=_list(raw, "binding", BindingTable, place),
    )
    _check(config, place)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        hint = "name one with --config FILE or in PENSTOCK_CONFIG; examples/penstock.toml in the source tree is one to start from"
        raise ConfigError(str(path), "there is no such file", hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"the file cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), f"this is not TOML: {error}") from None


def _tables(raw: dict[str, Any], name: str, place: str) -> dict[str, Any]:
    value = raw.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise ConfigError(f"{place}: {name}", "tables are expected here", f'write [{name}."example.com"]')
    return value


def _table(raw: dict[str, Any], name: str, cls: type[T], place: str) -> T:
    return convert(raw.get(name, {}), cls, f"{place}: {name}")


def _list(raw: dict[str, Any], name: str, cls: type[T], place: str) -> list[T]:
    items = raw.get(name, [])
    if not isinstance(items, list):
        raise ConfigError(f"{place}: {name}", "a list of tables is expected here", f"write [[{name}]] with two brackets")
    found = []
    for number, item in enumerate(items, 1):
        label = item.get("name") if isinstance(item, dict) else None
        found.append(convert(item, cls, f"{place}: {name}.{label if isinstance(label, str) else number}"))
    return found


def convert(value: object, cls: type[T], where: str, folder: Path | None = None) -> T:
    """A table as an object of a dataclass, its paths taken from ``folder``, if that is given. Raises ConfigError that names the key."""
    if is_dataclass(cls) and isinstance(value, dict):
        _unknown_below(value, cls, where)
    try:
        return msgspec.convert(value, cls, dec_hook=partial(_decode, folder))
    except msgspec.ValidationError as error:
        what, _, key = str(error).partition(" - at `$")
        place = where + key.removesuffix("`").replace("[...]", "") if key else where
        raise ConfigError(place, what[0].lower() + what[1:].replace("`", "'")) from None


def _decode(folder: Path | None, kind: type[Any], value: object) -> object:
    if kind in (Duration, Size, Endpoint):
        return kind.parse(value)
    if kind is Path and isinstance(value, str):
        return located(folder, value) if folder is not None else Path(value)
    raise ValueError(f"a value of type {kind.__name__} is expected")


def _unknown_below(value: dict[str, Any], cls: type[Any], where: str) -> None:
    """Refuses keys that the dataclass, or one within it, does not have."""
    hints = typing.get_type_hints(cls)
    unknown_keys(value, {f.name for f in fields(cls)}, where)
    for name, item in value.items():
        kinds = typing.get_args(hints[name]) if isinstance(hints[name], types.UnionType) else (hints[name],)
        inner = next((kind for kind in kinds if is_dataclass(kind)), None)
        if inner is not None and isinstance(item, dict):
            _unknown_below(item, typing.cast(type[Any], inner), f"{where}.{name}")


def unknown_keys(value: dict[str, Any], known: set[str], where: str) -> None:
    """Raises ConfigError for the first key that is not known, and names the nearest one that is."""
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here are: {', '.join(sorted(known))}"
            raise ConfigError(where, f"unknown key {key!r}", hint)


def _check(config: Config, place: str) -> None:
    """What no single table can know."""
    _check_listeners(config, place)
    _check_limits(config.limits, f"{place}: limits")
    for domain in config.domains:
        _check_host(domain, f'{place}: domain."{domain}"', "")
    if len(config.server.recipient_delimiter) > 1:
        raise ConfigError(f"{place}: server.recipient_delimiter", "it is one character, or empty")
    if not 0 <= config.server.workers <= 512:
        raise ConfigError(f"{place}: server.workers", "it is between 0 (one a core) and 512")
    if not config.retry.intervals or not 0 <= config.retry.jitter < 1:
        raise ConfigError(f"{place}: retry", "it needs at least one interval, and a jitter from 0 to below 1")
    _check_host(config.server.hostname, f"{place}: server.hostname", "write the full name of this host, such as 'mx.example.com'")


def _check_limits(limits: LimitsTable, place: str) -> None:
    """A limit that nothing could pass is a slip of the pen; 0 means unlimited only where the table says so."""
    for name in ("message_size", "recipients", "connections", "connections_per_client", "idle", "command", "data", "message", "hops"):
        if getattr(limits, name) <= 0:
            raise ConfigError(f"{place}.{name}", "it is above 0", "leave it out for the default")
    for name in ("errors", "messages_per_session"):
        if getattr(limits, name) < 0:
            raise ConfigError(f"{place}.{name}", "it is not below 0", "0 is unlimited")


def _check_listeners(config: Config, place: str) -> None:
    if not config.listeners:
        raise ConfigError(place, "there is no listener", 'add [[listener]] with name = "mx" and address = "127.0.0.1:2525"')
    names = [listener.name for listener in config.listeners]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{place}: listener", f"there are two listeners with the name {name!r}")
    for binding in config.bindings:
        for name in binding.listeners:
            if name not in names:
                where = f"{place}: binding.{binding.name}.listeners"
                raise ConfigError(where, f"there is no listener {name!r}", f"there are: {', '.join(names)}")


def _check_host(name: str, where: str, hint: str) -> None:
    try:
        Address.parse(f"postmaster@{name}")
    except AddressError as error:
        raise ConfigError(where, str(error), hint) from None
