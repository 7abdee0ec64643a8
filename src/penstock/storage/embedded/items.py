"""The values that travel between the table, the writer and the index: calls, young states, contents, and places in the journal.

They are plain and mutable where two threads hand them over to one another; who may touch what, and when, is said where they are used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ...mail.content import Content
from ..base import Change, Entry
from .format import Place
from .large import LargeFile


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the journal: the segment that was being written, and the sequence number of the next record."""

    segment: int
    sequence: int


class Where:
    """When and where a group of changes was written.

    Args:
        number: the number of the call; decides which of two changes is the later one.
        born: when the call was made, in seconds of the monotonic clock; 0 for what recovery found.
    """

    __slots__ = ("born", "number", "segment", "sequence")

    def __init__(self, number: int, born: float) -> None:
        self.number = number
        self.born = born
        self.segment = 0
        self.sequence = 0  # 0 while it is not durable


class Stored:
    """A content that young entries refer to.

    Args:
        id: the content's id.
        indexed: True when the index may have it too; then the index decides whether it is dead.
    """

    __slots__ = ("data", "id", "indexed", "pins", "place", "sequence")

    def __init__(self, content_id: str, indexed: bool) -> None:
        self.id = content_id
        self.indexed = indexed
        self.sequence = 0  # of the record that has it
        self.pins = 0
        self.place: Place | None = None
        self.data: Content | None = None


class Slot:
    """The young state of one entry; ``entry`` is None when it was removed but the index, or a commit under way, still has it.

    ``horizon`` is how far the journal had been applied when this was put here: whatever came later into the table lies behind it.
    """

    __slots__ = ("entry", "horizon", "indexed", "stored", "where")

    def __init__(self, entry: Entry | None, where: Where, horizon: Position, indexed: bool, stored: Stored | None) -> None:
        self.entry = entry
        self.where = where
        self.horizon = horizon
        self.indexed = indexed
        self.stored = stored

    def become(self, other: Slot | None) -> None:
        """Takes over another state; or none, as if no young one had been here, which the number 0 says."""
        if other is None:
            self.entry = self.stored = None
            self.where = Where(0, 0.0)
        else:
            self.entry, self.where, self.horizon, self.stored = other.entry, other.where, other.horizon, other.stored


class Item:
    """One call of commit or append, on its way to the disk.

    ``pins`` has the pinned content of each change; ``fresh`` the contents that must be written; ``old`` the young states that it took the
    place of, with their contents pinned until it is durable; the writer adds ``places``, what it read (``data``), the files it made or
    found (``files``, True for its own copies), and the encoded group (``parts``).
    """

    __slots__ = ("changes", "data", "dead", "error", "files", "fresh", "future", "old", "orphans", "parts", "pins", "places", "where")

    def __init__(self, changes: Sequence[Change], where: Where, future: asyncio.Future[None] | None) -> None:
        self.changes = changes
        self.where = where
        self.future = future
        self.pins: list[Stored | None] = []
        self.old: list[tuple[str, Slot]] = []
        self.fresh: dict[str, tuple[Stored, Content]] = {}
        self.places: dict[str, Place] = {}
        self.data: dict[str, bytes] = {}
        self.parts: list[bytes] = []
        self.dead: list[str] = []
        self.orphans: list[str] = []
        self.files: list[tuple[LargeFile, bool]] = []
        self.error: Exception | None = None


@dataclass(slots=True)
class Settling:
    """What goes to the index in one step.

    Args:
        slots: the young states, by entry id.
        contents: contents that the index does not have yet.
        orphans: ids of contents that lost their last young reference; the index must see whether it has another.
        upto: where the journal begins that the index does not know.
        more: True when there is more of the same age.

    Whoever has one hands it to the index, and tells the table how that went: what is in it was taken out of the table's lists.
    """

    slots: dict[str, Slot]
    contents: list[Stored]
    orphans: set[str]
    upto: Position
    more: bool = False

    @property
    def empty(self) -> bool:
        """True when nothing was taken, so that it may be forgotten."""
        return not (self.slots or self.contents or self.orphans)
