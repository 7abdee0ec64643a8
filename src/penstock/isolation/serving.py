"""What a handler in a sink process wants of the server while it runs: done here, where the server is.

Each question is a task of its call, and ends with it. Only what sinks can do on the loop can be asked for, and what comes is checked as if
it came from a stranger."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any

import msgspec

from ..errors import (
    AddressError,
    ClientGone,
    FrozenError,
    HeaderError,
    LocalProtocolError,
    PenstockError,
    RemoteProtocolError,
    StorageDamaged,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from ..events.work import Backplane, MessageWork
from ..mail.message import decode_record
from ..mail.reply import Reply
from . import values
from .contents import take_sealed
from .frames import Ask, MessageFrame

_ID = re.compile(r"[0-9A-Z]{16}")
# The exceptions that a handler may want to catch; any other comes as a PenstockError with its text.
_KNOWN: dict[str, type[Exception]] = {
    cls.__name__: cls
    for cls in (
        AddressError, ClientGone, ConnectionError, FrozenError, HeaderError, LocalProtocolError, OSError, PenstockError,
        RemoteProtocolError, RuntimeError, StorageDamaged, StorageError, StorageFull, StorageUnavailable, TimeoutError, TypeError,
        ValueError,
    )
}  # fmt: skip


async def serve(ask: Ask, descriptors: list[int], server: Backplane, other: object, scope: tuple[str, int]) -> Any:
    """What a handler asked for.

    Args:
        ask: what.
        descriptors: that came with it; those that are taken are replaced by -1.
        server: what does it.
        other: whom the handler may talk to beside the server.
        scope: the binding, and how many submissions by sinks led to what it handles.

    Raises: ValueError, TypeError, AttributeError for what cannot be asked; what the server raises.
    """
    given = values.decode(ask.value)
    if ask.what == "submit":
        if ask.message is None:
            raise ValueError("there is no message to submit")
        return await server.submit(_submitted(ask.message, descriptors, scope))
    if ask.what in _OF_SERVER:
        wanted = _OF_SERVER[ask.what]
        found = getattr(server, wanted)(*_texts(given, 0 if ask.what == "reset" else 1))
        return await found if isinstance(found, Awaitable) else found
    method, kinds = _OF_OTHERS[ask.what]
    if not isinstance(given, kinds):
        raise TypeError(f"{ask.what} does not take {given!r}")
    return await getattr(other, method)(given)


_OF_SERVER = {"depth": "queue_depth", "release": "release_queue", "reset": "reset_routes"}
_OF_OTHERS: dict[str, tuple[str, tuple[type[Any], ...]]] = {
    "line": ("line", (Reply, type(None))),
    "block": ("block", (int,)),
    "response": ("response", (bytes,)),
    "send": ("send", (str,)),
}


def _texts(given: Any, count: int) -> list[str]:
    if not isinstance(given, list) or len(given) != count or not all(isinstance(one, str) for one in given):
        raise TypeError(f"{given!r} is not what was to be asked")
    return given


def _submitted(frame: MessageFrame, descriptors: list[int], scope: tuple[str, int]) -> MessageWork:
    """A message that a handler made: of its record, what a sink decides about."""
    binding, generation = scope
    try:
        record = decode_record(frame.record)
    except msgspec.DecodeError as error:
        raise ValueError(f"the message cannot be kept: {error}") from None
    if not _ID.fullmatch(record.id) or frame.content is None or not record.envelope.recipients:
        raise ValueError("a message without id, content or recipients")
    content = take_sealed(frame.content, descriptors)
    if record.header is not None and not 0 <= record.body_offset <= content.size:
        raise ValueError("a header in the place of more than there is")
    record.origin, record.direction = "sink", "internal"
    record.generation = max(record.generation, generation + 1)
    record.skip = [binding] if record.skip else []
    record.size = content.size
    return MessageWork(record, content)


def as_told(error: Exception) -> tuple[str, str]:
    """An exception as a sink process is told of it."""
    known = next((cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _KNOWN), "")
    return (known, str(error)) if known else ("PenstockError", f"{type(error).__name__}: {error}")


def as_raised(kind: str, text: str) -> Exception:
    """The exception that a handler sees."""
    return _KNOWN.get(kind, PenstockError)(text)
