"""Reads traces from the files of all workers: the whole story of a message or a session, and which were traced last.

A server that runs writes on meanwhile, and removes what is oldest; what cannot be read any more is left out. Only one file is in memory at
a time, and of it only the lines that hold what is looked for are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .trace_entries import Entry, decode_entry
from .traces import PATTERN

# More of one story nobody reads, and of so many messages of one session.
MOST, MOST_MESSAGES = 5000, 200


@dataclass(slots=True)
class Traced:
    """A message or a session of which there is a trace.

    Args:
        id: of it.
        kind: "message" or "session".
        entries: how many; only what was read is counted.
        first: its oldest entry.
        last: its newest entry.
        ends: what became of it: the steps that say so.
    """

    id: str
    kind: str
    entries: int
    first: Entry
    last: Entry
    ends: list[Entry] = field(default_factory=list)


# The words of the log that say how a message ends, or why it does not.
ENDS = frozenset({
    "delivered", "relayed", "deferred", "failed", "expired", "dropped", "quarantined", "discarded", "rejected", "bounced", "held",
    "session ended", "sink failed",
})  # fmt: skip


def story(folder: Path, wanted: str) -> list[Entry]:
    """All entries of a message, with those of its sessions; or of a session, with those of its messages. Oldest first.

    Args:
        folder: of the traces of all workers.
        wanted: an id.
    """
    first = list(_holding(folder, [wanted], lambda entry: wanted in _ids(entry)))
    messages = {entry.message for entry in first if wanted in (entry.message, entry.session, entry.outbound) and entry.message}
    is_message = wanted in messages
    sessions = {entry.session for entry in first if entry.message == wanted} if is_message else {wanted}
    outbound = {entry.outbound for entry in first if entry.message == wanted} if is_message else {wanted}
    others = {*sorted(messages)[:MOST_MESSAGES], *sessions, *outbound} - {wanted, ""}
    shown = messages if not is_message else {wanted}

    def belongs(entry: Entry) -> bool:
        if entry.message:
            return entry.message in shown and entry.message != wanted and wanted not in (entry.session, entry.outbound)
        return wanted not in _ids(entry) and (entry.session in sessions or entry.outbound in outbound)

    found = first + list(_holding(folder, sorted(others), belongs)) if others else first
    return sorted(found, key=lambda entry: entry.time)


def lately(folder: Path, count: int) -> list[Traced]:
    """The messages and sessions that were traced last, newest last.

    Args:
        folder: of the traces of all workers.
        count: so many at most.
    """
    found: dict[str, Traced] = {}
    for path in _newest_first(folder):
        older: dict[str, Traced] = {}
        for entry in _decoded(path, None):
            name = entry.message or entry.session or entry.outbound
            if name:
                older[name] = _noted(older.get(name), name, entry)
        for name, traced in older.items():
            found[name] = _joined(traced, found[name]) if name in found else traced
        if len(found) >= count:
            break
    newest = sorted(found.values(), key=lambda traced: traced.first.time)
    return newest[-count:]


def _noted(traced: Traced | None, name: str, entry: Entry) -> Traced:
    if traced is None:
        traced = Traced(name, "message" if entry.message else "session", 0, entry, entry)
    traced.entries += 1
    traced.first = min(traced.first, entry, key=lambda e: e.time)
    traced.last = max(traced.last, entry, key=lambda e: e.time)
    if entry.what in ENDS:
        traced.ends.append(entry)
    return traced


def _joined(older: Traced, newer: Traced) -> Traced:
    first, last = min(older.first, newer.first, key=lambda e: e.time), max(older.last, newer.last, key=lambda e: e.time)
    return Traced(older.id, older.kind, older.entries + newer.entries, first, last, older.ends + newer.ends)


def _ids(entry: Entry) -> tuple[str, ...]:
    """The ids that an entry names; of a step, those of other messages that it has to do with too."""
    more = (entry.details.get("parent", ""), entry.details.get("about", "")) if entry.details else ()
    return (entry.message, entry.session, entry.outbound, *more)


def _holding(folder: Path, wanted: list[str], belongs: Callable[[Entry], bool]) -> Iterator[Entry]:
    """The entries that belong, of which each holds one of the wanted words."""
    count = 0
    words = [word.encode() for word in wanted if word]
    for path in sorted(folder.glob(f"*/{PATTERN}")) if words else ():
        for entry in _decoded(path, words):
            if belongs(entry):
                yield entry
                count += 1
                if count >= MOST:
                    return


def _newest_first(folder: Path) -> list[Path]:
    def changed(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    return sorted(folder.glob(f"*/{PATTERN}"), key=changed, reverse=True)


def _decoded(path: Path, words: list[bytes] | None) -> Iterator[Entry]:
    """The entries in a file; with words, those that hold one of them."""
    try:
        octets = path.read_bytes()
    except OSError:
        return
    for line in octets.splitlines() if words is None else _lines(octets, words):
        entry = decode_entry(line)
        if entry is not None:
            entry.worker = path.parent.name
            yield entry


def _lines(octets: bytes, words: Iterable[bytes]) -> list[bytes]:
    """The lines that hold one of the words, in order."""
    found: dict[int, bytes] = {}
    for word in words:
        at = octets.find(word)
        while at >= 0:
            start, end = octets.rfind(b"\n", 0, at) + 1, octets.find(b"\n", at)
            end = len(octets) if end < 0 else end
            found[start] = octets[start:end]
            at = octets.find(word, end)
    return [found[start] for start in sorted(found)]
