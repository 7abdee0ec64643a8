"""A message's way from acceptance to its last recipient: transport as the rest of the server sees it.

Hosts and sinks give messages in; deliveries take them from the queues and hand back what came of them; administrators change what is
queued. Every step that must not be lost is one atomic group in the spool. What happens at the stages is in ``stages``, ``categorize`` and
``route``; here they are put together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import msgspec

from ..errors import SpoolDamaged, StorageUnavailable
from ..events.binding import Bindings
from ..events.dispatch import Step
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from ..mail.message import decode_record, encode_record
from ..queue.destination import Carrier
from ..queue.job import Job, id_of
from ..queue.scheduler import Scheduler
from ..queue.settings import NOBODY
from ..storage.base import Entry, Put
from .aging import Aging
from .crew import Crew
from .deliver import LocalSessions
from .later import Later
from .operations import Operations
from .outcome import Result
from .parts import Parts as Parts
from .parts import Shop
from .parts import TransportSettings as TransportSettings
from .reset import Reset, recall_schedules
from .route import LOCAL_QUEUE
from .settle import Settler
from .stage import Stage


class Carriers:
    """Who serves which queue: LocalDelivery the local ones, the sessions with remote servers all others.

    ``remote`` is set before work begins; without it such queues only wait.
    """

    def __init__(self) -> None:
        self.local: Carrier = NOBODY
        self.remote: Carrier = NOBODY

    def of(self, queue: str) -> Carrier:
        """Who serves a queue."""
        return self.local if queue.startswith(LOCAL_QUEUE) else self.remote


class Transport:
    """Takes messages, runs the sinks of each stage, and sees to it that every recipient is served.

    Args:
        parts: what it works with.
        bindings: the bindings of the present generation.
        settings: how it behaves.
    """

    def __init__(self, parts: Parts, bindings: Bindings, settings: TransportSettings) -> None:
        self._parts = parts
        self.spool = self._spool = parts.spool
        self.carriers = Carriers()
        destinations = replace(settings.scheduler.destinations, carrier_for=self.carriers.of)
        scheduling = replace(settings.scheduler, destinations=destinations)
        self.scheduler = Scheduler(parts.spool, self._run, parts.server.now, parts.log, scheduling)
        self._later = Later(self.scheduler)
        self._waiting: Counter[str] = Counter()
        self._settings = settings
        self._crew = crew = self._make_crew(bindings)
        self._aging = Aging(crew.shop, crew.settler, settings.aging)
        self.carriers.local = LocalSessions(crew.shop, lambda: (self._crew.local, self._crew.uses))
        self.operations = Operations(crew.shop, crew.settler, self._later)
        self.reset_routes = Reset(crew.shop, crew.router, self._later)
        # Ids sort by time: what has a lesser one was accepted by a process before this one.
        self._first_id = parts.server.new_id()

    def _make_crew(self, bindings: Bindings) -> Crew:
        shop = Shop(self._parts, bindings, self._settings, self.scheduler, self._later.split)
        return Crew(shop, self._later, self._waiting, self.load)

    def rebind(self, bindings: Bindings, settings: TransportSettings | None = None) -> None:
        """From now on asks these bindings; what is under way keeps those that it began with.

        Args:
            bindings: the bindings of the new generation.
            settings: how it behaves from now on; its scheduler stays as it was made. None for as before.
        """
        self._settings = settings or self._settings
        self._crew = crew = self._make_crew(bindings)
        self._aging.rebind(crew.settler)
        self.operations.rebind(crew.settler)
        self.reset_routes.rebind(crew.shop, crew.router)

    @property
    def _shop(self) -> Shop:
        return self._crew.shop

    @property
    def _settler(self) -> Settler:
        return self._crew.settler

    def start(self) -> None:
        """Begins with what the spool kept from before."""
        recall_schedules(self._shop)
        self.scheduler.wake()
        self._aging.start()

    async def stop(self, seconds: float) -> None:
        """Begins nothing more, and waits so long for what is under way."""
        await self._aging.stop()
        await self.scheduler.stop(seconds)
        self._later.stop()

    def accept(self, work: MessageWork, done: Callable[[BaseException | None], None], held: str = "") -> None:
        """Makes a message durable, tells ``done`` (None, or why it failed), and only then goes on with it.

        Args:
            work: the message with its content.
            done: called once, on the loop.
            held: why the message is to be kept without going on; "" to go on.
        """
        record = work.record
        work.content_id = record.id
        forks, work.forks = work.forks, []
        changes = [Put(_entry(work, held), work.content), *(self._keep_fork(fork, work, held) for fork in forks)]
        work.dirty = work.rewritten = False
        ids = [record.id, *(fork.record.id for fork in forks)]
        for message_id in ids:
            self.scheduler.expect(message_id)

        def durable(future: asyncio.Future[None]) -> None:
            error = StorageUnavailable("the server is stopping") if future.cancelled() else future.exception()
            try:
                done(error)
            finally:
                self._accepted(work, ids, error is None and not held)

        self._spool.commit(changes).add_done_callback(durable)

    def _accepted(self, work: MessageWork, ids: list[str], going_on: bool) -> None:
        """The first of the ids is the message's own, the others are those of its copies."""
        for fork_id in ids[1:]:
            self.scheduler.forget(fork_id)
        if not going_on:
            self.scheduler.forget(work.record.id)
            return
        if work.record.release > self._parts.server.now():
            self.scheduler.forget(work.record.id)
            self.scheduler.soon(work.record.release)
            return
        self.scheduler.offer(work)
        if len(ids) > 1:
            self.scheduler.soon(self._parts.server.now())

    def _keep_fork(self, fork: MessageWork, parent: MessageWork, held: str) -> Put:
        """A copy that a sink split off before the message was accepted; it shares the content unless it was given another."""
        shared = fork.content is parent.content
        fork.content_id = parent.content_id if shared else fork.record.id
        return Put(_entry(fork, held), None if shared else fork.content)

    async def submit(self, work: MessageWork) -> str:
        """Takes a message from a sink; its id, when it is durable. Raises StorageUnavailable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: BaseException | None) -> None:
            if future.done():
                return
            if error:
                future.set_exception(error)
            else:
                future.set_result(None)

        self.accept(work, done)
        await future
        return work.record.id

    def load(self, job: Job) -> MessageWork | None:
        """The message of a job, with its content; None when it is gone, held or moved meanwhile. Raises as ``Handover`` says."""
        try:
            current = self._spool.get(id_of(job))
            if current is None or current.held:
                return None
            if isinstance(job, MessageWork):
                return job if current.stage == Stage.ROUTED.value else None
            return self._read(current) if current.queue == job.queue else None
        except SpoolDamaged as error:
            # Whoever asked would be given the same message again at once, and again.
            self.scheduler.damaged(str(error))
            raise

    def served(self, work: MessageWork, results: list[Result], left: list[Recipient]) -> None:
        """Records who has the message by now, as ``Handover`` says."""
        self._crew.served(work, results, left)

    def settle(self, work: MessageWork, queue: str, results: list[Result]) -> Step:
        """Records what came of a try, in one atomic group; as ``Handover`` says."""
        return self._crew.settle(work, queue, results)

    def hold_damaged(self, message_id: str, why: str) -> None:
        """Holds a message that cannot be read; the log has been told."""
        entry = self._spool.get(message_id)
        if entry is not None:
            self._spool.append([Put(msgspec.structs.replace(entry, held=f"damaged: {why}"))])

    def is_waiting(self, queue: str) -> bool:
        """Whether there is mail in a queue that is not held."""
        waiting = self._spool.census().get(queue)
        return waiting is not None and waiting.entries > waiting.held

    def release_queue(self, queue: str) -> int:
        """Releases what is held in a queue, and tries all of it now; how many messages are in it."""
        released = self.operations.release_all(queue)
        waiting = self._spool.census().get(queue)
        if waiting is not None and waiting.entries > waiting.held:
            self.scheduler.retry_now(queue)
        return max(released, waiting.entries if waiting is not None else 0)

    def _read(self, entry: Entry) -> MessageWork:
        return MessageWork(decode_record(entry.record), self._spool.content(entry), entry.content)

    def _run(self, job: Job) -> Step:
        """Goes on with a message before it is routed: one just accepted, or one read back from the spool."""
        if isinstance(job, MessageWork):
            return self._crew.proceed(job, Stage.SUBMITTED)
        current = self._spool.get(job.id)
        if current is None or current.held or current.queue:
            return None
        work, stage = self._read(current), Stage(current.stage)
        if current.id < self._first_id and not current.due:
            # Another process may have begun this stage: let sinks see that. A deferral has counted itself.
            work.record.attempt += 1
            self._spool.append([Put(msgspec.structs.replace(current, record=encode_record(work.record)))])
        return self._crew.proceed(work, stage)


def _entry(work: MessageWork, held: str) -> Entry:
    # RFC 4865: before its time not even the sinks of transport see it.
    return Entry(work.record.id, Stage.SUBMITTED.value, encode_record(work.record), work.content_id, "", work.record.release, held)
