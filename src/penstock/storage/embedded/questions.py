"""What is asked of the index: by one connection of its own, under a lock, from the loop and from whoever reads a content.

What is wrong here is wrong with the index as a whole, never with one message: it raises SpoolDamaged, and the next start makes the index
again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import SpoolDamaged, StorageUnavailable
from ..base import Entry, Query
from .format import Place, decode_entry


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

    def has(self, entry_id: str) -> bool:
        """True when the entry has a row, or may have one because the index cannot be read."""
        try:
            return bool(self._rows("SELECT 1 FROM entries WHERE id = ?", (entry_id,)))
        except SpoolDamaged:
            return True

    def get(self, entry_id: str) -> Entry | None:
        """The entry, or None."""
        with self._reading() as reader:
            row = reader.execute("SELECT data, checksum FROM entries WHERE id = ?", (entry_id,)).fetchone()
            return _entry(*row) if row is not None else None

    def place(self, content_id: str) -> Place | None:
        """Where a content is, or None."""
        rows = self._rows("SELECT size, checksums, file, segment, offset FROM contents WHERE id = ?", (content_id,))
        return Place(*rows[0]) if rows else None  # type: ignore[arg-type]

    def count(self) -> int:
        """How many entries have a row."""
        return int(self._rows("SELECT count(*) FROM entries")[0][0])  # type: ignore[call-overload,no-any-return]

    def top(self) -> str:
        """The greatest entry id, "" when there is none."""
        return str(self._rows("SELECT coalesce(max(id), '') FROM entries")[0][0])

    def next_due(self, hidden: Callable[[str], bool]) -> float | None:
        """The least due time of the entries that are not hidden by a younger state."""
        with self._reading() as reader:
            for due, entry_id in reader.execute("SELECT due, id FROM entries WHERE held = '' ORDER BY due, id"):
                if not hidden(entry_id):
                    return float(due)
        return None

    def due(self, now: float, limit: int, hidden: Callable[[str], bool]) -> list[Entry]:
        """The entries due at ``now`` that are not hidden, the earliest first."""
        found: list[Entry] = []
        with self._reading() as reader:
            for entry_id, data, checksum in reader.execute(
                "SELECT id, data, checksum FROM entries WHERE held = '' AND due <= ? ORDER BY due, id", (now,)
            ):
                if len(found) == limit:
                    break
                if not hidden(entry_id):
                    found.append(_entry(data, checksum))
        return found

    def select(self, query: Query, cursor: str, limit: int, hidden: Callable[[str], bool]) -> list[Entry]:
        """The entries behind the cursor that match and are not hidden, in order of id."""
        conditions, values = ["id > ?"], [cursor]
        for column, wanted in (("queue", query.queue), ("stage", query.stage)):
            if wanted is not None:
                conditions.append(f"{column} = ?")
                values.append(wanted)
        found: list[Entry] = []
        sql = f"SELECT id, data, checksum FROM entries WHERE {' AND '.join(conditions)} ORDER BY id"  # noqa: S608  # our own words
        with self._reading() as reader:
            for entry_id, data, checksum in reader.execute(sql, values):
                if len(found) == limit:
                    break
                if not hidden(entry_id) and query.matches(entry := _entry(data, checksum)):
                    found.append(entry)
        return found

    def files(self) -> list[tuple[str, str, int, bool]]:
        """File, content id and size of each large content, and whether a settled entry refers to it."""
        rows = self._rows("SELECT file, id, size, id IN (SELECT content FROM entries) FROM contents WHERE file <> ''")
        return [(str(file), str(content_id), int(str(size)), bool(used)) for file, content_id, size, used in rows]

    def pinning(self, segment: int) -> tuple[list[str], list[str]]:
        """The ids of entries and of contents that lie in a segment."""
        entries = self._rows("SELECT id FROM entries WHERE segment = ?", (segment,))
        contents = self._rows("SELECT id FROM contents WHERE segment = ?", (segment,))
        return [str(row[0]) for row in entries], [str(row[0]) for row in contents]

    def users(self, content_id: str) -> list[str]:
        """The ids of the entries that refer to a content."""
        return [str(row[0]) for row in self._rows("SELECT id FROM entries WHERE content = ?", (content_id,))]


def _entry(data: object, checksum: object) -> Entry:
    assert isinstance(data, bytes)
    if zlib.crc32(data) != checksum:
        raise sqlite3.DatabaseError("a row does not match its checksum")
    return decode_entry(data)


def suspect_mark(path: Path) -> Path:
    """The file whose existence says that the index at this path was found damaged."""
    return path.with_name(path.name + ".suspect")
