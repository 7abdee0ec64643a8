"""What a handler made of its event, on both sides: told in the sink process, and put in force by the server.

The event's own ``commit`` settles the drafts in the sink process. The server takes of it what a sink may edit, checks it, and shows the
dispatcher a view whose commit is that; so nothing counts before the dispatcher says so, as with a handler on the loop."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ..events.event import Event
from ..events.message import MAX_DEPTH, Message
from ..events.recipients import tidy
from ..events.verdict import Verdict
from ..events.work import MessageWork, OutboundWork, Scope, SessionWork
from ..mail.content import Content
from ..mail.envelope import Recipient
from ..mail.message import MessageRecord
from . import values
from .contents import give_blocking, take_sealed
from .events import RETURNED
from .frames import ContentFrame, Done, Draft

_ID = re.compile(r"[0-9A-Z]{16}")


@dataclass(slots=True)
class Before:
    """How things were when a handler began, in the sink process."""

    record: MessageRecord | None
    content: Content | None
    fields: list[Any]
    states: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, event: Event) -> Before:
        """How they are now."""
        work, session = event.facts.message, _remembered(event)
        states = {name: dict(state) for name, state in session.states.items()} if session is not None else {}
        fields = [getattr(event, slot) for slot in RETURNED[type(event)]]
        return cls(work.record if work else None, work.content if work else None, fields, states)


def done(number: int, event: Event, before: Before, verdict: Verdict | None, descriptors: list[int]) -> Done:
    """What a handler made of its event, which is committed. Raises TypeError for what cannot travel."""
    drafts: list[Draft] = []
    contents: list[ContentFrame] = []
    work = event.facts.message
    if work is not None and (work.dirty or work.forks):
        drafts, contents = _drafts(work, before.content, descriptors)
    slots = RETURNED[type(event)]
    changed = {slot: now for slot, was in zip(slots, before.fields, strict=True) if (now := getattr(event, slot)) is not was}
    session = _remembered(event)
    states = _changes(before.states, session.states) if session is not None else {}
    answer = b"" if verdict is None else values.encode(verdict)
    return Done(number, answer, drafts, contents, values.encode(changed) if changed else b"", values.encode(states) if states else b"")


def _drafts(work: MessageWork, before: Content | None, descriptors: list[int]) -> tuple[list[Draft], list[ContentFrame]]:
    contents: list[ContentFrame] = []
    numbers: dict[int, int] = {id(before): -1}
    drafts = []
    for one in (work, *work.forks):
        content, record = one.content, one.record
        if content is not None and id(content) not in numbers:
            numbers[id(content)] = len(contents)
            contents.append(give_blocking(content, descriptors))
        envelope = record.envelope
        drafts.append(
            Draft(
                envelope.sender, envelope.recipients, record.state, record.header, record.body_offset, numbers.get(id(content), -1),
                record.id, record.parent, record.depth,
            )
        )  # fmt: skip
    return drafts, contents


def _changes(before: Mapping[str, dict[str, Any]], now: Mapping[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """What was set and what went, by name; a value that is the same object was not set."""
    changes = {}
    for name, state in now.items():
        was = before.get(name, {})
        put = {key: value for key, value in state.items() if key not in was or was[key] is not value}
        gone = [key for key in was if key not in state]
        if put or gone:
            for key, value in put.items():
                _must_travel(value, f"session.state[{key!r}]")
            changes[name] = [put, gone]
    return changes


def _must_travel(value: object, place: str) -> None:
    try:
        values.encode(value)
    except TypeError as error:
        raise TypeError(f"{place}: {error}") from None


def _remembered(event: Event) -> SessionWork | OutboundWork | None:
    return event.facts.session if event.facts.session is not None else event.facts.outbound


class Returned(Message):
    """A message as a handler in another process left it; its commit puts that in force.

    Args:
        work: the server's.
        record: as it will be.
        content: as it will be.
        copies: that were split off.
    """

    __slots__ = ("_copies", "_made")

    def __init__(self, work: MessageWork, event: Event, made: tuple[MessageRecord, Content | None], copies: list[Returned]) -> None:
        super().__init__(work, Scope("", ""), event.facts.server)
        self._made = made
        self._copies = copies

    def prepared(self, new: bool = False) -> tuple[Message, MessageRecord, Content | None]:
        """What the handler made."""
        return self, *self._made

    def descendants(self) -> Iterator[Message]:
        """The copies, and those that were split off from them."""
        return iter(self._copies)

    def fork(self, recipients: Iterable[Recipient | Any]) -> Message:
        """Nothing more: a verdict that splits was judged in the other process, and its copies are among the others."""
        return self


def settle(event: Event, answer: Done, descriptors: list[int]) -> Verdict | None:
    """Puts on the server's event what a handler made of it, to be committed, and gives its verdict.

    Raises: ValueError, TypeError for what no handler could have made.
    """
    verdict = values.decode(answer.verdict) if answer.verdict else None
    if verdict is not None and not isinstance(verdict, Verdict):
        raise TypeError(f"{verdict!r} is no verdict")
    if answer.drafts:
        event.show(_returned(event, answer, descriptors))
    if answer.fields:
        _put_fields(event, values.decode(answer.fields))
    if answer.states:
        _put_states(event, values.decode(answer.states))
    return verdict


def _returned(event: Event, answer: Done, descriptors: list[int]) -> Returned:
    work = event.facts.message
    if work is None or event.report:
        raise ValueError("there is no message to edit")
    contents = [take_sealed(frame, descriptors) for frame in answer.contents]
    old, *copies = answer.drafts
    ids = [one.id for one in copies]
    if len(set(ids)) < len(ids) or not all(_ID.fullmatch(one) for one in ids):
        raise ValueError("copies without ids of their own")
    return Returned(work, event, _made(work, old, contents), [_copy(event, work, one, contents) for one in copies])


def _copy(event: Event, work: MessageWork, draft: Draft, contents: list[Content]) -> Returned:
    record, content = _made(work, draft, contents)
    if not draft.recipients or not 0 < draft.depth <= MAX_DEPTH + 1:
        raise ValueError("a copy without recipients, or of too many copies")
    record.id, record.parent, record.depth = draft.id, draft.parent, draft.depth
    child = MessageWork(record, content, work.content_id)
    child.rewritten, child.dirty = work.rewritten or content is not work.content, True
    return Returned(child, event, (record, content), [])


def _made(work: MessageWork, draft: Draft, contents: list[Content]) -> tuple[MessageRecord, Content | None]:
    """The record and the content of a draft: of what came, only what a sink may edit."""
    for recipient in draft.recipients:
        tidy(recipient)
    content = work.content if draft.content < 0 else contents[draft.content]
    if draft.header is not None and not (content is not None and 0 <= draft.body_offset <= content.size):
        raise ValueError("a header in the place of more than there is")
    envelope = msgspec.structs.replace(work.record.envelope, sender=draft.sender, recipients=draft.recipients)
    return msgspec.structs.replace(
        work.record, envelope=envelope, state=draft.state, header=draft.header, body_offset=draft.body_offset,
    ), content  # fmt: skip


def _put_fields(event: Event, changed: Any) -> None:
    slots = RETURNED[type(event)]
    for slot, now in changed.items():
        if slot not in slots:
            raise ValueError(f"{slot!r} cannot be set")
        was = getattr(event, slot)
        if not _alike(was, now) and not (slot == "_unread" and now is None):
            raise TypeError(f"{slot} became {now!r}")
        setattr(event, slot, now)


def _alike(was: object, now: object) -> bool:
    """Whether a value could have come from the other by editing."""
    if type(was) is not type(now):
        return False
    if isinstance(was, tuple) and isinstance(now, tuple):
        return len(was) == len(now) and all(map(_alike, was, now))
    return not isinstance(now, list) or all(type(item) is str for item in now)


def _put_states(event: Event, changes: Any) -> None:
    session = getattr(event, "session", None)
    if session is None:
        raise ValueError("there is no session to remember anything about")
    for name, (put, gone) in changes.items():
        state = session.shared(name)
        state.update(put)
        for key in gone:
            state.pop(key, None)
