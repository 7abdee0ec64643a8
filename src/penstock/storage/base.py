"""What every spool promises; the docstrings here are the contract, and one test suite holds every back-end to it.

The interface is small on purpose: a spool keeps *entries* (a message at a stage, opaque to storage) and their *contents*, and changes them
in atomic groups. What a stage means, when to retry and whom to tell is decided above. Nothing here assumes that the process that
accepted a message delivers it, and ids are unique in a cluster, so a distributed back-end fits behind the same words.

Order: changes of one spool are applied in the order of the calls, across ``commit`` and ``append``.
Damage: what does not match its checksum is set aside, reported by name through ``Recovered.damaged`` or StorageDamaged, and never stops
the rest. SpoolDamaged is another thing: the spool as a whole cannot go on, nothing is said about the message that was asked for, and a new
start repairs it. Every question may raise it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from ..mail.content import Content


class Entry(msgspec.Struct, frozen=True):
    """One message as the spool knows it.

    Args:
        id: unique in the cluster, sortable by time.
        stage: the last stage recorded; a word of the layer above.
        record: envelope and all else that must survive, encoded by the layer above.
        content: the id of the content it refers to; forks share one. "" for an entry without content.
        queue: the name of the queue (destination) it waits in, "" when in none.
        due: when it is wanted next, in seconds since 1970; 0 means at once.
        held: why it is held; "" when it is not. A held entry is never due.
    """

    id: str
    stage: str
    record: bytes
    content: str = ""
    queue: str = ""
    due: float = 0.0
    held: str = ""


@dataclass(frozen=True, slots=True)
class Put:
    """Keeps an entry, new or in place of the one with the same id.

    Args:
        entry: what to keep.
        content: the bytes to keep under ``entry.content``; None when the spool has them already.

    A content id is written once: other bytes get another id. Bytes under an id that is kept already take the place of the old ones for all
    entries that refer to it, when they are durable; who reads the content at that time may get either.
    """

    entry: Entry
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Forgets an entry, and its content when no other entry refers to it. An unknown id is no error."""

    id: str


Change = Put | Remove


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries to list; all given conditions must hold, None asks nothing.

    Args:
        queue: only entries of this queue.
        stage: only entries at this stage.
        held: True for held entries only, False for those that are not.
        due_before: only entries that are not held and due at or before this time (seconds since 1970).
    """

    queue: str | None = None
    stage: str | None = None
    held: bool | None = None
    due_before: float | None = None

    def matches(self, entry: Entry) -> bool:
        """True when all conditions hold for the entry."""
        return (
            (self.queue is None or entry.queue == self.queue)
            and (self.stage is None or entry.stage == self.stage)
            and (self.held is None or bool(entry.held) == self.held)
            and (self.due_before is None or (not entry.held and entry.due <= self.due_before))
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing, in order of id.

    Args:
        entries: the entries of this part.
        cursor: hand it to the next call to go on; "" when this was the last part.
    """

    entries: list[Entry]
    cursor: str


@dataclass(frozen=True, slots=True)
class QueueCount:
    """What one queue has, for a listing of queues.

    Args:
        entries: how many entries are in it, the held ones too.
        held: how many of them are held.
        oldest: the least id of them; ids are sortable by time, so it tells since when somebody waits.
    """

    entries: int
    held: int
    oldest: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a spool found when it was opened.

    Args:
        count: how many entries it keeps.
        damaged: one line for each thing that was damaged: what it was and where it was set aside.
        seconds: how long recovery took.
    """

    count: int
    damaged: list[str] = field(default_factory=list)
    seconds: float = 0.0


class ContentWriter(Protocol):
    """Takes a large content as it arrives, outside memory. Exactly one of ``finish`` and ``abort`` ends it."""

    async def write(self, data: bytes) -> None:
        """Adds octets; returns when the next ones may come (this is the back-pressure).

        Raises: StorageFull, StorageUnavailable. The writer is then only good for ``abort``.
        """

    async def finish(self) -> Content:
        """The content, readable now, and durable once it was committed with a Put. Never committed, it is gone after a restart.

        A finished content that will not be committed is given back with ``abort``.
        """

    def abort(self) -> None:
        """Throws everything away; may be called at any time, also twice; never raises. Without effect once the content was committed."""


class Spool(Protocol):
    """Keeps entries and contents so that what was committed survives kill -9 and power loss at any later instant."""

    async def open(self) -> Recovered:
        """Takes the spool for this process and recovers what it keeps; everything else may be called only after it.

        Raises: StorageLocked when another process has it; StorageUnavailable when the folder cannot be used, with the path and the reason.
        """

    async def close(self) -> None:
        """Makes everything durable that was asked for, then gives the spool back. Calls that come later raise StorageUnavailable."""

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Applies the changes all or none; the future is done when they are on stable storage.

        The changes are visible to readers (``get``, ``select``, ``content``) at the latest when the future is done; before that they may
        be. Many calls share one sync; the call itself never blocks.

        The future raises: StorageFull, StorageUnavailable; then none of the changes happened, and none will after a restart.
        """

    def append(self, changes: Sequence[Change]) -> None:
        """Applies the changes all or none, in order, at once for readers, and makes them durable with the next group or within 100 ms.

        For changes that a crash may repeat but that must not be lost for ever: stages, attempts, outcomes, removals. A failure to write
        them is retried by the spool; after a crash the entry is as it was before.

        Not for new contents of any size: on a full disk there is room kept for small changes only, and what waits behind a greater one
        waits with it, while every commit is refused; those are better committed. An append whose content cannot be read is taken back as
        if it had never been made, and so is what refers to that content.
        """

    def writer(self) -> ContentWriter:
        """A writer for one large content."""

    def get(self, entry_id: str) -> Entry | None:
        """The entry, or None; does not block longer than one index look-up.

        Raises: SpoolDamaged, as do the questions below.
        """

    def content(self, entry: Entry) -> Content:
        """The content that the entry refers to; stays readable while the entry (or another that refers to it) is kept.

        Raises: StorageDamaged when it is not there; SpoolDamaged.
        """

    def select(self, query: Query, cursor: str = "", limit: int = 1000) -> Page:
        """One part of the entries that match, in order of id; by queue, or of the held alone, at the cost of the page."""

    def due(self, now: float, limit: int = 1000, queue: str | None = None) -> list[Entry]:
        """The entries that are not held and due at or before ``now``, those with the least due time first, of equal ones the least id.

        Costs what is found, not what is kept.

        Args:
            now: in seconds since 1970; infinite for whatever their due time.
            limit: at most so many.
            queue: only entries of this queue, "" being those in none; None for all.
        """

    def next_due(self, queue: str | None = None) -> float | None:
        """The least due time of the entries of a queue, or of all, that are not held; None when there is no such entry."""

    def queues(self) -> dict[str, float]:
        """Each queue with an entry that is not held, and the least due time of these; costs a look-up a queue, however many entries."""

    def census(self) -> dict[str, QueueCount]:
        """What each queue has that has an entry, held or not; costs a look-up a queue, however many entries."""

    def count(self) -> int:
        """How many entries are kept."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on something until a time.

    Args:
        name: what it is for.
        owner: who has it.
        number: fencing number; grows with every new owner, so that a late writer can be told from the present one.
        until: when it ends, in seconds since 1970.
    """

    name: str
    owner: str
    number: int
    until: float


class Leases(Protocol):
    """Who may work on what; trivial in one process, the base of take-over in a cluster."""

    def take(self, name: str, owner: str, seconds: float, now: float) -> Lease | None:
        """The lease, new or taken from an owner whose time ended; None while another has it."""

    def renew(self, lease: Lease, seconds: float, now: float) -> Lease | None:
        """The same lease for longer, or None when it was lost."""

    def release(self, lease: Lease) -> None:
        """Gives the lease back; without effect when it was lost."""
