"""What of an event can be edited, as a picture; two pictures, taken before and after, say what was edited.

Shadows and replays compare what two sinks made of the same thing. So the edits are short texts that are equal when the edits are, and
that an administrator can read; the octets of a body are only named by their digest."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from ..mail.content import Content, chunks
from ..mail.envelope import Recipient
from ..mail.header import Header, read_fields
from .catalog import Event, Greeting
from .event import OneRecipient
from .outbound import Edited
from .resolve import Item
from .transit import Resolve, Route
from .work import MessageWork

# Longer lines are cut, since a header field may be as long as a message.
LONGEST = 400
_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """What can be edited, at one moment.

    Args:
        lines: sender, recipients, copies, and what else the event lets a handler set; each as often as it is there.
        header: the header fields after edits; None while they are as they came.
        body_offset: how many octets of the content the header replaces.
        content: the content; None where there is none.
    """

    lines: Counter[str]
    header: bytes | None = None
    body_offset: int = 0
    content: Content | None = None


def picture(event: Event) -> Picture:
    """The event as the server has it now; nothing of a handler's that does not count yet."""
    work = event.facts.message
    if work is None:
        return Picture(Counter(_own(event)))
    lines = Counter([*message_lines(work), *_own(event)])
    return Picture(lines, work.record.header, work.record.body_offset, work.content if work.complete else None)


def message_lines(work: MessageWork) -> list[str]:
    """Sender, recipients and copies of a message."""
    envelope = work.record.envelope
    copies = [", ".join(str(r.address) for r in fork.record.envelope.recipients) for fork in work.forks]
    return [f"sender <{envelope.sender}>", *(_shown(r) for r in envelope.recipients), *(f"copy for {to}" for to in copies)]


def edits(before: Picture, after: Picture) -> Counter[str]:
    """What was edited between two pictures; each line begins with "+" for what came, or "-" for what went.

    Reads the content where it was replaced; so it may block, where that is not in memory.
    """
    found = Counter({f"+{line}": n for line, n in (after.lines - before.lines).items()})
    found += Counter({f"-{line}": n for line, n in (before.lines - after.lines).items()})
    if after.header != before.header or after.content is not before.content:
        found += _header_edits(before, after)
    if after.content is not before.content and after.content is not None:
        found[f"+body {_digest(after)}"] += 1
    return found


def _header_edits(before: Picture, after: Picture) -> Counter[str]:
    old, new = _fields(before), _fields(after)
    found = Counter({f"+header {_line(raw)}": n for raw, n in (new - old).items()})
    return found + Counter({f"-header {_line(raw)}": n for raw, n in (old - new).items()})


def _fields(shown: Picture) -> Counter[bytes]:
    raw = shown.header if shown.header is not None else read_fields(shown.content) if shown.content is not None else b""
    return Counter(field.raw.rstrip(b"\r\n") for field in Header(raw))


def _line(raw: bytes) -> str:
    return raw[:LONGEST].decode("utf-8", "backslashreplace").replace("\r\n", " ").replace("\n", " ")


def _digest(shown: Picture) -> str:
    """Names the body, without the header."""
    assert shown.content is not None
    digest = hashlib.sha256()
    skip = shown.body_offset if shown.header is not None else len(read_fields(shown.content))
    for piece in chunks(_From(shown.content, skip)):
        digest.update(piece)
    return digest.hexdigest()[:_DIGEST]


class _From:
    """A content from an offset on."""

    __slots__ = ("_content", "_offset")
    in_memory = False

    def __init__(self, content: Content, offset: int) -> None:
        self._content = content
        self._offset = offset

    @property
    def size(self) -> int:
        return max(self._content.size - self._offset, 0)

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        return self._content.read(self._offset + offset, length)


def _own(event: Event) -> list[str]:
    """What the event itself lets a handler set."""
    if isinstance(event, Greeting):
        return [f"offer {line}" for line in event.offered]
    if isinstance(event, Resolve):
        return [_item(item) for item in event.kept]
    if isinstance(event, Route):
        return [f"proposal {event.proposal}"] if event.proposal is not None else []
    lines = [f"this {_shown(event.work)}"] if isinstance(event, OneRecipient) else []
    if isinstance(event, Edited):
        event.restore()
        lines += [f"{name} {getattr(event, name)}" for name in event.editable]
    return lines


def _item(item: Item) -> str:
    decided = [item.decision or "open", ", ".join(map(str, item.members)), item.route, item.status, item.text]
    return f"{item.kind} <{item.address}>: {'; '.join(filter(None, decided))}"


def _shown(recipient: Recipient) -> str:
    """A recipient with what a handler can set."""
    more = [f"notify={','.join(sorted(recipient.notify))}"] if recipient.notify else []
    more += [f"{name}={value}" for name, value in (("orcpt", recipient.orcpt), ("route", recipient.route)) if value]
    more += [f"{name}={value!r}"[:LONGEST] for name, value in sorted(recipient.properties.items())]
    return f"recipient <{' '.join([f'{recipient.address}>', *more])}"
