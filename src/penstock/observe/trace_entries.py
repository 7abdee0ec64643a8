"""What a trace consists of: one entry for each event that sinks were asked about, and for each step that the log told of.

Entries are plain text and numbers, made when the event is over, so that nothing in them can change or keep a message alive. As a line of
JSON an entry can be read with ``grep`` and ``jq`` as well as with ``penstock trace``. Fields are only ever added, with defaults.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Looked(msgspec.Struct, frozen=True, array_like=True):
    """One condition, as it was looked at.

    Args:
        name: of the condition, as in ``Match``.
        wanted: as it was written.
        found: what the event had.
        held: whether it held.
    """

    name: str
    wanted: str
    found: str
    held: bool


class Asked(msgspec.Struct, omit_defaults=True):
    """What came of one binding at one event.

    Args:
        binding: its name.
        handler: the method of the sink.
        sink: where its class is found.
        version: of the sink's code, as far as it is known.
        priority: its place in the order.
        conditions: as far as they were looked at.
        reason: why its handler was not called; "" when it was.
        verdict: what it answered, in words; "" for nothing.
        ms: how long its handler took.
        error: what went wrong, "" for nothing.
        edits: what it changed, a line each: "+" for what came, "-" for what went, "~" for what is another now.
    """

    binding: str
    handler: str = ""
    sink: str = ""
    version: str = ""
    priority: int = 0
    conditions: list[Looked] = []
    reason: str = ""
    verdict: str = ""
    ms: float = 0.0
    error: str = ""
    edits: list[str] = []


class Entry(msgspec.Struct, omit_defaults=True):
    """One line of a trace.

    Args:
        time: when it began, in seconds since 1970.
        what: the event's name, or the words of the log for a step.
        kind: whether sinks were asked, or something happened.
        message: the id of the message that it is about, "" for none.
        session: the id of the SMTP session, or of the one that the message came in, "" for none.
        outbound: the id of the session with a remote server, "" for none.
        about: what the event was about, beside these: a command, a recipient, a reply.
        attempt: which time this moment is told of, from 1.
        generation: of the bindings.
        asked: the bindings in order.
        more: how many further bindings were not asked, for which there was no room here.
        verdict: how the event ended, in words; "" when nobody answered.
        by: whose verdict that was.
        details: of a step, by name.
        worker: who wrote it; filled in when it is read.
    """

    time: float
    what: str
    kind: Literal["event", "step"] = "event"
    message: str = ""
    session: str = ""
    outbound: str = ""
    about: str = ""
    attempt: int = 1
    generation: int = 0
    asked: list[Asked] = []
    more: int = 0
    verdict: str = ""
    by: str = ""
    details: dict[str, str] = {}
    worker: str = ""


_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(Entry)
# So many bindings and edits remain of an entry that has no room for all.
_KEPT = 20
_SHORT = 200


def encode_entry(entry: Entry, room: int) -> bytes:
    """The entry as a line of at most ``room`` octets; what there is no room for is left out, the less important first.

    Raises: ValueError when not even its beginning fits.
    """
    for lessen in (_whole, _without_idle, _short, _bare):
        lessen(entry)
        line = _encoder.encode(entry)
        if len(line) < room:
            return line + b"\n"
    raise ValueError("an entry has no room")


def decode_entry(line: bytes) -> Entry | None:
    """The entry in a line; None for a line that was torn, or that another version wrote."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _whole(entry: Entry) -> None:
    """Leaves it as it is."""


def _without_idle(entry: Entry) -> None:
    """Keeps the bindings that were asked, and the first of those that were not."""
    kept = [one for number, one in enumerate(entry.asked) if not one.reason or number < _KEPT]
    entry.more += len(entry.asked) - len(kept)
    entry.asked = kept


def _short(entry: Entry) -> None:
    """Cuts long texts, and long lists of edits."""
    entry.about = entry.about[:_SHORT]
    entry.details = {name: value[:_SHORT] for name, value in list(entry.details.items())[:_KEPT]}
    for one in entry.asked:
        one.conditions = [Looked(c.name, c.wanted[:_SHORT], c.found[:_SHORT], c.held) for c in one.conditions[-_KEPT:]]
        left = len(one.edits) - _KEPT
        one.edits = [edit[:_SHORT] for edit in one.edits[:_KEPT]] + ([f"and {left} more"] if left > 0 else [])
        one.verdict, one.error = one.verdict[:_SHORT], one.error[:_SHORT]


def _bare(entry: Entry) -> None:
    """Keeps that there was something."""
    entry.more += max(len(entry.asked) - 3, 0)
    entry.asked, entry.details = entry.asked[-3:], {}
    for one in entry.asked:
        one.conditions, one.edits = [], []
