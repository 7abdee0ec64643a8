"""Users in a table of an SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink
from penstock.errors import ConfigError

from .accounts import Account, folded
from .credentials import CredentialStore
from .credentials_rows import account_of
from .lookup import LookupFailed

# Steps of the virtual machine of SQLite between two looks at the clock; some microseconds.
_STEPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsSqliteSettings:
    """Which file is asked, and what.

    Args:
        path: the file.
        query: a SELECT with the parameter ``:name``, which is in small letters; its columns are told apart by their names.
        scram: every user has keys for SCRAM, so that it may be offered.
        seconds: how long a look-up may take.
    """

    path: Path
    query: str = "SELECT * FROM users WHERE name = :name"
    scram: bool = False
    seconds: float = 5.0


class CredentialsSqlite(CredentialStore, Sink[CredentialsSqliteSettings]):
    """Knows the users of a table; the file is opened for each question, for reading alone."""

    settings: CredentialsSqliteSettings

    @property
    def kinds(self) -> frozenset[str]:  # type: ignore[override]  # known when it is made
        """What it can answer."""
        return frozenset({"password", "keys", "secret"} if self.settings.scram else {"password", "secret"})

    async def start(self) -> None:
        """Tries the query out. Raises ConfigError."""
        try:
            await asyncio.to_thread(self._ask, "nobody@example.invalid")
        except LookupFailed as error:
            raise ConfigError(f"CredentialsSqlite: {self.settings.path}", str(error)) from None

    async def find(self, user: str) -> Account | None:
        """The account of a user, asked for in a thread."""
        return await asyncio.to_thread(self._ask, folded(user))

    def _ask(self, user: str) -> Account | None:
        end = time.monotonic() + self.settings.seconds
        try:
            with contextlib.closing(self._open()) as connection:
                connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
                cursor = connection.execute(self.settings.query, {"name": user})
                row = cursor.fetchone()
                return (
                    None
                    if row is None
                    else account_of(user, {column[0]: value for column, value in zip(cursor.description, row, strict=True)})
                )
        except sqlite3.Error as error:
            raise LookupFailed(f"{type(error).__name__}: {error}") from None

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.settings.path.absolute().as_uri()}?mode=ro", uri=True, timeout=self.settings.seconds)
