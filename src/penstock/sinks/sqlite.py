"""A table in an SQLite file as a directory: for a few thousand users without a server to run."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink
from penstock.errors import ConfigError

from .directory import Directory, DirectorySettings
from .lookup import Entry, LookupFailed
from .rows import entry_of

# Steps of the virtual machine of SQLite between two looks at the clock; some microseconds.
_STEPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteSettings(DirectorySettings):
    """Which file is asked, and what.

    Args:
        path: the file.
        query: a SELECT with the parameter ``:address``, and ``:local`` and ``:domain`` where wanted. It is asked for each address, and for
            "@example.com" with an empty ``:local``. Its first column holds destinations, see the rows of directories.
    """

    path: Path
    query: str


class Sqlite(Directory, Sink[SqliteSettings]):
    """Looks recipients up in an SQLite file, which is opened for each question, for reading alone: one that is replaced is seen at once."""

    settings: SqliteSettings

    async def start(self) -> None:
        """Tries the query out. Raises ConfigError."""
        try:
            await asyncio.to_thread(self._ask, ["nobody@example.invalid"])
        except LookupFailed as error:
            raise ConfigError(f"Sqlite: {self.settings.path}", str(error)) from None

    async def look_up(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        """Asks for each key, in a thread."""
        return await asyncio.to_thread(self._ask, keys)

    def _ask(self, keys: Sequence[str]) -> dict[str, Entry]:
        end = time.monotonic() + self.settings.seconds
        found = {}
        try:
            with contextlib.closing(self._open()) as connection:
                # A query without end would keep its thread; nobody waits for it any more by then.
                connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
                for key in keys:
                    local, _, domain = key.rpartition("@")
                    cursor = connection.execute(self.settings.query, {"address": key, "local": local, "domain": domain})
                    rows = cursor.fetchall()
                    if rows:
                        found[key] = entry_of(key, [column[0] for column in cursor.description], rows)
        except sqlite3.Error as error:
            raise LookupFailed(f"{type(error).__name__}: {error}") from None
        return found

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.settings.path.absolute().as_uri()}?mode=ro", uri=True, timeout=self.settings.seconds)
