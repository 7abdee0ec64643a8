"""How an event travels: what it is about, and what it carries beside, in both directions.

An event is taken apart by its slots, so that one which is added to the catalogue travels without a line here. What a handler edits is
settled by the event itself, in the sink process: ``commit`` is the same there, and only what it changed comes back."""

from __future__ import annotations

from typing import TypeVar

from ..events.catalog import CATALOG
from ..events.event import Event
from ..events.work import Backplane, Facts, MessageWork, OutboundWork, SessionWork
from ..mail.message import decode_record, encode_record
from . import values
from .contents import give, take
from .frames import Call, MessageFrame

# What is no value but somebody to talk to; each side has its own.
INTERFACES = ("_dialogue", "_wire")
_FACTS = frozenset(Event.__slots__) | {*INTERFACES}
# Drafts, which ``begin`` makes anew, and the memory of what there was before them.
_DRAFTS = frozenset({"_draft", "_items", "_extensions", "_kept"})
W = TypeVar("W", SessionWork, OutboundWork)
NAMES = {cls: name for name, cls in CATALOG.items()}


def _carried(event: type[Event]) -> tuple[str, ...]:
    slots = (slot for base in event.__mro__ for slot in base.__dict__.get("__slots__", ()))
    return tuple(slot for slot in dict.fromkeys(slots) if slot not in _FACTS and not slot.startswith("__"))


# The slots in which each event has what it carries beside its facts, and those of them that a handler may change.
CARRIED = {cls: _carried(cls) for cls in CATALOG.values()}
RETURNED: dict[type[Event], tuple[str, ...]] = {
    cls: () if cls.report else tuple(slot for slot in slots if slot not in _DRAFTS) for cls, slots in CARRIED.items()
}


def interface(event: Event) -> object:
    """Whom a handler of this event may talk to, beside the server."""
    for slot in INTERFACES:
        found: object = getattr(event, slot, None)
        if found is not None:
            return found
    return None


async def frame_of(number: int, method: str, event: Event, scope: tuple[str, str], descriptors: list[int]) -> Call:
    """The frame that asks for a handler to be called; the descriptors that go with it are added to the list.

    Raises: TypeError for an event with a value that cannot travel; OSError, StorageDamaged when the content cannot be read.
    """
    facts = event.facts
    message = None if facts.message is None else await give_message(facts.message, descriptors)
    return Call(
        number, method, NAMES[type(event)], event.attempt, event.matched, scope, facts.server.now(),
        b"" if facts.session is None else _give_session(facts.session),
        b"" if facts.outbound is None else _give_session(facts.outbound),
        message,
        values.encode([getattr(event, slot) for slot in CARRIED[type(event)]]),
    )  # fmt: skip


async def give_message(work: MessageWork, descriptors: list[int]) -> MessageFrame:
    """A message for another process."""
    content = None if work.content is None else await give(work.content, descriptors)
    return MessageFrame(encode_record(work.record), work.content_id, work.complete, content)


def take_message(frame: MessageFrame, descriptors: list[int]) -> MessageWork:
    """The message of a frame that the server sent."""
    content = None if frame.content is None else take(frame.content, descriptors)
    work = MessageWork(decode_record(frame.record), content, frame.content_id)
    work.complete = frame.complete
    return work


def event_of(call: Call, descriptors: list[int], server: Backplane, other: object) -> Event:
    """The event of a frame that the server sent.

    Args:
        call: the frame.
        descriptors: of its contents; those that are taken are replaced by -1.
        server: what does in this process what a server does.
        other: whom a handler may talk to beside the server.
    """
    cls = CATALOG[call.event]
    event: Event = object.__new__(cls)
    session = _take_session(SessionWork, call.session) if call.session else None
    outbound = _take_session(OutboundWork, call.outbound) if call.outbound else None
    message = take_message(call.message, descriptors) if call.message is not None else None
    Event.__init__(event, Facts(server, session, message, outbound), call.attempt)
    event.matched = call.matched
    for slot, value in zip(CARRIED[cls], values.decode(call.fields), strict=True):
        setattr(event, slot, value)
    for slot in INTERFACES:
        if hasattr(cls, slot):
            setattr(event, slot, other)
    return event


def _slots(cls: type[SessionWork | OutboundWork]) -> list[str]:
    return [slot for slot in cls.__slots__ if slot != "states" and not slot.startswith("__")]


def _give_session(work: SessionWork | OutboundWork) -> bytes:
    """A session; of what sinks remember, what is plain data: a connection of another sink's would be none over there."""
    plain = {slot: getattr(work, slot) for slot in _slots(type(work))}
    try:
        return values.encode([plain, work.states])
    except TypeError:
        known = {name: {key: value for key, value in state.items() if values.travels(value)} for name, state in work.states.items()}
        return values.encode([{slot: value for slot, value in plain.items() if values.travels(value)}, known])


def _take_session(cls: type[W], data: bytes) -> W:
    plain, states = values.decode(data)
    work = object.__new__(cls)
    for slot in _slots(cls):
        setattr(work, slot, plain.get(slot))
    work.states = states
    return work
