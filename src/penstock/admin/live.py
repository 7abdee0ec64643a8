"""The real worker behind ``operations.Operations``: its spools, and the transport of each, asked as one.

A worker has more than one spool when it took over those of workers that there are no longer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from .. import __version__
from ..delivery.lending import Lend, Lent, lend_to_each
from ..events.work import Backplane, MessageWork
from ..mail.content import Content
from ..queue.destination import Destination
from ..queue.scheduler import Scheduler
from ..storage.base import Entry, Page, Query, QueueCount, Spool
from ..transport.operations import Operations as MessageOperations
from .bindings import BindingOperations
from .operations import Came
from .protocol import DestinationRow, StatusRow
from .tracing import TracingOperations


@dataclass(frozen=True, slots=True)
class Home:
    """One spool and what works on it.

    Args:
        spool: where messages are kept.
        scheduler: works on them.
        operations: changes single ones.
        reset_routes: routes all that is queued again; how many messages got another next hop.
        submit: takes a new message; its id, when it is durable.
        lend: lends a connection for a queue.
    """

    spool: Spool
    scheduler: Scheduler
    operations: MessageOperations
    reset_routes: Callable[[], Awaitable[int]]
    submit: Callable[[MessageWork], Awaitable[str]]
    lend: Lend


@dataclass(frozen=True, slots=True)
class LiveOperations:
    """What one worker can be asked.

    Args:
        worker: its name, e.g. "worker-0".
        server: gives ids, time and host name.
        homes: its own spool first, to which new messages go, and those that it took over.
        listeners: host and port by listener.
        started: in seconds since 1970.
        bindings: what it binds; None where that is not asked about.
        tracing: what it traces; None where that is not asked about.
    """

    worker: str
    server: Backplane
    homes: Sequence[Home]
    listeners: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    started: float = 0.0
    bindings: BindingOperations | None = None
    tracing: TracingOperations | None = None

    @property
    def hostname(self) -> str:
        return self.server.hostname

    def now(self) -> float:
        return self.server.now()

    def new_id(self) -> str:
        return self.server.new_id()

    def get(self, entry_id: str) -> Entry | None:
        return next((found for home in self.homes if (found := home.spool.get(entry_id)) is not None), None)

    def select(self, query: Query, cursor: str, limit: int) -> Page:
        return joined([home.spool.select(query, cursor, limit) for home in self.homes], limit)

    def rest_of(self, entry: Entry) -> tuple[float, str]:
        return self._home(entry.id).scheduler.rest_of(entry.queue) if entry.queue else (0.0, "")

    def content(self, entry: Entry) -> Content:
        return self._home(entry.id).spool.content(entry)

    def census(self) -> dict[str, QueueCount]:
        counts: dict[str, QueueCount] = {}
        for home in self.homes:
            for queue, found in home.spool.census().items():
                had = counts.get(queue)
                oldest = min(filter(None, (found.oldest, had.oldest if had else "")), default="")
                counts[queue] = QueueCount(found.entries + (had.entries if had else 0), found.held + (had.held if had else 0), oldest)
        return counts

    def destinations(self) -> list[DestinationRow]:
        return [_row(found, self.worker) for home in self.homes for found in home.scheduler.destinations()]

    def status(self) -> StatusRow:
        messages = sum(home.spool.count() for home in self.homes)
        row = StatusRow(self.worker, os.getpid(), __version__, self.started, messages, dict(self.listeners))
        had = self.bindings
        if had is None:
            return row
        return msgspec.structs.replace(row, generation=had.generation, retiring=had.retiring, last_error=had.last_error)

    async def hold(self, message_id: str, reason: str) -> Came:
        return await self._home(message_id).operations.hold(message_id, reason)

    async def release(self, message_id: str) -> Came:
        return await self._home(message_id).operations.release(message_id)

    async def retry(self, message_id: str) -> Came:
        return await self._home(message_id).operations.retry(message_id)

    async def remove(self, message_id: str) -> Came:
        return await self._home(message_id).operations.remove(message_id)

    async def bounce(self, message_id: str, text: str) -> Came:
        operations = self._home(message_id).operations
        return await (operations.bounce(message_id, text=text) if text else operations.bounce(message_id))

    async def reroute(self, message_id: str, next_hop: str) -> Came:
        return await self._home(message_id).operations.reroute(message_id, next_hop)

    async def settled(self) -> None:
        # Changes are kept in the order of the calls: when this one is, all before it are.
        await asyncio.gather(*(home.spool.commit([]) for home in self.homes))

    def suspend(self, queue: str, until: float | None, reason: str) -> bool:
        for home in self.homes:
            home.scheduler.suspend(queue, until, reason)
        return True

    def resume(self, queue: str) -> bool:
        known = any(home.scheduler.destination(queue) is not None for home in self.homes)
        for home in self.homes:
            home.scheduler.resume(queue)
        return known

    def flush(self, queue: str) -> int:
        flushed = set()
        for home in self.homes:
            for name in home.spool.queues():
                if name and queue in ("", name):
                    home.scheduler.retry_now(name)
                    flushed.add(name)
        return len(flushed)

    async def lend(self, queue: str, path: str) -> Lent:
        return await lend_to_each([home.lend for home in self.homes], queue, path)

    async def reset_routes(self) -> int:
        return sum([await home.reset_routes() for home in self.homes])

    @property
    def incoming(self) -> Spool:
        return self.homes[0].spool

    async def submit(self, work: MessageWork) -> str:
        return await self.homes[0].submit(work)

    def _home(self, entry_id: str) -> Home:
        """Where a message is; the first for one that is nowhere, which then says so."""
        if len(self.homes) == 1:
            return self.homes[0]
        return next((home for home in self.homes if home.spool.get(entry_id) is not None), self.homes[0])


def joined(pages: Sequence[Page], limit: int) -> Page:
    """The pages of several spools behind one cursor as one page, in order of id."""
    if len(pages) == 1:
        return pages[0]
    # What lies behind the end of a page that goes on waits for the next: something of that other spool may come before it.
    ends = [page.cursor for page in pages if page.cursor]
    found = sorted((entry for page in pages for entry in page.entries if not ends or entry.id <= min(ends)), key=lambda entry: entry.id)
    if len(found) > limit:
        return Page(found[:limit], found[limit - 1].id)
    return Page(found, min(ends, default=""))


def _row(found: Destination, worker: str) -> DestinationRow:
    return DestinationRow(
        queue=found.name,
        state=found.state,
        window=int(found.window),
        sessions=found.sessions,
        last_error=(found.last_error or found.suspended_for)[:500],
        # Until it is resumed, which JSON has no number for.
        next_try=found.suspended_until if 0 < found.suspended_until < float("inf") else found.until,
        worker=worker,
    )
