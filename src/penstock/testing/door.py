"""The spool as one life of a server sees it: when that life ends at once, what it does later does not count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..mail.content import Content
from ..storage.base import Change, ContentWriter, Entry, Page, Query, QueueCount, Recovered, Spool


class Door:
    """Hands everything on to a spool, until it is shut.

    Args:
        spool: keeps the messages of all lives.
    """

    def __init__(self, spool: Spool) -> None:
        self.shut = False
        self._spool = spool

    async def open(self) -> Recovered:
        return await self._spool.open()

    async def close(self) -> None:
        """Leaves the spool open for the next life."""

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        if self.shut:
            # Nobody will ever know.
            return asyncio.get_running_loop().create_future()
        return self._spool.commit(changes)

    def append(self, changes: Sequence[Change]) -> None:
        if not self.shut:
            self._spool.append(changes)

    def writer(self) -> ContentWriter:
        return self._spool.writer()

    def get(self, entry_id: str) -> Entry | None:
        return self._spool.get(entry_id)

    def content(self, entry: Entry) -> Content:
        return self._spool.content(entry)

    def select(self, query: Query, cursor: str = "", limit: int = 1000) -> Page:
        return self._spool.select(query, cursor, limit)

    def due(self, now: float, limit: int = 1000, queue: str | None = None) -> list[Entry]:
        return self._spool.due(now, limit, queue)

    def next_due(self, queue: str | None = None) -> float | None:
        return self._spool.next_due(queue)

    def queues(self) -> dict[str, float]:
        return self._spool.queues()

    def census(self) -> dict[str, QueueCount]:
        return self._spool.census()

    def count(self) -> int:
        return self._spool.count()
