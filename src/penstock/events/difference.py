"""What a handler changed of an event, in lines that an administrator reads: "+" what came, "-" what went, "~" what is another now.

The server's own data is looked at before and after; what a handler commits replaces parts of it and never changes them in place, so that
looking costs no copy. Names of what sinks remember are told and values never: they may be secrets. ``picture`` is another thing: it
compares what two handlers made of the same event, digests of contents included, and may wait for the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import eq
from typing import Any

from ..mail.content import Content
from ..mail.envelope import Recipient
from ..mail.header import Header
from .catalog import Event, Greeting
from .drafts import unchanged
from .event import OneRecipient
from .outbound import Edited
from .resolve import Item
from .transit import Resolve, Route
from .work import MessageWork, SessionWork

Same = Callable[[Any, Any], bool]
# So long is what is shown of a line, and so large may a header section be that is compared field by field.
_LINE, _LARGEST = 300, 256 * 1024


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be changed of an event, as it was at one moment.

    Args:
        lines: what the event itself lets a handler set, by name.
        recipient: the one that the event is about, if it is about one.
        message: the message's parts; None without a message.
        memory: what sinks remember about the session; the server replaces what a handler changed.
    """

    lines: Mapping[str, str]
    recipient: Recipient | None
    message: _Parts | None
    memory: Mapping[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a message as they were."""

    sender: str
    recipients: tuple[Recipient, ...]
    header: bytes | None
    content: Content | None
    memory: Mapping[str, dict[str, Any]]
    forks: int


def sight(event: Event) -> Sight:
    """The event as it is now."""
    work = event.facts.message
    recipient = event.work if isinstance(event, OneRecipient) else None
    return Sight(_own(event), recipient, None if work is None else _parts(work), _memory(event.facts.session or event.facts.outbound))


def _parts(work: MessageWork) -> _Parts:
    record = work.record
    envelope = record.envelope
    recipients = tuple(envelope.recipients)
    return _Parts(str(envelope.sender), recipients, record.header, work.content, dict(record.state), len(work.forks))


def _memory(session: Any) -> Mapping[str, dict[str, Any]]:
    return {owner: dict(kept) for owner, kept in session.states.items()} if isinstance(session, SessionWork) else {}


def changes(before: Sight, event: Event) -> list[str]:
    """What is another now than it was before."""
    after = sight(event)
    found = _lines(before.lines, after.lines)
    if before.recipient is not None and after.recipient is not None:
        found += _recipient(before.recipient, after.recipient)
    if before.message is not None and after.message is not None and event.facts.message is not None:
        found += _message(before.message, after.message, event.facts.message)
    # A session may remember any object: what that thinks that it is equal to is none of our business.
    return found + _remembered("session", before.memory, after.memory, unchanged)


def _lines(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    found = [f"~ {name} {before[name]} is now {value}" for name, value in after.items() if name in before and before[name] != value]
    found += [f"+ {name} {value}".rstrip() for name, value in after.items() if name not in before]
    return found + [f"- {name} {value}".rstrip() for name, value in before.items() if name not in after]


def _message(before: _Parts, after: _Parts, work: MessageWork) -> list[str]:
    found = []
    if before.sender != after.sender:
        found.append(f"~ sender <{before.sender}> is now <{after.sender}>")
    if before.recipients != after.recipients:
        found += _recipients(before.recipients, after.recipients)
    if before.content is not after.content:
        found.append(f"~ content of {_size(before.content)} is now one of {_size(after.content)}")
    elif before.header is not after.header and before.header != after.header:
        found += _header(before, after, work)
    found += _remembered("message", before.memory, after.memory, eq)
    for fork in work.forks[before.forks :]:
        to = ", ".join(f"<{r.address}>" for r in fork.record.envelope.recipients)
        found.append(f"+ copy {fork.record.id} for {to}"[:_LINE])
    return found


def _recipients(before: Sequence[Recipient], after: Sequence[Recipient]) -> list[str]:
    if len(before) == len(after):
        return [line for old, new in zip(before, after, strict=True) for line in _recipient(old, new)]
    had, has = {str(r.address): r for r in before}, {str(r.address): r for r in after}
    found = [line for name, new in has.items() if name in had for line in _recipient(had[name], new)]
    found += [f"+ recipient <{name}>" for name in has if name not in had]
    return found + [f"- recipient <{name}>" for name in had if name not in has]


def _recipient(before: Recipient, after: Recipient) -> list[str]:
    """What is another of one recipient."""
    if before is after or before == after:
        return []
    if before.address != after.address:
        return [f"~ recipient <{before.address}> is now <{after.address}>"]
    found = []
    for name in ("notify", "orcpt", "route", "variant"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            found.append(f"~ recipient <{after.address}> {name} {_plain(old)} is now {_plain(new)}"[:_LINE])
    names = [f"{mark} {kind} {name} of <{after.address}>" for kind, mark, name in _keys(before, after)]
    return found + names


def _keys(before: Recipient, after: Recipient) -> list[tuple[str, str, str]]:
    both = (("property", before.properties, after.properties), ("parameter", before.parameters, after.parameters))
    return [(kind, mark, name) for kind, old, new in both for mark, name in _named(old, new, eq)]


def _named(before: Mapping[str, Any], after: Mapping[str, Any], same: Same) -> list[tuple[str, str]]:
    """Which keys are another now; never what they have."""
    found = [("+" if name not in before else "~", name) for name in after if name not in before or not same(before[name], after[name])]
    return found + [("-", name) for name in before if name not in after]


def _remembered(about: str, before: Mapping[str, dict[str, Any]], after: Mapping[str, dict[str, Any]], same: Same) -> list[str]:
    return [
        f"{mark} {about} state of {owner}: {name!r}"[:_LINE]
        for owner in {**before, **after}
        for mark, name in _named(before.get(owner, {}), after.get(owner, {}), same)
    ]


def _header(before: _Parts, after: _Parts, work: MessageWork) -> list[str]:
    """Which fields came and went; those of a huge header are only said to be others."""
    old = before.header if before.header is not None else work.came().section.raw if work.content is not None else b""
    new = after.header or b""
    if len(old) + len(new) > _LARGEST:
        return [f"~ header of {len(old)} octets is now one of {len(new)}"]
    had, has = Counter(_fields(old)), Counter(_fields(new))
    found = [f"+ header {_shown(field)}" for field in (has - had).elements()]
    found += [f"- header {_shown(field)}" for field in (had - has).elements()]
    return found or ["~ the order of the header fields"]


def _fields(raw: bytes) -> list[bytes]:
    return [field.raw.rstrip(b"\r\n") for field in Header(raw)]


def _shown(raw: bytes) -> str:
    return raw[:_LINE].decode("utf-8", "backslashreplace").replace("\r\n", " ").replace("\n", " ")


def _size(content: Content | None) -> str:
    return f"{content.size} octets" if content is not None else "nothing"


def _plain(value: object) -> str:
    if isinstance(value, frozenset):
        return ",".join(sorted(map(str, value))) or "nothing"
    return str(value) or "nothing"


def _own(event: Event) -> dict[str, str]:
    """What the event itself lets a handler set."""
    if isinstance(event, Greeting):
        return {f"extension {line}": "" for line in event.offered}
    if isinstance(event, Resolve):
        return {f"{item.kind} <{item.address}>": _item(item) for item in event.kept}
    if isinstance(event, Route):
        return {"proposal": str(event.proposal.next_hop) if event.proposal is not None else "none"}
    if isinstance(event, Edited):
        # As the server has it: a handler that failed may have set something that does not count.
        event.restore()
        return {name: _plain(getattr(event, name))[:_LINE] for name in event.editable}
    return {}


def _item(item: Item) -> str:
    more = [", ".join(f"<{member}>" for member in item.members), item.route, item.status, item.text]
    return " ".join(filter(None, [item.decision or "open", *more]))[:_LINE]
