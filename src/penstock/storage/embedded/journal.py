"""The writer: one thread that turns calls into durable records, a group at a time.

Why what was acknowledged is never lost
---------------------------------------
1. The journal is the truth. The index, the cache and the table are made from it, and can be made again.
2. Groups are written one after the other by this one thread: ``pwritev`` of the whole group, one ``fdatasync``, and only when that has
   returned without error are the callers told. So a caller that was told has its bytes on the disk: the file's room was allocated, and its
   name synced with the directory, before its first record; a large content's file and name were synced before its record was written.
3. A group begins in a 4096-octet block of its own. Writing it can tear only blocks in which nothing acknowledged lies.
4. One call is one record under one chain of checksums, so after a crash it is there as a whole or not at all.
5. After a failed write or sync nobody knows what the disk has, and asking again would only be told what the cache has. The segment is
   never written again, and the next one's header says from which sequence number on its predecessors are void: what failed does not come
   back, except when the machine stops before that header can be written, which risks a repeat and loses nothing.
6. A record is dropped only with its whole segment, only from the oldest end, and only after everything in it that still lives was written
   again, by the same way as everything else (``settling.py``).

Why it is fast: the next group forms while the present one is being synced, so the more is asked for, the more share one sync; nothing is
woken that is already at work; all callers of a group are told through one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ...errors import StorageError, StorageFull, StorageUnavailable
from ...mail.content import Content
from ..base import Put
from .files import NO_ROOM, SpoolFolder, storage_error, sync_directory
from .format import BLOCK, RECORD_HEADER, Place, checksums, encode_meta, entry_fields, pack_record
from .items import Item, Position
from .large import LargeContent, LargeFile, copy_to_file
from .segments import Segment, Segments
from .settings import EmbeddedSettings
from .stored import Restated

_GROUP_CALLS = 500
_GROUP_OCTETS = 8 * 1024 * 1024
_VECTORS = 1000  # the least that the system takes in one pwritev is 1024
# So much of the last segment is kept for removals when the disk is full, or a full spool could never become empty.
_RESERVE = 8


Finished = Callable[[list[Item], Position], None]


class Journal:
    """The writing side of the journal. Everything but the constructor, ``submit``, ``nudge`` and ``stop`` runs in its thread.

    Args:
        folder: the spool's folder.
        segments: its segments.
        settings: of the spool.
        start: where the journal ends now.
        finished: called in the loop with the items of a group, which have an ``error`` when it failed.
    """

    def __init__(self, folder: SpoolFolder, segments: Segments, settings: EmbeddedSettings, start: Position, finished: Finished) -> None:
        self._folder = folder
        self._segments = segments
        self._settings = settings
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._sequence = start.sequence
        self._position = start
        self._large_content = min(settings.large_content, segments.size // 4)
        self._current: Segment | None = None
        self._offset = 0
        self._opened = True
        self._torn = False
        self._pending: deque[Item] = deque()
        self._again: deque[Item] = deque()
        self._refused: set[str] = set()  # contents that appended entries refer to, and that could not be read
        self._taken: list[Item] = []
        self._broken: Exception | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="penstock-journal", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def submit(self, item: Item) -> None:
        """Hands over a call in order; it goes out with the next group."""
        self._pending.append(item)

    def nudge(self) -> None:
        """Sees to it that what was submitted goes out now. Costs nothing while the thread is at work."""
        if not self._wake.is_set():
            self._wake.set()

    def stop(self) -> list[Item]:
        """Writes what is left and ends the thread; what could not be written is returned. Blocking."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        return [*self._again, *self._pending]

    # --- the thread ---

    def _run(self) -> None:
        attempts, failed = 3, False
        while attempts:
            self._wake.clear()
            if failed and self._again and not self._pending and not self._stopping:
                # Something is wrong with the disk. A new call is a reason to try again at once; otherwise nothing spins.
                self._wake.wait(self._settings.retry_delay)
            if self._again or self._pending:
                failed = not self._attempt()
                attempts -= self._stopping and failed and bool(self._again)
            elif self._stopping:
                break
            else:
                self._wake.wait()
        if self._broken is None:
            self._mark_end()
        self._current = None  # lets go of the file

    def _attempt(self) -> bool:
        """Writes one group; False when it failed. Whatever happens, no caller is left without an answer."""
        if self._broken is not None:
            return self._fail([], self._broken, behind=True)
        try:
            return self._group()
        except Exception as cause:  # a fault of our own: nobody knows what this thread's state is worth now
            self._broken = StorageUnavailable(f"the writer of the journal stopped: {cause!r}; a new start repairs it")
            with contextlib.suppress(Exception):
                self._abandon()
            self._fail(self._taken, self._broken, behind=True)
            self._taken = []
            self._settings.on_broken()
            return False

    def _group(self) -> bool:
        """Takes what waits, makes it durable or fails it, and tells the loop."""
        # What failed before goes alone, and in small groups: a removal must not fail again because new mail finds no room.
        retry = bool(self._again)
        source, most = (self._again, self._segments.small - 2 * BLOCK) if retry else (self._pending, _GROUP_OCTETS)
        items = self._taken = []
        error: Exception | None = None
        octets = 0
        while source and len(items) < _GROUP_CALLS and octets < most and error is None:
            item = source[0]
            try:
                if not item.parts:
                    if self._refused:
                        _check_contents(item, self._refused)
                    self._encode(item)
            except OSError as cause:
                error = storage_error(cause, "cannot write a large content")
            except Exception as cause:
                self._refuse(item, cause)
            octets += RECORD_HEADER + sum(map(len, item.parts))
            if retry and items and octets > most:
                break
            items.append(source.popleft())
        good = [item for item in items if item.error is None]
        if error is None and good:
            error = self._try_to_write(good)
        if error is not None:
            return self._fail(items, error, behind=retry)
        self._tell(items)
        return True

    def _refuse(self, item: Item, cause: Exception) -> None:
        """Fails one call whose content or record cannot be encoded; whoever appended it is not there to be told."""
        item.error = cause
        item.parts = []
        _give_back(item)
        if item.future is None:
            self._refused.update(item.fresh)
            self._trouble(f"dropped a change that cannot be written: {cause!r}")

    def _trouble(self, what: str) -> None:
        with contextlib.suppress(Exception):  # who only listens must not stop the writer
            self._settings.on_trouble(f"spool {self._folder.root}: {what}")

    def _tell(self, items: list[Item]) -> None:
        # A loop that was closed without closing the spool has nobody left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finished, items, self._position)

    def _fail(self, items: list[Item], error: Exception, behind: bool) -> bool:
        """Commits are told, and their files given back; appends are kept, in order, for another attempt. False, for the caller.

        Args:
            items: the group.
            error: why.
            behind: True to treat what waits behind the group in the same way: where the oldest cannot be written, nothing can, and whoever
                waits for the disk must not wait for ever.
        """
        self._trouble(str(error))
        again = [item for item in items if item.future is None and item.error is None]
        for item in again:
            if not item.parts:
                _give_back(item)
        self._again.extendleft(reversed(again))
        if behind:
            waiting = [self._pending.popleft() for _ in range(len(self._pending))]
            self._again.extend(item for item in waiting if item.future is None)
            items = items + waiting
        for item in items:
            if item.future is not None and item.error is None:
                item.error = error
                _give_back(item)
        self._tell([item for item in items if item.error is not None])
        return False

    def _encode(self, item: Item) -> None:
        """Makes the octets of a record without its header, and puts large contents into files."""
        heads: list[tuple[str, int, bytes, str]] = []
        parts: list[bytes] = [b""]
        for content_id, (_, content) in item.fresh.items():
            if isinstance(content, Restated):
                place = content.place
            elif content.size > self._large_content:
                file = _file_of(content, item, self._folder.large)
                place = Place(file.size, file.checksums(), file.name)
            else:
                data = content.read()
                item.data[content_id] = data
                parts.append(data)
                place = Place(len(data), checksums(data))
            item.places[content_id] = place
            heads.append((content_id, place.size, place.checksums, place.file))
        rows = [entry_fields(change.entry) if isinstance(change, Put) else (change.id,) for change in item.changes]
        parts[0] = encode_meta(rows, heads)
        item.parts = parts

    def _sync_files(self, items: list[Item]) -> None:
        """Makes the large contents of a group durable, files first, then their names."""
        files = [file for item in items for file, _ in item.files]
        for file in files:
            self._settings.sync(file.fileno())
        if files:
            sync_directory(self._folder.large)

    def _try_to_write(self, items: list[Item]) -> Exception | None:
        """Writes and syncs one group; the error when it did not become durable."""
        length = sum(RECORD_HEADER + sum(map(len, item.parts)) for item in items)
        try:
            self._sync_files(items)
        except OSError as cause:
            for item in items:
                if item.future is None and item.files:  # it may not be durable, so it is written again, under another name
                    _give_back(item, copies_only=True)
                    item.parts = []
            return storage_error(cause, "cannot write a large content")
        try:
            segment = self._room(length, any(item.future is not None and item.fresh for item in items))
        except OSError as cause:
            return storage_error(cause, "cannot write the spool")
        vectors: list[bytes] = []
        sequence = self._sequence
        for item in items:
            meta = item.parts[0]
            size = sum(map(len, item.parts))
            vectors.append(pack_record(segment.header.salt, sequence, self._sequence, meta, size))
            vectors += item.parts
            sequence += 1
        try:
            _write_all(segment.fileno(), vectors, self._offset)
            self._settings.sync(segment.fileno())
        except OSError as cause:
            self._abandon()
            return storage_error(cause, f"cannot write {segment.path}")
        self._note_places(items, segment)
        return None

    def _note_places(self, items: list[Item], segment: Segment) -> None:
        """Writes down where the items of a durable group are, and moves on to the next block."""
        offset = self._offset
        for item in items:
            item.where.segment = segment.header.number
            item.where.sequence = self._sequence
            offset += RECORD_HEADER + len(item.parts[0])
            for content_id, place in item.places.items():
                item.places[content_id] = Place(place.size, place.checksums, place.file, segment.header.number, offset)
                offset += 0 if place.file else place.size
            item.parts, item.files = [], []
            self._sequence += 1
        self._offset = -(-offset // BLOCK) * BLOCK
        self._position = Position(segment.header.number, self._sequence)
        self._opened = False

    def _abandon(self) -> None:
        """Never trusts the present segment again; tries at once to say so on the disk, before any caller is told."""
        self._current = None
        self._torn = True
        with contextlib.suppress(OSError):  # the next group tries again; see point 5 at the top
            self._roll(BLOCK, mail=False)

    def _room(self, length: int, mail: bool) -> Segment:
        """The segment for a group of so many octets; new mail leaves the reserves alone, and is not taken without them.

        Raises: OSError.
        """
        if mail:
            self._folder.make_reserve(self._segments.size)
            self._segments.keep_small()
        segment = self._current
        if segment is None or self._offset + length > segment.header.size:
            segment = self._roll(length, mail)
        left = segment.header.size - self._offset - length
        if mail and left < segment.header.size // _RESERVE and not self._segments.spares():
            self._segments.make_spare()
        return segment

    def _roll(self, length: int, mail: bool) -> Segment:
        try:
            segment = self._segments.take(self._sequence, length, self._opened, mail)
        except OSError as error:
            if mail or error.errno not in NO_ROOM:
                raise
            # Without a removal nothing can be given back, so even the index's reserve is not too good for one.
            self._folder.use_reserve()
            segment = self._segments.take(self._sequence, length, self._opened, mail)
        self._current, self._offset = segment, BLOCK
        self._torn = False
        return segment

    def _mark_end(self) -> None:
        """Writes an empty record in a batch of its own: it proves that all before it was durable."""
        if self._current is None and not self._torn:
            return
        meta = encode_meta([], [])
        try:
            segment = self._room(RECORD_HEADER + len(meta), mail=False)
            header = pack_record(segment.header.salt, self._sequence, self._sequence, meta, len(meta))
            _write_all(segment.fileno(), [header, meta], self._offset)
            self._settings.sync(segment.fileno())
        except Exception as cause:
            self._trouble(f"cannot mark the end of the journal: {cause}")


def _check_contents(item: Item, refused: set[str]) -> None:
    """Raises for what refers to a content that was refused: it would take the place of a state that has one."""
    refused.difference_update(item.fresh)
    for change in item.changes:
        if isinstance(change, Put) and change.entry.content in refused:
            raise StorageUnavailable(f"content {change.entry.content!r} could not be written")


def _file_of(content: Content, item: Item, folder: Path) -> LargeFile:
    """The file of a large content: the one it came in, unless that belongs to another call already, or else a copy."""
    ours = not isinstance(content, LargeContent) or content.file.folder != folder or content.file.kept
    file = copy_to_file(content, folder) if ours else cast(LargeContent, content).file
    file.kept = True
    item.files.append((file, ours))
    return file


def _give_back(item: Item, copies_only: bool = False) -> None:
    """Removes the files made for a call that failed, and lets its caller remove those that it made itself."""
    for file, ours in item.files:
        if ours or not copies_only:
            file.kept = False
        if ours:
            file.remove()
    item.files = []


def _write_all(descriptor: int, vectors: list[bytes], offset: int) -> None:
    """Writes all octets at the offset, however many calls it takes."""
    for start in range(0, len(vectors), _VECTORS):
        some = vectors[start : start + _VECTORS]
        length = sum(map(len, some))
        written = os.pwritev(descriptor, some, offset)
        while written < length:
            rest = b"".join(some)[written:]
            written += os.pwrite(descriptor, rest, offset + written)
        offset += length


def lost(items: list[Item]) -> StorageError | None:
    """The error for a spool that could not write everything before it was closed."""
    return StorageFull(f"{len(items)} changes could not be written before the spool was closed") if items else None
