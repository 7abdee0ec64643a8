"""What is asked of the index: by one connection of its own, under a lock, from the loop and from whoever reads a content.

What is wrong here is wrong with the index as a whole, never with one message: it raises SpoolDamaged, and the next start makes the index
again.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import SpoolDamaged, StorageUnavailable
from ..base import Entry, Query
from .format import Place, decode_entry

Hidden = Callable[[str], bool]
_ORDERED = "SELECT due, id FROM entries INDEXED BY entries_waiting WHERE held = ''"
_ORDERED_QUEUE = "SELECT due, id FROM entries INDEXED BY entries_queue_waiting WHERE held = '' AND queue = ?"
_QUEUES = "SELECT queue, due, id FROM entries INDEXED BY entries_queue_waiting WHERE held = ''"
_FIRST_QUEUE = f"{_QUEUES} ORDER BY queue, due, id LIMIT 1"
_NEXT_QUEUE = f"{_QUEUES} AND queue > ? ORDER BY queue, due, id LIMIT 1"
_ROW = "SELECT data, checksum FROM entries WHERE id = ?"


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the index, for any thread."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


class Questions:
    """The reading side of the index.

    Args:
        path: the database file, with all its tables.

    Raises: sqlite3.DatabaseError when it is damaged; each question raises SpoolDamaged then, and StorageUnavailable after ``close``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reader = connect(path)

    def close(self) -> None:
        """Closes the connection."""
        self._reader.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The reading connection for one question; an index found damaged is remembered, so that the next open makes it again."""
        with self._lock:
            try:
                yield self._reader
            except sqlite3.ProgrammingError as error:
                raise StorageUnavailable(f"the index {self.path} is closed") from error
            except sqlite3.DatabaseError as error:
                self.suspect(error)
                raise SpoolDamaged(f"the index {self.path} cannot be read ({error}); the next start makes it again") from error

    def suspect(self, error: sqlite3.Error) -> bool:
        """Remembers on disk that the index is damaged, and says so; trouble that passes (no room, a lock) is none of that."""
        passing = (sqlite3.OperationalError, sqlite3.ProgrammingError)
        if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, passing):
            return False
        with contextlib.suppress(OSError):
            suspect_mark(self.path).touch()
        return True

    def _rows(self, sql: str, values: Iterable[object] = ()) -> list[tuple[object, ...]]:
        with self._reading() as reader:
            return reader.execute(sql, tuple(values)).fetchall()

    def find(self, entry_id: str) -> tuple[str, str] | None:
        """Queue of an entry and why it is held; None when it has no row. What cannot be read may be there, in a queue that nobody knows."""
        try:
            rows = self._rows("SELECT queue, held FROM entries WHERE id = ?", (entry_id,))
        except SpoolDamaged:
            return "", ""
        return (str(rows[0][0]), str(rows[0][1])) if rows else None

    def get(self, entry_id: str) -> Entry | None:
        """The entry, or None."""
        with self._reading() as reader:
            row = reader.execute("SELECT data, checksum FROM entries WHERE id = ?", (entry_id,)).fetchone()
            return _entry(*row) if row is not None else None

    def place(self, content_id: str) -> Place | None:
        """Where a content is, or None."""
        rows = self._rows("SELECT size, checksums, file, segment, offset FROM contents WHERE id = ?", (content_id,))
        return Place(*rows[0]) if rows else None  # type: ignore[arg-type]

    def census(self) -> Iterator[tuple[str, int, int]]:
        """Queue, entries and held entries of each queue; reads the whole of one index, and the rows of the held, and is asked once."""
        rows = self._rows("SELECT queue, count(*) FROM entries INDEXED BY entries_held WHERE held <> '' GROUP BY queue")
        held = {str(queue): int(str(entries)) for queue, entries in rows}
        for queue, entries in self._rows("SELECT queue, count(*) FROM entries INDEXED BY entries_queue GROUP BY queue"):
            yield str(queue), int(str(entries)), held.get(str(queue), 0)

    def top(self) -> str:
        """The greatest entry id, "" when there is none."""
        return str(self._rows("SELECT coalesce(max(id), '') FROM entries")[0][0])

    def next_due(self, queue: str | None, hidden: Hidden) -> float | None:
        """The least due time of the entries, of a queue or all, that are not hidden by a younger state."""
        with self._reading() as reader:
            return _next_due(reader, queue, hidden)

    def queues(self, hidden: Hidden) -> dict[str, float]:
        """Each queue with an entry that is neither held nor hidden, and the least due time of these; one look-up a queue."""
        times: dict[str, float] = {}
        with self._reading() as reader:
            row = reader.execute(_FIRST_QUEUE).fetchone()
            while row is not None:
                queue, due, entry_id = row
                least = _next_due(reader, queue, hidden) if hidden(entry_id) else due
                if least is not None:
                    times[queue] = least
                row = reader.execute(_NEXT_QUEUE, (queue,)).fetchone()
        return times

    def oldest(self, queues: Iterable[str], hidden: Hidden) -> dict[str, str]:
        """The least id in each of these queues that is not hidden; one look-up a queue."""
        least: dict[str, str] = {}
        with self._reading() as reader:
            for queue in queues:
                rows = reader.execute("SELECT id FROM entries INDEXED BY entries_queue WHERE queue = ? ORDER BY id", (queue,))
                found = next((entry_id for (entry_id,) in rows if not hidden(entry_id)), None)
                if found is not None:
                    least[queue] = found
        return least

    def due(self, now: float, limit: int, queue: str | None, hidden: Hidden) -> list[Entry]:
        """The entries, of a queue or all, due at ``now`` that are not hidden, the earliest first.

        The hidden ones are passed in the index alone: only of what is asked for the row is read.
        """
        with self._reading() as reader:
            if queue is None:
                rows = reader.execute(f"{_ORDERED} AND due <= ? ORDER BY due, id", (now,))
            else:
                rows = reader.execute(f"{_ORDERED_QUEUE} AND due <= ? ORDER BY due, id", (queue, now))
            visible = (entry_id for _, entry_id in rows if not hidden(entry_id))
            found = list(itertools.islice(visible, limit))
            return [_entry(*reader.execute(_ROW, (entry_id,)).fetchone()) for entry_id in found]

    def select(self, query: Query, cursor: str, limit: int, hidden: Hidden) -> list[Entry]:
        """The entries behind the cursor that match and are not hidden, in order of id."""
        found: list[Entry] = []
        sql, values = _selection(query)
        with self._reading() as reader:
            for entry_id, data, checksum in reader.execute(sql, (cursor, *values)):
                if len(found) == limit:
                    break
                if not hidden(entry_id) and query.matches(entry := _entry(data, checksum)):
                    found.append(entry)
        return found

    def files(self) -> list[tuple[str, str, int, bool]]:
        """File, content id and size of each large content, and whether a settled entry refers to it."""
        rows = self._rows("SELECT file, id, size, id IN (SELECT content FROM entries) FROM contents WHERE file <> ''")
        return [(str(file), str(content_id), int(str(size)), bool(used)) for file, content_id, size, used in rows]

    def pinned(self, segment: int) -> bool:
        """True when an entry or a content lies in a segment; to name them all may take long, and the loop would wait meanwhile."""
        entries = self._rows("SELECT 1 FROM entries WHERE segment = ? LIMIT 1", (segment,))
        return bool(entries or self._rows("SELECT 1 FROM contents WHERE segment = ? AND segment > 0 LIMIT 1", (segment,)))

    def pinning(self, segment: int) -> tuple[list[str], list[str]]:
        """The ids of entries and of contents that lie in a segment."""
        entries = self._rows("SELECT id FROM entries WHERE segment = ?", (segment,))
        contents = self._rows("SELECT id FROM contents WHERE segment = ? AND segment > 0", (segment,))
        return [str(row[0]) for row in entries], [str(row[0]) for row in contents]

    def users(self, content_id: str) -> list[str]:
        """The ids of the entries that refer to a content."""
        return [str(row[0]) for row in self._rows("SELECT id FROM entries WHERE content = ?", (content_id,))]


def _next_due(reader: sqlite3.Connection, queue: str | None, hidden: Hidden) -> float | None:
    if queue is None:
        rows = reader.execute(f"{_ORDERED} ORDER BY due, id")
    else:
        rows = reader.execute(f"{_ORDERED_QUEUE} ORDER BY due, id", (queue,))
    return next((float(due) for due, entry_id in rows if not hidden(entry_id)), None)


def _selection(query: Query) -> tuple[str, list[object]]:
    """The question for a query behind a cursor, and its further values. Which index to use is said, for SQLite would guess."""
    by = "INDEXED BY entries_held" if query.held else "NOT INDEXED"
    if query.queue is not None and not query.held:
        by = "INDEXED BY entries_queue"
    conditions: list[str] = ["id > ?"]
    values: list[object] = []
    for condition, value in (("queue = ?", query.queue), ("stage = ?", query.stage), ("due <= ?", query.due_before)):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if query.held is not None:
        conditions.append("held <> ''" if query.held else "held = ''")
    return f"SELECT id, data, checksum FROM entries {by} WHERE {' AND '.join(conditions)} ORDER BY id", values  # noqa: S608  # our own words


def _entry(data: object, checksum: object) -> Entry:
    assert isinstance(data, bytes)
    if zlib.crc32(data) != checksum:
        raise sqlite3.DatabaseError("a row does not match its checksum")
    return decode_entry(data)


def suspect_mark(path: Path) -> Path:
    """The file whose existence says that the index at this path was found damaged."""
    return path.with_name(path.name + ".suspect")
