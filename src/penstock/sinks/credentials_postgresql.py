"""Users in a table of PostgreSQL, over a pool of connections that mends itself."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock import Sink
from penstock.errors import ConfigError

from .accounts import Account, folded
from .credentials import CredentialStore
from .credentials_rows import account_of
from .lookup import LookupFailed
from .secret import FileSecret, read_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsPostgresqlSettings:
    """Which database is asked, and what.

    Args:
        dsn: ``postgresql://user@host:port/database``, or without parts what the environment says (PGHOST ...); for a Unix socket
            ``postgresql:///database?host=/run/postgresql``.
        query: a SELECT with ``$1``, the name in small letters; its columns are told apart by their names.
        scram: every user has keys for SCRAM, so that it may be offered.
        password: the password: text, ``"${env:NAME}"``, or ``{ file = "PATH" }``; "" for what the DSN or the environment says.
        connections: at the same time, of each worker.
        connect: seconds that a connection may take to come about.
        seconds: how long a look-up may take.
    """

    dsn: str = field(default="postgresql://", repr=False)
    query: str = "SELECT * FROM users WHERE name = $1"
    scram: bool = False
    password: str | FileSecret = field(default="", repr=False)
    connections: int = 4
    connect: float = 3.0
    seconds: float = 5.0


class _Pool(Protocol):
    async def fetch(self, query: str, *values: object) -> Sequence[Any]: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


class CredentialsPostgresql(CredentialStore, Sink[CredentialsPostgresqlSettings]):
    """Knows the users of a table. A server that is away puts logins off, and is used again when it is back.

    Raises: ConfigError when asyncpg is not installed, or a secret cannot be read.
    """

    settings: CredentialsPostgresqlSettings

    def __init__(self, settings: CredentialsPostgresqlSettings) -> None:
        super().__init__(settings)
        try:
            self._driver: Any = importlib.import_module("asyncpg")
        except ImportError:
            raise ConfigError("CredentialsPostgresql", "asyncpg is not installed", "pip install 'penstock[postgresql]'") from None
        self._secret = read_secret("CredentialsPostgresql: password", settings.password)
        self._pool: _Pool | None = None
        self._opening = asyncio.Lock()

    @property
    def kinds(self) -> frozenset[str]:  # type: ignore[override]  # known when it is made
        """What it can answer."""
        return frozenset({"password", "keys", "secret"} if self.settings.scram else {"password", "secret"})

    async def stop(self) -> None:
        """Closes the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 2.0)
            except TimeoutError:
                pool.terminate()

    async def find(self, user: str) -> Account | None:
        """The account of a user; asked for a second time where a connection was lost meanwhile."""
        for last in (False, True):
            try:
                async with asyncio.timeout(self.settings.seconds):
                    pool = await self._open()
                    rows = await pool.fetch(self.settings.query, folded(user))
            except TimeoutError:
                raise LookupFailed(f"no answer within {self.settings.seconds:g} seconds") from None
            except Exception as error:  # of a driver that has more kinds than it tells, one of which is no PostgresError: a cut connection
                if last:
                    raise LookupFailed(f"{type(error).__name__}: {error}") from None
                continue
            if len(rows) > 1:
                raise LookupFailed("the query gives several rows for one user")
            return account_of(user, dict(rows[0].items())) if rows else None
        return None

    async def _open(self) -> _Pool:
        async with self._opening:
            if self._pool is None:
                pool: _Pool = await self._driver.create_pool(
                    self.settings.dsn,
                    password=self._secret or None,
                    min_size=0,
                    max_size=self.settings.connections,
                    timeout=self.settings.connect,
                    command_timeout=self.settings.seconds,
                    max_inactive_connection_lifetime=300.0,
                )
                self._pool = pool
            return self._pool
