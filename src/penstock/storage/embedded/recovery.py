"""What happens when a spool is opened: the index is believed as far as it is proven, and the journal is replayed from there.

Torn or damaged? Records are numbered without gaps, and each names the first record of its batch. A batch begins only when the one before
it was durable. So a missing or broken record is *damage* when a later batch exists, and otherwise the *tail*: a group that was being
written when the machine stopped, and that nobody was told of (or, which cannot be told apart, the very last group, damaged later). Of a
tail all whole records are kept: to keep what was not acknowledged risks a repeat, to drop what was acknowledged loses mail.

The tail may be in the page cache alone, when the process was killed within its sync. Nothing is concluded from it before it is durable, or
a power cut could undo a removal whose file is deleted already. It is written again, octet by octet in its place, and synced: a sync alone
would say that all is well after an earlier one has failed, for then the system takes the pages for clean. Rewriting it where it is can tear
nothing, as the octets are the same; to copy it to another place would make the same record exist twice.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator

from ..base import Change, Put, Recovered, Remove
from .census import Census
from .files import SpoolFolder, sync_directory
from .format import Record, scan
from .index import Index
from .items import Position, Stored
from .questions import suspect_mark
from .segments import Segment, Segments
from .settings import EmbeddedSettings
from .table import Table

_SETTLE_EACH = 20_000
_PIECE = 1024 * 1024


class Recovery:
    """Opens the parts of one spool and brings them to one state.

    Args:
        folder: the spool's folder, locked.
        segments: not yet loaded.
        settings: of the spool.
    """

    def __init__(self, folder: SpoolFolder, segments: Segments, settings: EmbeddedSettings) -> None:
        self._folder = folder
        self._segments = segments
        self._settings = settings
        self._damaged: list[str] = []

    def run(self) -> tuple[Index, Table, Position, Recovered]:
        """The index, the table laid over it, where the journal ends, and what to report. Blocking.

        Raises: OSError; sqlite3.Error when a new index cannot be made.
        """
        started = time.monotonic()
        self._damaged += self._segments.load()
        index = self._open_index()
        table = Table(index, index.top(), Census(index.census()), self._settings.cache_size)
        end = self._replay(index, table)
        self._check_files(index, table)
        return index, table, end, Recovered(table.census.total, self._damaged, time.monotonic() - started)

    # --- the index ---

    def _open_index(self) -> Index:
        mark = suspect_mark(self._folder.index)
        if mark.exists():
            if self._folder.index.exists():
                self._set_index_aside("the index was found damaged")
            mark.unlink()
        try:
            index = self._new_index()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "disk" in str(error):
                raise
            self._set_index_aside(f"the index is damaged ({error})")
            return self._new_index()
        reason = self._why_not(index)
        if reason is None:
            return index
        index.close()
        self._set_index_aside(reason)
        return self._new_index()

    def _new_index(self) -> Index:
        pages = max(16, min(1000, self._segments.size // 65536))
        return Index(self._folder.index, pages)

    def _why_not(self, index: Index) -> str | None:
        """Why the index does not belong to this journal; None when it does."""
        position = index.position
        if position.segment == 0:
            return None
        segment = self._segments.get(position.segment)
        if segment is None:
            numbers = [each.header.number for each in self._segments.all()]
            relation = "older" if numbers and position.segment < numbers[0] else "newer"
            return f"the index is {relation} than the journal: it knows segment {position.segment}, which is not there"
        if segment.header.salt != index.salt:
            return f"the index belongs to another journal: its segment {position.segment} is not this one"
        if segment is self._segments.all()[-1]:
            found = scan(segment.read(0, segment.header.size), segment.header)
            last = max((record.sequence for record in found), default=segment.header.first - 1)
            if last + 1 < position.sequence:
                known = position.sequence - 1
                return f"the index is newer than the journal: it knows record {known}, the journal ends at {last}"
        return None

    def _set_index_aside(self, reason: str) -> None:
        for suffix in ("-wal", "-shm"):
            path = self._folder.index.with_name(self._folder.index.name + suffix)
            if path.exists():
                self._folder.set_aside_move(path)
        kept = self._folder.set_aside_move(self._folder.index)
        self._damaged.append(f"{reason}; made again from the journal, the old one set aside as {kept}")

    # --- the journal ---

    def _replay(self, index: Index, table: Table) -> Position:
        """Applies the records that the index does not know; the end of the journal."""
        position = index.position
        reader = JournalReader(self._segments, position, self._set_segment_aside, self._make_durable)
        replay = Replay(index, table, self._segments)
        table.completed = position
        for record in reader.records():
            replay.apply(record, reader.segment)
        replay.finish()
        self._damaged += reader.damaged
        self._segments.whole = reader.whole
        segments = self._segments.all()
        end = Position(segments[-1].header.number if segments else 0, max(reader.next, position.sequence, 1))
        table.completed = end
        return end

    def _make_durable(self, segment: Segment, start: int, end: int) -> None:
        """Writes a part of a segment again as it is, so that it is on the disk for certain.

        Raises: OSError.
        """
        for offset in range(start, end, _PIECE):
            piece = segment.read(offset, min(_PIECE, end - offset))
            os.pwrite(segment.fileno(), piece, offset)
        self._settings.sync(segment.fileno())
        sync_directory(self._folder.journal)

    def _set_segment_aside(self, segment: Segment) -> str:
        return self._folder.set_aside_copy(segment.path)

    # --- large contents ---

    def _check_files(self, index: Index, table: Table) -> None:
        """Names the large contents that are missing or short, and removes the files that were never committed."""
        young = table.contents
        wanted = {file: (key, size) for file, key, size, used in index.files() if used or key in young}
        for stored in young.values():
            if stored.place is not None and stored.place.file:
                wanted[stored.place.file] = (stored.id, stored.place.size)
        present = {path.name: path for path in self._folder.large.iterdir()}
        for name, (content_id, size) in wanted.items():
            alive = content_id in young or any(user not in table.slots for user in index.users(content_id))
            if not alive:
                continue  # the journal knows of a removal that the index has forgotten
            if name not in present:
                self._damaged.append(f"the large content {content_id} (large/{name}) is missing")
            elif present[name].stat().st_size != size:
                kept = self._folder.set_aside_link(present[name])
                self._damaged.append(f"the large content {content_id} (large/{name}) is not whole; set aside as {kept}")
        for name in present.keys() - wanted.keys():
            # With damage about, a file that nobody seems to need may be all that is left of a mail.
            if self._damaged:
                self._folder.set_aside_move(present[name])
            else:
                present[name].unlink()


class JournalReader:
    """Reads all valid records from a segment on, tells damage from the torn tail, and reports each once.

    Args:
        segments: all segments.
        start: what lies before it is known already.
        set_aside: keeps a copy of a damaged segment and tells its path.
        make_durable: called with the octets of the last batch before anything in it is believed.
    """

    def __init__(
        self,
        segments: Segments,
        start: Position,
        set_aside: Callable[[Segment], str],
        make_durable: Callable[[Segment, int, int], None],
    ) -> None:
        self.damaged: list[str] = []
        self.segment = 0
        self.whole = False  # the last batch was there, with nothing missing
        self._all = [segment for segment in segments.all() if segment.header.number >= start.segment]
        self._start = start.sequence
        self.next = start.sequence or (self._all[0].header.first if self._all else 0)
        self._set_aside = set_aside
        self._make_durable = make_durable

    def records(self) -> Iterator[Record]:
        """The records in order; ``segment`` is the number of the one's segment. Void and broken ones are left out."""
        batches = self._batches()
        present = next(batches, None)
        while present is not None:
            following = next(batches, None)
            segment, batch = present
            self.segment = segment.header.number
            if following is None:
                self._make_durable(segment, batch[0].offset, batch[-1].end)
            # What a recovery has judged to be a torn tail stays one, and was reported then. What was whole then is damaged since.
            opened = following is not None and following[0] is not segment and following[0].header
            judged = bool(opened and opened.opened and not opened.after_whole)
            yield from self._judge(segment, batch, following is None or judged, judged)
            present = following

    def _batches(self) -> Iterator[tuple[Segment, list[Record]]]:
        """The records of each batch that are there in some form, without those that a later segment voids."""
        for number, segment in enumerate(self._all):
            void = min((later.header.first for later in self._all[number + 1 :]), default=None)
            batch: list[Record] = []
            for record in scan(segment.read(0, segment.header.size), segment.header):
                if record.sequence < self._start or (void is not None and record.sequence >= void):
                    continue
                if batch and record.batch != batch[0].batch:
                    yield segment, batch
                    batch = []
                batch.append(record)
            if batch:
                yield segment, batch

    def _judge(self, segment: Segment, batch: list[Record], tail: bool, judged: bool) -> Iterator[Record]:
        """The good records of a batch; what is missing before and in it is reported, and by a recovery only once.

        A broken content is reported each time: whether it was so at that recovery, which dropped it, or is damaged since, is not known.
        """
        known: list[str] = []
        problems: list[str] = []
        if self.next < batch[0].batch:
            known.append(f"records {self.next} to {batch[0].batch - 1} are missing")
        expected = max(batch[0].batch, self.next)
        for record in batch:
            if record.sequence > expected:
                known.append(f"records {expected} to {record.sequence - 1} are missing")
            expected = record.sequence + 1
            if record.meta is None:
                known.append(f"record {record.sequence} at {record.offset} does not match its checksum")
                continue
            if record.broken:
                entries = ", ".join(change.id for change in record.meta.changes)
                problems.append(f"the content of {entries} at {record.offset} does not match its checksum")
            if not (record.broken and tail):
                yield record
        self.next = max(self.next, expected)
        self.whole = not (known or problems)
        problems = problems if judged else known + problems
        if problems:
            kept = self._set_aside(segment)
            kind = "the last group is torn or damaged" if tail else "damaged"
            self.damaged.append(f"journal segment {segment.path}: {kind}: {'; '.join(problems)}; set aside as {kept}")


class Replay:
    """Brings the records of the journal into the table, and to the index when they become many.

    No content is given up before the last record was seen. The journal may begin in the middle of a content's history: the entry that it
    was written with may be removed before the record of another one comes, which was moved behind that.
    """

    def __init__(self, index: Index, table: Table, segments: Segments) -> None:
        self._index = index
        self._table = table
        self._segments = segments
        self._pinned: dict[str, Stored] = {}
        self._swept = True
        self._known = table.census.total
        self._settled = 0
        self._ordered = True

    def apply(self, record: Record, segment: int) -> None:
        """Does what the record says, as if it had just been written."""
        assert record.meta is not None
        table = self._table
        rows = record.meta.changes
        changes: list[Change] = [Put(row.entry()) if row.stage is not None else Remove(row.id) for row in rows]
        item = table.begin(changes, None)
        item.where.segment, item.where.sequence, item.where.born = segment, record.sequence, 0.0
        for content_id, place in record.places.items():
            stored = self._pinned.get(content_id)
            if stored is None:
                stored = self._pinned[content_id] = table.contents.pin(content_id, indexed=True)
            table.contents.found(stored, place, record.sequence)
        table.apply(item)
        table.written(item)
        table.completed = Position(segment, record.sequence + 1)
        if len(table.slots) + len(self._pinned) >= _SETTLE_EACH:
            self._settle()

    def finish(self) -> None:
        """Gives up what no entry refers to."""
        if not self._swept:
            self._settle()
            self._index.sweep()
        if not self._ordered:
            self._index.order()
            self._index.shrink()
        for stored in self._pinned.values():
            if stored.place is not None and stored.place.file:
                # Only a file that the index does not know may be deleted without asking it.
                stored.indexed = self._index.place(stored.id) is not None
            self._table.contents.unpin(stored)

    def _settle(self) -> None:
        self._swept = False
        if self._ordered and self._settled >= self._known:
            # At least half of the index comes from this replay.
            self._index.disorder()
            self._ordered = False
        settling = self._table.settle(born_before=0.0, limit=2 * _SETTLE_EACH)
        self._settled += len(settling.slots)
        known = {stored.id for stored in settling.contents}
        settling.contents += [stored for stored in self._pinned.values() if stored.id not in known]
        segment = self._segments.get(settling.upto.segment)
        self._index.settle(settling, segment.header.salt if segment is not None else b"", in_use=lambda _: True)
        self._table.settled(settling)
        for stored in self._pinned.values():
            self._table.contents.unpin(stored)
        self._pinned.clear()
