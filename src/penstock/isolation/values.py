"""The values that events carry, as MessagePack, and back: each comes back as what it was, or is refused.

Plain data travels as it is. What is not plain is an extension of MessagePack with the name of its class, from a closed list: nothing that
comes from a sink process can name a class that is not in it, let alone run code. Rejected: pickle, which would let it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import msgspec

from ..events.catalog import CATALOG
from ..events.outbound import Remote
from ..events.reports import Step, Timings
from ..events.resolve import Item
from ..events.views import MessageSnapshot, ShownRecipient
from ..events.work import ContentHeader
from ..mail.address import Address
from ..mail.content import MemoryContent
from ..mail.envelope import MailParameters, Recipient
from ..mail.nexthop import NextHop
from ..mail.reply import Reply
from ..wire.tls import CertificateFacts, TlsFacts

_PLAIN = (bool, int, float, str, bytes, type(None))
# A class that inherits from one of these, such as a Secret, is its value to others.
_BASES: tuple[type[Any], ...] = (int, float, str, bytes)
_TUPLE, _SET, _FROZENSET, _ITEMS, _INTEGER, _BYTEARRAY, _OBJECT = range(1, 8)
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
# Deeper than this is no data; and the decoder would run out of stack.
_DEEPEST = 60
_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class _Kind:
    """How objects of one class travel: as which value, and what is made of that value."""

    give: Callable[[Any], Any]
    take: Callable[[Any], Any]


def encode(value: Any) -> bytes:
    """The value as octets. Raises TypeError, with its place, for what cannot travel."""
    return _encoder.encode(_packed(value, "", 0))


def decode(data: bytes) -> Any:
    """The value of octets that ``encode`` made. Raises ValueError or TypeError for others."""
    try:
        return _decoder.decode(data)
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None


def travels(value: Any) -> bool:
    """Whether a value can be encoded."""
    try:
        _packed(value, "", 0)
    except TypeError:
        return False
    return True


def _packed(value: Any, place: str, depth: int) -> Any:
    """The value with everything that MessagePack does not know as an extension."""
    kind = type(value)
    if kind in _PLAIN:
        return value if kind is not int or _SMALLEST <= value <= _LARGEST else _extension(_INTEGER, str(value))
    if depth > _DEEPEST:
        raise TypeError(f"{place or 'the value'} is nested too deeply to be given to another process")
    if kind is list:
        return [_packed(item, f"{place}[{number}]", depth + 1) for number, item in enumerate(value)]
    if kind is dict:
        return _packed_dictionary(value, place, depth)
    if kind in _COLLECTIONS:
        items = bytes(value) if kind is bytearray else [_packed(item, f"{place}[{number}]", depth + 1) for number, item in enumerate(value)]
        return _extension(_COLLECTIONS[kind], items)
    return _packed_object(value, place, depth)


def _packed_dictionary(value: dict[Any, Any], place: str, depth: int) -> Any:
    if all(type(key) is str for key in value):
        return {key: _packed(item, f"{place}[{key!r}]", depth + 1) for key, item in value.items()}
    items = [[_packed(key, f"a key of {place}", depth + 1), _packed(item, f"{place}[{key!r}]", depth + 1)] for key, item in value.items()]
    return _extension(_ITEMS, items)


def _packed_object(value: Any, place: str, depth: int) -> Any:
    for cls in type(value).__mro__:
        known = _KINDS.get(cls)
        if known is not None:
            given = _packed(known.give(value), place, depth + 1) if cls not in _TYPED else value
            return _extension(_OBJECT, [cls.__name__, given])
        if cls in _BASES:
            return _packed(cls(value), place, depth)
    raise TypeError(f"{place or 'the value'} is a {type(value).__qualname__}; a sink process can share plain data only")


def _extension(code: int, value: Any) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _encoder.encode(value))


def _unpacked(code: int, data: memoryview) -> Any:
    if code == _OBJECT:
        name, given = _object_decoder.decode(data)
        kind = _BY_NAME.get(name)
        if kind is None:
            raise ValueError(f"there is no value {name!r}")
        typed = _TYPED_BY_NAME.get(name)
        return typed.decode(given) if typed is not None else kind.take(_decoder.decode(given))
    take = _TAKEN.get(code)
    if take is None:
        raise ValueError(f"there is no extension {code}")
    return take(_decoder.decode(data))


def _fieldwise(cls: type[Any]) -> _Kind:
    """A dataclass, field by field; its own constructor checks what comes."""
    positional = [one.name for one in fields(cls) if one.init and not one.kw_only]
    named = [one.name for one in fields(cls) if one.init and one.kw_only]

    def give(value: Any) -> Any:
        return [[getattr(value, name) for name in positional], {name: getattr(value, name) for name in named}]

    def take(given: Any) -> Any:
        arguments, keywords = given
        return cls(*arguments, **keywords)

    return _Kind(give, take)


def _give_remote(remote: Remote) -> Any:
    return [remote.next_hop, remote.host, remote.name, remote.address, remote.port, remote.tls, dict(remote.extensions)]


def _take_remote(given: Any) -> Remote:
    next_hop, host, name, address, port, tls, extensions = given
    return Remote(next_hop, host, name, address, port, tls, MappingProxyType(extensions))


def _give_snapshot(shown: MessageSnapshot) -> Any:
    recipients = [ShownRecipient.copy(r) if isinstance(r, ShownRecipient) else r for r in shown.recipients]
    return [shown.id, shown.sender, recipients, shown.origin, shown.direction, shown.size, shown.header.to_bytes()]


def _take_snapshot(given: Any) -> MessageSnapshot:
    message_id, sender, recipients, origin, direction, size, header = given
    came = ContentHeader(MemoryContent(header + b"\r\n"))
    return MessageSnapshot(message_id, sender, tuple(map(ShownRecipient.of, recipients)), origin, direction, size, came)


def _datetime(given: Any) -> datetime:
    return datetime.fromisoformat(given)


def _span(given: Any) -> timedelta:
    days, seconds, microseconds = given
    return timedelta(days, seconds, microseconds)


_COLLECTIONS: dict[type[Any], int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET, bytearray: _BYTEARRAY}
_TAKEN: dict[int, Callable[[Any], Any]] = {
    _TUPLE: tuple, _SET: set, _FROZENSET: frozenset, _ITEMS: dict, _INTEGER: int, _BYTEARRAY: bytearray,
}  # fmt: skip
# These msgspec writes and checks by itself, field types included.
_TYPED: tuple[type[Any], ...] = (Address, Recipient, Reply, MailParameters, Item, Timings, NextHop, TlsFacts, CertificateFacts)
_KINDS: dict[type[Any], _Kind] = {
    **{verdict: _fieldwise(verdict) for event in CATALOG.values() for verdict in event.admits},
    **{cls: _Kind(lambda value: value, lambda value: value) for cls in _TYPED},
    ShownRecipient: _Kind(ShownRecipient.copy, ShownRecipient.of),
    MessageSnapshot: _Kind(_give_snapshot, _take_snapshot),
    Remote: _Kind(_give_remote, _take_remote),
    Step: _Kind(int, Step),
    datetime: _Kind(datetime.isoformat, _datetime),
    date: _Kind(date.isoformat, date.fromisoformat),
    timedelta: _Kind(lambda span: [span.days, span.seconds, span.microseconds], _span),
    PurePath: _Kind(str, Path),
    MappingProxyType: _Kind(dict, MappingProxyType),
    **{cls: _Kind(str, cls) for cls in (IPv4Address, IPv6Address, IPv4Network, IPv6Network)},
}
_BY_NAME = {cls.__name__: kind for cls, kind in _KINDS.items()}
assert len(_BY_NAME) == len(_KINDS), "two classes of one name"
_TYPED_BY_NAME = {cls.__name__: msgspec.msgpack.Decoder(cls) for cls in _TYPED}
_decoder = msgspec.msgpack.Decoder(ext_hook=_unpacked)
_object_decoder = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
__all__ = ["decode", "encode", "travels"]
