"""Tables of PostgreSQL as a directory: one question for all addresses of a batch, over a pool of connections that mends itself."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock import Sink
from penstock.errors import ConfigError

from .directory import Directory, DirectorySettings
from .lookup import Entry, LookupFailed
from .rows import entry_of
from .secret import FileSecret, read_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresqlSettings(DirectorySettings):
    """Which database is asked, and what.

    Args:
        dsn: ``postgresql://user@host:port/database``, or without parts what the environment says (PGHOST ...); for a Unix socket
            ``postgresql:///database?host=/run/postgresql``.
        query: a SELECT with ``$1``. Where it is an array, as in ``WHERE address = ANY($1)``, all addresses are asked for at once; the first
            column is the address then and the second one its destinations. Else it is asked for each, and the first column holds them.
        password: the password: text, ``"${env:NAME}"``, or ``{ file = "PATH" }``; "" for what the DSN or the environment says.
        connections: at the same time, of each worker.
        connect: seconds that a connection may take to come about.
    """

    query: str
    dsn: str = field(default="postgresql://", repr=False)
    password: str | FileSecret = field(default="", repr=False)
    connections: int = 4
    connect: float = 3.0


class _Statement(Protocol):
    def get_parameters(self) -> Sequence[Any]: ...


class _Connection(Protocol):
    async def prepare(self, query: str) -> _Statement: ...
    async def fetch(self, query: str, *values: object) -> Sequence[Any]: ...


class _Pool(Protocol):
    def acquire(self, *, timeout: float) -> AbstractAsyncContextManager[_Connection]: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


class Postgresql(Directory, Sink[PostgresqlSettings]):
    """Looks recipients up in PostgreSQL.

    A server that is away when Penstock starts, or later, puts off what it is asked about; it is used again when it is back.

    Raises: ConfigError when asyncpg is not installed, or a secret cannot be read.
    """

    settings: PostgresqlSettings

    def __init__(self, settings: PostgresqlSettings) -> None:
        super().__init__(settings)
        try:
            self._driver: Any = importlib.import_module("asyncpg")
        except ImportError:
            raise ConfigError("Postgresql", "asyncpg is not installed", "pip install 'penstock[postgresql]'") from None
        self._password = read_secret("Postgresql: password", settings.password)
        self._pool: _Pool | None = None
        # Whether the query takes an array; None until the server said.
        self._takes_array: bool | None = None
        self._opening = asyncio.Lock()

    async def stop(self) -> None:
        """Closes the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 2.0)
            except TimeoutError:
                pool.terminate()

    async def look_up(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        """Asks one question, or one for each key where the query takes no array; a second time where a connection was lost meanwhile."""
        try:
            return await self._attempt(keys)
        except (LookupFailed, TimeoutError):
            raise
        except Exception as error:  # of a driver that has more kinds than it tells, one of which is no PostgresError: a cut connection
            self.log.debug("directory is asked again", error=f"{type(error).__name__}: {error}")
        try:
            return await self._attempt(keys)
        except (LookupFailed, TimeoutError):
            raise
        except Exception as error:  # as above; whatever it is, the directory could not be asked
            raise LookupFailed(f"{type(error).__name__}: {error}") from None

    async def _attempt(self, keys: Sequence[str]) -> dict[str, Entry]:
        pool = await self._open()
        async with pool.acquire(timeout=self.settings.seconds) as connection:
            return await self._ask(connection, keys)

    async def _ask(self, connection: _Connection, keys: Sequence[str]) -> dict[str, Entry]:
        query = self.settings.query
        if self._takes_array is None:
            parameters = (await connection.prepare(query)).get_parameters()
            if len(parameters) != 1:
                raise LookupFailed(f"the query takes {len(parameters)} parameters, and not $1 alone")
            self._takes_array = parameters[0].kind == "array"
        if self._takes_array:
            found: dict[str, list[Any]] = {}
            for row in await connection.fetch(query, list(keys)):
                found.setdefault(str(row[0]).lower(), []).append(row)
            # Without a second column, that the address is there says that it is a mailbox.
            return {
                key: entry_of(key, list(rows[0].keys())[1:] or ["address"], [tuple(row)[1:] or (None,) for row in rows])
                for key, rows in found.items()
            }
        result = {}
        for key in keys:
            rows = await connection.fetch(query, key)
            if rows:
                result[key] = entry_of(key, list(rows[0].keys()), [tuple(row) for row in rows])
        return result

    async def _open(self) -> _Pool:
        async with self._opening:
            if self._pool is None:
                pool: _Pool = await self._driver.create_pool(
                    self.settings.dsn,
                    password=self._password or None,
                    min_size=0,
                    max_size=self.settings.connections,
                    timeout=self.settings.connect,
                    command_timeout=self.settings.seconds,
                    max_inactive_connection_lifetime=300.0,
                )
                self._pool = pool
            return self._pool
