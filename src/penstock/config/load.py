"""Reads the TOML file. Whatever is wrong is told with file, key and a way out, before anything starts."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..errors import ConfigError
from .authenticating import AuthTable
from .capturing import CaptureTable
from .checks import check
from .fetching import FetchTable
from .limiting import LimitsTable
from .listening import ListenerTable
from .schema import BindingTable, Config, DomainTable, LogTable, RelayTable, ServerTable
from .securing import TlsTable
from .sending import DeliveryTable, DnsTable, NoticesTable, RetryTable, RouteTable
from .submitting import SubmissionTable
from .tracing import TraceTable
from .values import Allowance, Duration, Endpoint, Moment, Percent, Rate, Secret, Size, located

T = TypeVar("T")
_TABLES = (
    "server", "limits", "tls", "auth", "submission", "retry", "relay", "log", "dns", "delivery", "notices", "capture", "trace", "listener",
    "domain", "route", "fetch", "binding",
)  # fmt: skip


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
        tls=_table(raw, "tls", TlsTable, place, path.absolute().parent),
        auth=_table(raw, "auth", AuthTable, place, path.absolute().parent),
        submission=_table(raw, "submission", SubmissionTable, place, path.absolute().parent),
        retry=_table(raw, "retry", RetryTable, place),
        relay=_table(raw, "relay", RelayTable, place),
        log=_table(raw, "log", LogTable, place),
        listeners=_list(raw, "listener", ListenerTable, place, path.absolute().parent),
        dns=_table(raw, "dns", DnsTable, place),
        delivery=_table(raw, "delivery", DeliveryTable, place, path.absolute().parent),
        notices=_table(raw, "notices", NoticesTable, place, path.absolute().parent),
        capture=_table(raw, "capture", CaptureTable, place),
        trace=_table(raw, "trace", TraceTable, place),
        domains=_named(raw, "domain", DomainTable, place),
        routes=_named(raw, "route", RouteTable, place, path.absolute().parent),
        fetches=_named(raw, "fetch", FetchTable, place),
        bindings=_list(raw, "binding", BindingTable, place),
        raw_bindings=raw.get("binding", []),
    )
    for listener in config.listeners:
        if listener.limits:
            where = f"{place}: listener.{listener.name}.limits"
            config.own_limits[listener.name] = convert({**raw.get("limits", {}), **listener.limits}, LimitsTable, where)
    check(config)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        hint = "name one with --config FILE or in PENSTOCK_CONFIG; examples/penstock.toml in the source tree is one to start from"
        raise ConfigError(str(path), "there is no such file", hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"the file cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:  # a number of too many digits is no TOMLDecodeError, nor are too many brackets
        raise ConfigError(str(path), f"this is not TOML: {error}") from None


def _named(raw: dict[str, Any], kind: str, cls: type[T], place: str, folder: Path | None = None) -> dict[str, T]:
    """The tables of a kind that are named by a domain, by that name in lower case."""
    value = raw.get(kind, {})
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise ConfigError(f"{place}: {kind}", "tables are expected here", f'write [{kind}."example.com"]')
    found: dict[str, T] = {}
    for name, table in value.items():
        where = f'{place}: {kind}."{name}"'
        key = name if "/" in name else name.lower()  # a path means what it says
        if key in found:
            raise ConfigError(where, "there are two tables for this domain", "capital and small letters mean the same in a domain")
        found[key] = convert(table, cls, where, folder)
    return found


def _table(raw: dict[str, Any], name: str, cls: type[T], place: str, folder: Path | None = None) -> T:
    return convert(raw.get(name, {}), cls, f"{place}: {name}", folder)


def _list(raw: dict[str, Any], name: str, cls: type[T], place: str, folder: Path | None = None) -> list[T]:
    items = raw.get(name, [])
    if not isinstance(items, list):
        raise ConfigError(f"{place}: {name}", "a list of tables is expected here", f"write [[{name}]] with two brackets")
    found = []
    for number, item in enumerate(items, 1):
        label = item.get("name") if isinstance(item, dict) else None
        found.append(convert(item, cls, f"{place}: {name}.{label if isinstance(label, str) else number}", folder))
    return found


def convert(value: object, cls: type[T], where: str, folder: Path | None = None) -> T:
    """A table as an object of a dataclass, its paths taken from ``folder``, if that is given. Raises ConfigError that names the key."""
    _unknown_below(value, cls, where)
    try:
        return msgspec.convert(value, cls, dec_hook=partial(_decode, folder))
    except msgspec.ValidationError as error:
        what, _, key = str(error).partition(" - at `$")
        key = key.removesuffix("`").replace("[...]", "")
        raise ConfigError(where + key, what[0].lower() + what[1:].replace("`", "'"), _choices(cls, key)) from None


def _choices(cls: type[Any], key: str) -> str:
    """A hint that names the words which a key may have, where it may only have some."""
    kind = typing.get_type_hints(cls).get(key.removeprefix(".")) if is_dataclass(cls) else None
    words = [repr(word) for word in typing.get_args(kind) if word] if typing.get_origin(kind) is typing.Literal else []
    return f"it may be: {', '.join(words)}" if words else ""


def _decode(folder: Path | None, kind: type[Any], value: object) -> object:
    if kind in (Allowance, Duration, Size, Endpoint, Rate, Percent, Moment):
        return kind.parse(value)
    if kind is Secret:
        return Secret.parse(value, folder)
    if kind is Path and isinstance(value, str):
        if not value or "\0" in value:
            raise ValueError(f"{value!r} is no path")
        return located(folder, value) if folder is not None else Path(value)
    raise ValueError(f"a value of type {getattr(kind, '__name__', kind)} is expected")


def _unknown_below(value: object, kind: Any, where: str) -> None:
    """Refuses keys that a dataclass, or one anywhere within it, does not have."""
    parts = typing.get_args(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        unknown_keys(value, {f.name for f in fields(kind)}, where)
        hints = typing.get_type_hints(kind)
        for name, item in value.items():
            _unknown_below(item, hints[name], f"{where}.{name}")
    elif typing.get_origin(kind) in (types.UnionType, typing.Union):
        fitting = [part for part in parts if is_dataclass(part) or typing.get_origin(part)]
        if len(fitting) == 1:  # with more, only the decoder knows which is meant
            _unknown_below(value, fitting[0], where)
    elif isinstance(value, list) and parts:
        for number, item in enumerate(value):
            _unknown_below(item, parts[0], f"{where}[{number}]")
    elif isinstance(value, dict) and len(parts) == 2 and issubclass(typing.get_origin(kind) or object, Mapping):
        for name, item in value.items():
            _unknown_below(item, parts[1], f"{where}.{name}")


def unknown_keys(value: dict[str, Any], known: set[str], where: str) -> None:
    """Raises ConfigError for the first key that is not known, and names the nearest one that is."""
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here are: {', '.join(sorted(known))}"
            raise ConfigError(where, f"unknown key {key!r}", hint)
