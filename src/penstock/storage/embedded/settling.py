"""The background thread: it brings what outlives its first attempt to the index, and gives back the room of what is dead.

Room is given back from the oldest segment on, and only behind the position that the index has reached, so what lives there is exactly
what the index says. When nothing does, the segment is free. When little does and much of the journal is dead, what lives is *moved*: put
again, unchanged, by the same way as any other change, so it has the same guarantees and needs no rules of its own. The journal is thus at
most about twice as large as what lives in it, plus a few segments, however long a single mail is deferred.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from ...errors import SpoolDamaged, StorageDamaged, StorageError
from ...mail.content import Content, MemoryContent
from ..base import Entry, Put
from .files import SpoolFolder
from .index import Index
from .items import Settling
from .segments import Segment, Segments
from .settings import EmbeddedSettings
from .stored import ContentStore, Restated, StoredContent
from .table import Table

_STEP = 2000
_MOVE_OCTETS = 1024 * 1024
_MOVE_ENTRIES = 256


class Mover(Protocol):
    """What the background asks of the spool, in the loop's thread."""

    def get(self, entry_id: str) -> Entry | None:
        """The present state of an entry."""

    def move(self, changes: Sequence[Put], done: Callable[[], None]) -> None:
        """Puts entries again with their contents; ``done`` is called in the loop when they are durable."""


class Keeper:
    """Settles, frees, prepares and deletes in the background.

    Args:
        folder: the spool's folder.
        settings: of the spool.
        table: the young; touched in the loop's thread only.
        store: reads contents, and knows the segments.
        index: the settled.
    """

    def __init__(self, folder: SpoolFolder, settings: EmbeddedSettings, table: Table, store: ContentStore, index: Index) -> None:
        self._folder = folder
        self._settings = settings
        self._table = table
        self._store = store
        self._segments: Segments = store.segments
        self._index = index
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="penstock-index", daemon=True)
        self._timer: asyncio.TimerHandle | None = None
        self._mover: Mover | None = None
        self._not_before = 0.0
        self._stopping = False
        self._step: asyncio.Event = asyncio.Event()  # set while no step of settling is on its way to the index
        self._step.set()

    def start(self, mover: Mover) -> None:
        """Starts the thread and the timer; in the loop's thread."""
        self._mover = mover
        self._thread.start()
        self.prepare_spare()
        self._plan()

    async def stop(self) -> None:
        """Settles everything and ends the thread; nothing may change any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._stopping = True
        # Were the last step chosen before this one has failed or not, it could pass what this one gave back.
        await self._step.wait()
        self._settle(all_of_it=True)
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def prepare_spare(self) -> None:
        """Sees to it that a spare segment is there before it is needed."""
        self._jobs.put(self._make_spare)

    def remove_files(self, names: list[str]) -> None:
        """Deletes large contents that are dead for good."""
        self._jobs.put(lambda: self._unlink(names))

    # --- the loop's side ---

    def _plan(self) -> None:
        if not self._stopping:
            self._timer = self._loop.call_later(self._settings.settle_interval, self._settle)

    def _settle(self, all_of_it: bool = False) -> None:
        born_before = time.monotonic() - (0.0 if all_of_it else self._settings.settle_after)
        settling = self._table.settle(born_before, 10_000_000 if all_of_it else _STEP)
        if not settling.empty or settling.upto.segment != self._index.position.segment:
            self._step.clear()
            self._jobs.put(lambda: self._take(settling))
        else:
            self._jobs.put(self._reclaim)
            self._plan()

    def _taken(self, settling: Settling, error: Exception | None) -> None:
        self._step.set()
        if error is None:
            self._table.settled(settling)
        else:
            self._table.not_settled(settling)
        if settling.more and error is None and not self._stopping:
            self._settle()
        else:
            self._plan()

    # --- the thread's side ---

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except SpoolDamaged as error:
                self._trouble(str(error))
                self._settings.on_broken()
            except (OSError, sqlite3.Error, StorageError) as error:
                self._trouble(str(error))
            except Exception as error:  # a thread that dies says nothing, and room is never given back again
                self._trouble(repr(error))

    def _trouble(self, what: str) -> None:
        self._settings.on_trouble(f"spool {self._folder.root}: in the background: {what}")

    def _make_spare(self) -> None:
        self._folder.make_reserve(self._segments.size)
        self._segments.keep_small()
        if not self._segments.spares():
            self._segments.make_spare()

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            (self._folder.large / name).unlink(missing_ok=True)

    def _take(self, settling: Settling) -> None:
        segment = self._segments.get(settling.upto.segment)
        salt = segment.header.salt if segment is not None else b""
        failed: Exception | None = None
        try:
            self._unlink(self._settle_with_reserve(settling, salt))
        except Exception as error:  # whatever it is, the table must hear that nothing was taken
            failed = error
            self._trouble(f"cannot settle: {error!r}")
            if isinstance(error, SpoolDamaged):
                self._settings.on_broken()
        self._tell(lambda: self._taken(settling, failed))
        if failed is None and not settling.more:
            self._reclaim()

    def _settle_with_reserve(self, settling: Settling, salt: bytes) -> list[str]:
        """Settles; when the disk is full, with the room kept for this, for only what is settled can be given back."""
        in_use = self._table.contents.__contains__
        try:
            return self._index.settle(settling, salt, in_use)
        except sqlite3.Error as error:
            if self._index.suspect(error):
                raise SpoolDamaged(f"the index cannot be written ({error}); the next start makes it again") from error
            with self._folder.lend_reserve():
                self._index.shrink()
                return self._index.settle(settling, salt, in_use)

    def _tell(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed; so is the spool
            self._loop.call_soon_threadsafe(call)

    def _reclaim(self) -> None:
        """Frees the oldest segments that hold nothing that lives; moves what lives when too much is dead."""
        if self._stopping or time.monotonic() < self._not_before:
            return
        passed = [each for each in self._segments.all() if each.header.number < self._index.position.segment]
        synced = False
        while passed and not self._index.pinned(passed[0].header.number):
            synced = synced or self._index.sync()
            if not synced:
                return  # a power cut could throw the index back to where it needs this segment; the next step asks again
            self._segments.free(passed.pop(0))
        used = sum(each.header.size for each in self._segments.all())
        allowed = 2 * self._index.live + self._settings.slack_segments * self._segments.size
        moved = False
        # Without a spare segment the room that is left belongs to removals; a move would stand in their way.
        while passed and used > allowed and self._segments.spares() and not self._stopping:
            moved = True
            used -= passed[0].header.size
            self._move(passed.pop(0))
        if moved:
            # What was moved leaves its old segment only when it has settled again.
            self._not_before = time.monotonic() + self._settings.settle_after + self._settings.settle_interval

    def _move(self, segment: Segment) -> None:
        """Puts everything again that lives in a segment, a piece at a time.

        A content goes in one record with all entries that refer to it.
        """
        entries, contents = self._index.pinning(segment.header.number)
        puts: list[tuple[str, str, Content | None]] = []
        moved: set[str] = set()
        octets = 0
        for content_id in contents:
            data = self._read(content_id)
            users = self._index.users(content_id)
            moved.update(users)
            puts.extend((entry_id, content_id, data) for entry_id in users)
            octets += data.size if data is not None and data.in_memory else 0
            if octets >= min(_MOVE_OCTETS, self._segments.size // 16) or len(puts) >= _MOVE_ENTRIES:
                self._put_again(puts, segment)
                puts, octets = [], 0
        self._put_again(puts, segment)
        rest = [entry_id for entry_id in entries if entry_id not in moved]
        for start in range(0, len(rest), _MOVE_ENTRIES):
            self._put_again([(entry_id, "", None) for entry_id in rest[start : start + _MOVE_ENTRIES]], segment)

    def _read(self, content_id: str) -> Content | None:
        """The content, whole and checked; when it is damaged it is set aside, and does not pin its segment any longer."""
        place = self._index.place(content_id)
        if place is None:
            return None
        if not self._index.users(content_id) and content_id not in self._table.contents:
            self._index.forget_content(content_id)
            return None
        if place.file:
            return Restated(self._store, content_id, place)
        try:
            return MemoryContent(StoredContent(self._store, content_id, place).read())
        except StorageDamaged as error:
            self._trouble(str(error))
            self._index.forget_content(content_id)
            return None

    def _put_again(self, puts: list[tuple[str, str, Content | None]], segment: Segment) -> None:
        """Hands a piece to the loop and waits until it is durable."""
        done: Future[None] = Future()

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        def in_loop() -> None:
            assert self._mover is not None
            try:
                changes = _unchanged(self._mover, self._table, puts, segment.header.number)
                if changes:
                    self._mover.move(changes, finish)
                else:
                    finish()
            except StorageError:
                finish()  # closed meanwhile, or the index is damaged

        self._tell(in_loop)
        while not self._stopping:
            try:
                done.result(timeout=0.2)
                return
            except TimeoutError:
                continue


def _unchanged(mover: Mover, table: Table, puts: list[tuple[str, str, Content | None]], segment: int) -> list[Put]:
    """What may be put again as it is, in the loop's thread: not what is gone or written anew, nor what a commit under way will change."""
    changes: list[Put] = []
    changing = table.changing()
    for entry_id, content_id, data in puts:
        entry = mover.get(entry_id) if entry_id not in changing else None
        if entry is not None and (data is None or (entry.content == content_id and not table.contents.newer(content_id, segment))):
            changes.append(Put(entry, data))
    return changes
