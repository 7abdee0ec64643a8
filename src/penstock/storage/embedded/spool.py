"""The embedded spool: a journal that is the truth, an index for what stays, and memory for the young.

Most mail is accepted, delivered and forgotten within a second: it is written once to the journal, lives in memory, and never touches the
index. This file only puts the parts together; each part's first lines say why it is as it is:

    table.py     the young entries, in memory (contents.py: and their contents; due.py: in order of time; items.py: the values that travel),
                 and how many entries each queue has (census.py)
    journal.py   the writer thread: group commit, and the argument why nothing acknowledged is lost
    format.py    the octets of the journal
    segments.py  its files
    large.py     contents in files of their own
    index.py     what is settled, in SQLite (questions.py: the reading side)
    settling.py  the background thread: to the index, and room given back
    stored.py    reading contents back
    recovery.py  what happens at open
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import sqlite3
from collections.abc import Callable, Sequence

from ...errors import StorageDamaged, StorageUnavailable
from ...mail.content import Content
from ..base import Change, Entry, Page, Put, Query, QueueCount, Recovered
from .files import SpoolFolder, storage_error
from .format import Place
from .items import Item, Position
from .journal import Journal, lost
from .large import LargeWriter
from .recovery import Recovery
from .segments import Segments
from .settings import EmbeddedSettings
from .settling import Keeper
from .stored import ContentStore, StoredContent


class EmbeddedSpool:
    """A Spool in a folder of its own, for one process at a time.

    Args:
        settings: where it lives, and its sizes and times.
    """

    def __init__(self, settings: EmbeddedSettings) -> None:
        self._settings = settings
        self._folder = SpoolFolder(settings.directory)
        self._closed = True
        self._append_timer: asyncio.TimerHandle | None = None
        self._moves: dict[Item, Callable[[], None]] = {}

    async def open(self) -> Recovered:
        self._folder.take()
        segments = Segments(self._folder, self._settings)
        try:
            parts = await asyncio.to_thread(Recovery(self._folder, segments, self._settings).run)
        except (OSError, sqlite3.Error) as error:
            segments.close()
            self._folder.release()
            doing = f"cannot open the spool {self._folder.root}"
            if isinstance(error, OSError):
                raise storage_error(error, doing) from error
            raise StorageUnavailable(f"{doing}: {error}") from error
        self._index, self._table, end, recovered = parts
        self._start(segments, end)
        return recovered

    def _start(self, segments: Segments, end: Position) -> None:
        self._loop = asyncio.get_running_loop()
        self._segments = segments
        self._store = ContentStore(self._folder, segments, self._locate)
        self._journal = Journal(self._folder, segments, self._settings, end, self._finished)
        self._keeper = Keeper(self._folder, self._settings, self._table, self._store, self._index)
        self._closed = False
        self._journal.start()
        self._keeper.start(self)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._append_timer is not None:
            self._append_timer.cancel()
        left = await asyncio.to_thread(self._journal.stop)
        await asyncio.sleep(0)  # the last group's news is in the loop already; let it arrive
        for item in left:
            if item.future is not None and not item.future.done():
                item.future.set_exception(StorageUnavailable("the spool was closed before this could be written"))
        await self._keeper.stop()
        await asyncio.sleep(0)
        self._index.close()
        self._segments.close()
        self._folder.release()
        error = lost([item for item in left if item.future is None])
        if error is not None:
            raise error

    # --- changes ---

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        if self._closed:
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(StorageUnavailable("the spool is closed"))
            return refused
        # The loop it was opened in; asking for the running one costs a system call.
        future: asyncio.Future[None] = self._loop.create_future()
        self._journal.submit(self._table.begin(changes, future))
        self._journal.nudge()
        return future

    def append(self, changes: Sequence[Change]) -> None:
        self._append(changes)

    def move(self, changes: Sequence[Put], done: Callable[[], None]) -> None:
        """Puts entries again so that their old segment can be freed; ``done`` is called when they are durable."""
        item = self._append(changes)
        for stored in item.pins:
            if stored is not None:
                stored.indexed = True
        self._moves[item] = done

    def writer(self) -> LargeWriter:
        return LargeWriter(self._folder.large)

    def _append(self, changes: Sequence[Change]) -> Item:
        if self._closed:
            raise StorageUnavailable("the spool is closed")
        item = self._table.begin(changes, None)
        self._table.apply(item)
        self._journal.submit(item)
        if self._append_timer is None:
            self._append_timer = self._loop.call_later(self._settings.append_delay, self._flush)
        return item

    def _flush(self) -> None:
        self._append_timer = None
        self._journal.nudge()

    def _finished(self, items: list[Item], position: Position) -> None:
        """Hears of a group from the writer, in the loop: all at once for all its callers."""
        table = self._table
        dead: list[str] = []
        for item in items:
            future = item.future
            if item.error is not None:
                table.failed(item)
            else:
                table.written(item)
            if future is None:
                if self._moves and item in self._moves:
                    self._moves.pop(item)()
            elif not future.done():
                if item.error is not None:
                    future.set_exception(item.error)
                else:
                    future.set_result(None)
            dead += item.dead
        if dead:
            self._keeper.remove_files(dead)
        if position.segment != table.completed.segment:
            self._keeper.prepare_spare()
        table.completed = position

    # --- questions ---

    def get(self, entry_id: str) -> Entry | None:
        slot = self._table.slots.get(entry_id)
        if slot is not None:
            return slot.entry
        return self._index.get(entry_id)

    def content(self, entry: Entry) -> Content:
        stored = self._table.contents.get(entry.content)
        if stored is not None and stored.data is not None:
            return stored.data
        place = self._locate(entry.content)
        if place is None:
            raise StorageDamaged(f"content {entry.content!r} of entry {entry.id} is not there")
        return StoredContent(self._store, entry.content, place)

    def _locate(self, content_id: str) -> Place | None:
        stored = self._table.contents.get(content_id)
        if stored is not None and stored.place is not None:
            return stored.place
        return self._index.place(content_id)

    def select(self, query: Query, cursor: str = "", limit: int = 1000) -> Page:
        slots = self._table.slots
        young = (slot.entry for slot in slots.values() if slot.entry is not None and slot.entry.id > cursor)
        matching = heapq.nsmallest(limit + 1, filter(query.matches, young), key=_by_id)
        settled = self._index.select(query, cursor, limit + 1, slots.__contains__)
        page = list(itertools.islice(heapq.merge(matching, settled, key=_by_id), limit + 1))
        return Page(page[:limit], page[limit - 1].id if len(page) > limit else "")

    def due(self, now: float, limit: int = 1000, queue: str | None = None) -> list[Entry]:
        young = self._table.order.until(now, limit, queue)
        settled = self._index.due(now, limit, queue, self._table.slots.__contains__)
        return list(itertools.islice(heapq.merge(young, settled, key=_by_due), limit))

    def next_due(self, queue: str | None = None) -> float | None:
        times = (self._table.order.first(queue), self._index.next_due(queue, self._table.slots.__contains__))
        return min((due for due in times if due is not None), default=None)

    def queues(self) -> dict[str, float]:
        times = self._index.queues(self._table.slots.__contains__)
        for queue, due in self._table.order.queues().items():
            times[queue] = min(due, times.get(queue, due))
        return times

    def census(self) -> dict[str, QueueCount]:
        slots, counts = self._table.slots, self._table.census.queues
        oldest = self._index.oldest(counts, slots.__contains__)
        for slot in slots.values():
            if (entry := slot.entry) is not None and entry.id <= oldest.get(entry.queue, entry.id):
                oldest[entry.queue] = entry.id
        return {queue: QueueCount(entries, held, oldest.get(queue, "")) for queue, (entries, held) in counts.items()}

    def count(self) -> int:
        return self._table.census.total


def _by_id(entry: Entry) -> str:
    return entry.id


def _by_due(entry: Entry) -> tuple[float, str]:
    return entry.due, entry.id
