"""A spool that keeps everything in memory: for tests, and to measure what everything else costs.

It keeps the whole contract of ``base.py`` but the one promise that memory cannot keep: nothing survives the process. It is the plainest
reading of the contract, so the embedded spool is tested against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..errors import StorageDamaged, StorageUnavailable
from ..mail.content import Content, MemoryContent
from .base import Change, Entry, Lease, Page, Put, Query, QueueCount, Recovered


class MemoryContentWriter:
    """Collects a content in memory."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self._parts.append(data)

    async def finish(self) -> Content:
        return MemoryContent(b"".join(self._parts))

    def abort(self) -> None:
        self._parts.clear()


class MemorySpool:
    """A Spool without a disk; futures are done at once."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._contents: dict[str, Content] = {}
        self._references: dict[str, int] = {}
        self._open = False

    async def open(self) -> Recovered:
        self._open = True
        return Recovered(len(self._entries))

    async def close(self) -> None:
        self._open = False

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._open:
            self._apply(changes)
            future.set_result(None)
        else:
            future.set_exception(StorageUnavailable("the spool is closed"))
        return future

    def append(self, changes: Sequence[Change]) -> None:
        if not self._open:
            raise StorageUnavailable("the spool is closed")
        self._apply(changes)

    def writer(self) -> MemoryContentWriter:
        return MemoryContentWriter()

    def get(self, entry_id: str) -> Entry | None:
        return self._entries.get(entry_id)

    def content(self, entry: Entry) -> Content:
        try:
            return self._contents[entry.content]
        except KeyError:
            raise StorageDamaged(f"content {entry.content!r} of entry {entry.id} is not there") from None

    def select(self, query: Query, cursor: str = "", limit: int = 1000) -> Page:
        matching = sorted(
            (entry for entry in self._entries.values() if entry.id > cursor and query.matches(entry)),
            key=lambda entry: entry.id,
        )
        page = matching[:limit]
        return Page(page, page[-1].id if len(matching) > limit else "")

    def due(self, now: float, limit: int = 1000, queue: str | None = None) -> list[Entry]:
        ready = [entry for entry in self._waiting(queue) if entry.due <= now]
        return sorted(ready, key=lambda entry: (entry.due, entry.id))[:limit]

    def next_due(self, queue: str | None = None) -> float | None:
        return min((entry.due for entry in self._waiting(queue)), default=None)

    def queues(self) -> dict[str, float]:
        least: dict[str, float] = {}
        for entry in self._waiting(None):
            least[entry.queue] = min(entry.due, least.get(entry.queue, entry.due))
        return least

    def census(self) -> dict[str, QueueCount]:
        members: dict[str, list[Entry]] = {}
        for entry in self._entries.values():
            members.setdefault(entry.queue, []).append(entry)
        return {
            queue: QueueCount(len(entries), sum(bool(entry.held) for entry in entries), min(entry.id for entry in entries))
            for queue, entries in members.items()
        }

    def count(self) -> int:
        return len(self._entries)

    def _waiting(self, queue: str | None) -> Iterator[Entry]:
        """The entries of a queue, or all, that are not held."""
        return (entry for entry in self._entries.values() if not entry.held and queue in (None, entry.queue))

    def _apply(self, changes: Sequence[Change]) -> None:
        # References are dropped only after the whole group was applied: a group may hand a content from one entry to another.
        dropped: list[str] = []
        for change in changes:
            old = self._entries.pop(change.entry.id if isinstance(change, Put) else change.id, None)
            if old is not None:
                dropped.append(old.content)
            if isinstance(change, Put):
                self._keep(change)
        for content_id in dropped:
            self._references[content_id] -= 1
            if not self._references[content_id]:
                del self._references[content_id]
                self._contents.pop(content_id, None)

    def _keep(self, put: Put) -> None:
        content_id = put.entry.content
        self._entries[put.entry.id] = put.entry
        self._references[content_id] = self._references.get(content_id, 0) + 1
        if put.content is not None and content_id:
            self._contents[content_id] = put.content


class LocalLeases:
    """Leases among the tasks of one process."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._number = 0

    def take(self, name: str, owner: str, seconds: float, now: float) -> Lease | None:
        held = self._leases.get(name)
        if held is not None and held.until > now and held.owner != owner:
            return None
        if held is None or held.owner != owner or held.until <= now:
            self._number += 1
            lease = Lease(name, owner, self._number, now + seconds)
        else:
            lease = replace(held, until=now + seconds)
        self._leases[name] = lease
        return lease

    def renew(self, lease: Lease, seconds: float, now: float) -> Lease | None:
        held = self._leases.get(lease.name)
        if held is None or held.number != lease.number or held.until <= now:
            return None
        renewed = self._leases[lease.name] = replace(held, until=now + seconds)
        return renewed

    def release(self, lease: Lease) -> None:
        held = self._leases.get(lease.name)
        if held is not None and held.number == lease.number:
            del self._leases[lease.name]
