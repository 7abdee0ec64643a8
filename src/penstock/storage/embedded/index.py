"""The index of what is settled: entries that outlived their first attempt, so that memory holds only the young.

It is a cache of the journal: SQLite without a sync on the way of any mail, complete up to a position of the journal that it stores in the
same transaction. It may be deleted; recovery then makes it again from the whole journal. So nothing here is ever the only copy.

One connection writes, in the background thread; another one reads (``questions.py``).
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

from .format import encode_entry
from .items import Position, Settling, Slot, Stored
from .questions import Questions, connect

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    id TEXT PRIMARY KEY, queue TEXT NOT NULL, stage TEXT NOT NULL, due REAL NOT NULL, held TEXT NOT NULL,
    content TEXT NOT NULL, segment INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_content ON entries (content);
CREATE TABLE IF NOT EXISTS contents (
    id TEXT PRIMARY KEY, size INTEGER NOT NULL, checksums BLOB NOT NULL, file TEXT NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contents_file ON contents (file) WHERE file <> '';
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, segment INTEGER NOT NULL, salt BLOB NOT NULL,
    sequence INTEGER NOT NULL, live INTEGER NOT NULL);
"""
# What questions and giving room back need, but the replay of a journal does not. An index that an older Penstock has made gets what it
# lacks at the next start, and the older one keeps what it does not know.
# ``held`` is the same in all of a partial index; without it SQLite would read each entry's row to see that, at eight times the cost.
_ORDERS = {
    "entries_waiting": "entries (due, id, held) WHERE held = ''",
    "entries_queue_waiting": "entries (queue, due, id, held) WHERE held = ''",
    "entries_held": "entries (id) WHERE held <> ''",
    "entries_queue": "entries (queue, id)",
    "entries_segment": "entries (segment)",
    "contents_segment": "contents (segment) WHERE segment > 0",
}
_VERSION = 1
_PUT_ENTRY = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_CONTENT = "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?, ?)"
# An index of at most so many octets is checked as a whole at open; a greater one page by page, as it is used.
_CHECKED = 16 * 1024 * 1024


class Index(Questions):
    """The settled entries and contents.

    Args:
        path: the database file; made when it is not there.
        pages: so many pages are written ahead before they go to their places; few where room is scarce.

    Raises: sqlite3.DatabaseError when it is damaged.
    """

    def __init__(self, path: Path, pages: int = 1000) -> None:
        self._writer = connect(path)
        try:
            self._writer.execute(f"PRAGMA wal_autocheckpoint={pages}")
            self._writer.executescript(_TABLES)
            self.order()
            if path.stat().st_size <= _CHECKED:
                answer = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
                if answer != "ok":
                    raise sqlite3.DatabaseError(answer)
            row = self._writer.execute("SELECT version, segment, salt, sequence, live FROM state").fetchone()
            if row is not None and row[0] != _VERSION:
                raise sqlite3.DatabaseError(f"unknown version {row[0]}")
            self.position = Position(row[1], row[3]) if row else Position(0, 0)
            self.salt: bytes = row[2] if row else b""
            self.live: int = row[4] if row else 0
            super().__init__(path)
        except BaseException:
            self._writer.close()
            raise

    def order(self) -> None:
        """Makes the orders that questions need, where they are missing."""
        for name, columns in _ORDERS.items():
            self._writer.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")
        self._writer.execute("DROP INDEX IF EXISTS entries_due")  # an older version's

    def disorder(self) -> None:
        """Drops the orders, so that much can be put in at once; made at the end they cost a third. The next start makes what is missing."""
        for name in _ORDERS:
            self._writer.execute(f"DROP INDEX IF EXISTS {name}")

    def close(self) -> None:
        """Closes both connections."""
        super().close()
        self._writer.close()

    # --- writing, from the background thread (or recovery, before it starts) ---

    def settle(self, settling: Settling, salt: bytes, in_use: Callable[[str], bool]) -> list[str]:
        """Takes one step of settling in one transaction; the large files that nobody needs any more.

        Args:
            settling: what to take.
            salt: of the segment of ``settling.upto``; tells a journal that is not ours.
            in_use: True when a young entry refers to the content.

        Raises: sqlite3.Error; nothing has changed then.
        """
        cursor = self._writer.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            orphans = set(settling.orphans)
            freed = self._remove_rows(cursor, settling.slots, orphans)
            added = _put_rows(cursor, settling.slots, settling.contents)
            dead, lost = _remove_contents(cursor, orphans, in_use)
            live = max(self.live + added - freed - lost, 0)
            cursor.execute(
                "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?)",
                (_VERSION, settling.upto.segment, salt, settling.upto.sequence, live),
            )
            cursor.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.rollback()
            raise
        self.live, self.position, self.salt = live, settling.upto, salt
        return dead

    def _remove_rows(self, cursor: sqlite3.Cursor, slots: dict[str, Slot], orphans: set[str]) -> int:
        """Removes the rows of all these entries; their octets. Contents that may be dead now are added to the orphans."""
        freed = 0
        for entry_id in slots:
            row = cursor.execute("SELECT content, length(data) FROM entries WHERE id = ?", (entry_id,)).fetchone()
            if row is not None:
                orphans.add(row[0])
                freed += row[1]
                cursor.execute("DELETE FROM entries WHERE id = ?", (entry_id,))
        return freed

    def sweep(self) -> None:
        """Drops all contents that no entry refers to."""
        self._writer.execute("DELETE FROM contents WHERE id NOT IN (SELECT content FROM entries)")
        octets = "SELECT coalesce(sum(size), 0) FROM contents WHERE file = ''"
        records = "SELECT coalesce(sum(length(data)), 0) FROM entries"
        self.live = sum(int(self._writer.execute(sql).fetchone()[0]) for sql in (octets, records))

    def shrink(self) -> None:
        """Gives back the room of what SQLite has written ahead, as far as the disk lets it."""
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def forget_content(self, content_id: str) -> None:
        """Drops a content that was found damaged, so that its segment can be freed."""
        self._writer.execute("DELETE FROM contents WHERE id = ?", (content_id,))

    def sync(self) -> bool:
        """Makes all that was settled durable, so that recovery need not read the journal before it; False when a reader was in the way."""
        busy, written_ahead, copied = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and bool(written_ahead == copied)


def _put_rows(cursor: sqlite3.Cursor, slots: dict[str, Slot], contents: list[Stored]) -> int:
    rows = []
    added = 0
    for slot in slots.values():
        entry = slot.entry
        if entry is not None:
            data = encode_entry(entry)
            added += len(data)
            rows.append(
                (entry.id, entry.queue, entry.stage, entry.due, entry.held, entry.content, slot.where.segment, data, zlib.crc32(data))
            )
    cursor.executemany(_PUT_ENTRY, rows)
    for stored in contents:
        place = stored.place
        if place is not None:
            old = cursor.execute("SELECT size FROM contents WHERE id = ? AND file = ''", (stored.id,)).fetchone()
            added += (0 if place.file else place.size) - (old[0] if old else 0)
            cursor.execute(_PUT_CONTENT, (stored.id, place.size, place.checksums, place.file, place.segment, place.offset))
    return added


def _remove_contents(cursor: sqlite3.Cursor, orphans: set[str], in_use: Callable[[str], bool]) -> tuple[list[str], int]:
    """Removes the contents that nobody refers to; their files, and the octets they had in the journal."""
    dead: list[str] = []
    lost = 0
    for content_id in orphans:
        if in_use(content_id) or cursor.execute("SELECT 1 FROM entries WHERE content = ? LIMIT 1", (content_id,)).fetchone():
            continue
        row = cursor.execute("SELECT file, size FROM contents WHERE id = ?", (content_id,)).fetchone()
        if row is not None:
            cursor.execute("DELETE FROM contents WHERE id = ?", (content_id,))
            if row[0]:
                dead.append(row[0])
            else:
                lost += row[1]
    return dead, lost
