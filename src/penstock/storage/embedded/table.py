"""The young: what is kept in memory because it was changed lately, laid over the index of what is settled.

Everything that changes goes through here, and leaves when the index has it (``evict``) or when it was removed before the index ever heard
of it, which is the fate of most mail. Only the event loop's thread touches a Table, except where said.

A commit is applied when it is durable, an append at once. So a commit that was called earlier may be applied later than an append; the
number that each call gets decides, never the time of application. Contents are different: they are *pinned* by the call itself, so that a
content cannot die between a commit that refers to it and its completion; and what a change took the place of keeps its content until the
change is durable, for a crash before that brings the old state back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from ..base import Change, Entry, Put, Remove
from .census import Census
from .contents import Contents
from .due import DueOrder
from .items import Item, Position, Settling, Slot, Stored, Where

# Every question that goes through the index in order passes the rows that younger states hide; when these are more, they settle at once.
HIDING = 2000


class Known(Protocol):
    """What the table must know of the index."""

    def find(self, entry_id: str) -> tuple[str, str] | None:
        """Queue of an entry and why it is held, as the index has them; None when the index has no row of it."""


class Table:
    """The young entries and contents of one spool.

    Args:
        index: what is settled.
        top: the greatest entry id that the index has; a greater one is certainly new, which spares the look-up for new mail.
        census: how many entries the index has in each queue.
        cache_size: at most so many octets of contents stay in memory.
    """

    def __init__(self, index: Known, top: str, census: Census, cache_size: int) -> None:
        self.slots: dict[str, Slot] = {}
        self.contents = Contents(cache_size)
        self.census = census
        self.completed = Position(0, 1)
        self._under_way: set[Item] = set()
        self._unwritten: deque[Item] = deque()  # appends that readers see and a crash would undo
        self._floor = Position(0, 0)  # what the index has reached
        self._index = index
        self._top = top
        self._orphans: set[str] = set()
        self.order = DueOrder(self.slots)
        self._number = 0

    # --- the way of one call ---

    def begin(self, changes: Sequence[Change], future: asyncio.Future[None] | None) -> Item:
        """Makes the item of a call and pins the contents it refers to."""
        self._number += 1
        item = Item(changes, Where(self._number, time.monotonic()), future)
        pins = item.pins
        for change in changes:
            stored = None
            if type(change) is Put and change.entry.content:
                stored = self.contents.pin(change.entry.content, change.content is None)
                if change.content is not None and stored.id not in item.fresh:
                    item.fresh[stored.id] = (stored, change.content)
                    stored.data = change.content
            pins.append(stored)
        if future is not None:
            self._under_way.add(item)
        return item

    def changing(self) -> set[str]:
        """The ids of entries that commits under way will change, and that nobody may put again as they are now."""
        changes = (change for item in self._under_way for change in item.changes)
        return {change.entry.id if isinstance(change, Put) else change.id for change in changes}

    def apply(self, item: Item) -> None:
        """Makes the changes visible: an append at once, a commit when it is durable."""
        for change, stored in zip(item.changes, item.pins, strict=True):
            if type(change) is Put:
                self._put(change.entry, stored, item)
            elif isinstance(change, Remove):
                self._remove(change.id, item)
        if item.future is None:
            self._unwritten.append(item)

    def written(self, item: Item) -> None:
        """Notes that the item is durable; ``item.dead`` are then the files that nobody needs any more."""
        if item.future is not None:
            self._under_way.discard(item)
            self.apply(item)
        else:
            self._unwritten.popleft()
            for change in item.changes:
                if isinstance(change, Remove):
                    self._forget_tombstone(change.id, item.where.number)
        # Only now: what lost its last reference by a change that a crash could undo must still be there after that crash.
        for _, slot in item.old:
            if slot.stored is not None:
                self._release(slot.stored, item)
        for content_id, (stored, content) in item.fresh.items():
            place = item.places[content_id]
            unused = stored.place if stored.pins else place
            if unused is not None and unused.file and (unused is place or unused.file != place.file):
                item.dead.append(unused.file)
            if stored.pins:
                self.contents.found(stored, place, item.where.sequence)
                if stored.data is content:
                    self.contents.keep_in_memory(stored, item.data.get(content_id))
        self._orphans.update(item.orphans)

    def failed(self, item: Item) -> None:
        """Takes back a call that cannot be written: a commit, which was never visible, or an append, as if it had never been made."""
        self._under_way.discard(item)
        if item.future is None:
            self._unwritten.remove(item)
            self._take_back(item)
        for stored, content in item.fresh.values():
            if stored.data is content:
                stored.data = None
        for pinned in item.pins:
            if pinned is not None:
                self._release(pinned, item)
        self._orphans.update(item.orphans)

    def _take_back(self, item: Item) -> None:
        """Gives the entries of an append the states that it took the place of, also where later appends lie over it."""
        before: dict[str, Slot] = {}
        for key, old in item.old:
            if old.where is not item.where and old.where.number:
                before.setdefault(key, old)
        for key in {change.entry.id if isinstance(change, Put) else change.id for change in item.changes}:
            covered = [slot for later in self._unwritten for name, slot in later.old if name == key and slot.where is item.where]
            for slot in covered:
                slot.become(before.get(key))
            if not covered:
                self._restore(key, before.get(key), item)
        # In order of their horizons again, for ``settle``.
        slots = sorted(self.slots.items(), key=lambda pair: pair[1].horizon.sequence)
        self.slots.clear()
        self.slots.update(slots)

    def _restore(self, key: str, old: Slot | None, item: Item) -> None:
        present = self.slots.get(key)
        if present is old or (present is not None and present.where is not item.where):
            return
        if present is not None:
            del self.slots[key]
            self._uncount(present.entry)
        if old is not None:
            self.slots[key] = old
            if old.entry is not None:
                self.census.add(old.entry.queue, old.entry.held)
                self.order.add(old.entry, old.where)
        elif present is not None and present.indexed and (row := self._index.find(key)):
            self.census.add(*row)

    def _put(self, entry: Entry, stored: Stored | None, item: Item) -> None:
        slots = self.slots
        key, where = entry.id, item.where
        new = Slot(entry, where, self.completed, False, stored)
        old = slots.pop(key, None)
        if old is None:
            row = self._index.find(key) if key <= self._top else None
            if row is not None:
                new.indexed = True
                self.census.remove(*row)
        elif old.where.number > where.number:
            slots[key] = old
            item.old.append((key, new))
            return
        else:
            new.indexed = old.indexed
            self._uncount(old.entry)
            item.old.append((key, old))
        slots[key] = new
        self.census.add(entry.queue, entry.held)
        self.order.add(entry, where)

    def _remove(self, key: str, item: Item) -> None:
        old = self.slots.pop(key, None)
        where = item.where
        if old is None:
            row = self._index.find(key) if key <= self._top else None
            indexed = row is not None
            if row is not None:
                self.census.remove(*row)
        elif old.where.number > where.number:
            self.slots[key] = old
            return
        else:
            indexed = old.indexed
            self._uncount(old.entry)
            item.old.append((key, old))
        # The stone stays while something older could come back: a row of the index, a commit that is not applied yet, or what lies below
        # should this one not be written.
        if indexed or item.future is None:
            self.slots[key] = Slot(None, where, self.completed, indexed, None)

    def _uncount(self, entry: Entry | None) -> None:
        if entry is not None:
            self.census.remove(entry.queue, entry.held)

    def _forget_tombstone(self, key: str, number: int) -> None:
        slot = self.slots.get(key)
        if slot is not None and slot.entry is None and not slot.indexed and slot.where.number == number:
            del self.slots[key]

    def _release(self, stored: Stored, item: Item) -> None:
        if not self.contents.unpin(stored):
            return
        if stored.indexed:
            item.orphans.append(stored.id)
        elif stored.place is not None and stored.place.file:
            item.dead.append(stored.place.file)

    # --- the way to the index ---

    def settle(self, born_before: float, limit: int) -> Settling:
        """Chooses the oldest young entries for the index, and takes what it needs to know of contents.

        ``upto`` may be the horizon of the first entry that stays: everything behind it in the table was put there later, and so was
        written later than what had been applied by then. But it may not pass what an append has hidden that is not durable yet: after
        a crash that is the present state again, and neither the index nor the journal behind ``upto`` would have it.

        Args:
            born_before: only what was asked for before this, in seconds of the monotonic clock; or later, while more than HIDING rows of
                the index are hidden.
            limit: at most so many.
        """
        chosen: dict[str, Slot] = {}
        upto, more = self.completed, False
        hiding = sum(slot.indexed for slot in self.slots.values()) if len(self.slots) > HIDING else 0
        for key, slot in self.slots.items():
            more = len(chosen) >= limit
            durable = 0 < slot.where.sequence < self.completed.sequence
            if more or (slot.where.born > born_before and hiding <= HIDING) or not durable:
                upto = slot.horizon
                break
            chosen[key] = slot
            hiding -= slot.indexed
        upto = self._before_hidden(upto)
        for key, slot in chosen.items():
            slot.indexed = True
            self._top = max(self._top, key)
        wanted = {slot.stored.id for slot in chosen.values() if slot.stored is not None}
        contents = self.contents.take_dirty(wanted, upto)
        orphans = {content_id for content_id in self._orphans if content_id not in self.contents}
        self._orphans.clear()
        self.order.compact()
        return Settling(chosen, contents, orphans, upto, more)

    def _before_hidden(self, upto: Position) -> Position:
        """The position, or an earlier one that has not passed any state that a crash would bring back."""
        for item in self._unwritten:
            for _, slot in item.old:
                if slot.horizon.sequence < upto.sequence:
                    upto = slot.horizon
        return upto if upto.sequence > self._floor.sequence else self._floor

    def settled(self, settling: Settling) -> None:
        """Lets go of what the index has now, except what was changed meanwhile."""
        self._floor = settling.upto
        for key, slot in settling.slots.items():
            if self.slots.get(key) is slot:
                del self.slots[key]
                if slot.stored is not None:
                    self.contents.unpin(slot.stored)

    def not_settled(self, settling: Settling) -> None:
        """Keeps everything for the next attempt."""
        self.contents.make_dirty(settling.contents)
        self._orphans |= settling.orphans
