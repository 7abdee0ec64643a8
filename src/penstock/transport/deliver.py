"""Delivery here: each recipient in turn is offered to the sinks of LocalDelivery, and what came of it is settled at once.

Fresh mail is delivered to in the same breath in which it was accepted; what has to wait does so in a queue of its own for each local
domain, so that a slow one is in nobody's way. What no sink takes is held, not bounced: a recipient without a delivery is a fault of the
configuration, and mail must not pay for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from ..events.catalog import LocalDelivery
from ..events.dispatch import Outcome, Step
from ..events.live import Uses
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from ..queue.destination import Destination
from ..queue.job import Job, id_of
from .aside import put_aside
from .outcome import Handover, Result
from .parts import Shop
from .results import result_of

# A message for thousands may be under way for minutes: this often is recorded who is served, in seconds.
RECORD_EVERY = 1.0
Asked = tuple[LocalDelivery, Coroutine[Any, Any, Outcome]]


class LocalDeliveries:
    """Asks the sinks of LocalDelivery of one generation.

    Args:
        shop: what every part of transport is given.
        handover: gives the messages, and records what came of them.
        waiting: how many deliveries of each queue wait for their sinks, whatever their generation.
    """

    def __init__(self, shop: Shop, handover: Handover, waiting: Counter[str]) -> None:
        self._shop = shop
        self._parts = shop.parts
        self._chain = shop.bindings.chain(LocalDelivery)
        self._handover = handover
        self._waiting = waiting

    def has_room(self, queue: str) -> bool:
        """Whether a fresh message may be delivered to at once: few enough wait for their sinks, and nobody stopped the queue."""
        if self._waiting and self._waiting[queue] >= self._shop.settings.local_sessions:
            return False
        destination = self._shop.scheduler.destination(queue)
        return destination is None or destination.state == "active"

    def serve(self, work: MessageWork, queue: str) -> Step:
        """Serves all recipients of a message: at once, or in the coroutine that it returns."""
        results: list[Result] = []
        recipients = work.record.envelope.recipients
        try:
            for index, recipient in enumerate(recipients):
                # Made one by one and let go: what handlers parse of a large message hangs on the event.
                event = self._event(work, recipient)
                answer = self._parts.dispatcher.ask(event, self._chain)
                if not isinstance(answer, Outcome):
                    return self._rest(work, queue, recipients[index:], results, (event, answer))
                results.append(result_of(event.work, answer, work.record))
        except Exception:
            self._handover.served(work, results, recipients[len(results) :])
            raise
        return self._handover.settle(work, queue, results)

    async def _rest(self, work: MessageWork, queue: str, left: list[Recipient], results: list[Result], first: Asked) -> None:
        """Goes on from the first recipient about whom somebody has to be waited for."""
        self._waiting[queue] += 1
        try:
            await self._rest_of(work, left, results, first)
            step = self._handover.settle(work, queue, results)
            if step is not None:
                await step
        finally:
            self._waiting[queue] -= 1
            if not self._waiting[queue]:
                del self._waiting[queue]

    async def _rest_of(self, work: MessageWork, left: list[Recipient], results: list[Result], first: Asked) -> None:
        """Asks about those who are left; who is served is recorded from time to time, and when this comes to no good end."""
        time, already = asyncio.get_running_loop().time, len(results)
        recorded = time()
        (event, waiting) = first
        try:
            outcome = await waiting
            # After the handlers: what they changed about the recipient goes on with it.
            results.append(result_of(event.work, outcome, work.record))
            for number, recipient in enumerate(left[1:], 1):
                if time() - recorded >= RECORD_EVERY:
                    self._handover.served(work, results, left[number:])
                    recorded = time()
                event = self._event(work, recipient)
                answer = self._parts.dispatcher.ask(event, self._chain)
                outcome = answer if isinstance(answer, Outcome) else await answer
                results.append(result_of(event.work, outcome, work.record))
        except BaseException:
            # The process ends, or the content is damaged: it is no fault of theirs who have it, and they get no second copy.
            self._handover.served(work, results, left[len(results) - already :])
            raise

    def _event(self, work: MessageWork, recipient: Recipient) -> LocalDelivery:
        return LocalDelivery(self._parts.facts(work), recipient, work.record.deferrals + 1)

    def load(self, job: Job) -> MessageWork | None:
        """The message of a job, as ``Handover`` says."""
        return self._handover.load(job)


class LocalSessions:
    """The carrier of the queues of local domains: its sessions live through reloads, and each message is served by who is in force then.

    Args:
        shop: what every part of transport is given; for the log and the scheduler.
        current: who serves now, and the bindings that are asked.
    """

    def __init__(self, shop: Shop, current: Callable[[], tuple[LocalDeliveries, Uses]]) -> None:
        self._shop = shop
        self._current = current
        self._sessions: set[asyncio.Task[None]] = set()

    def attend(self, destination: Destination) -> None:
        """Serves a queue of a local domain with one more session."""
        destination.begin_session()
        task = asyncio.get_running_loop().create_task(self._session(destination))
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)

    async def stop(self, seconds: float) -> None:
        """Lets the sessions end, at most so long; what did not end stays in the spool."""
        if not self._sessions:
            return
        _, late = await asyncio.wait(set(self._sessions), timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    async def _session(self, destination: Destination) -> None:
        try:
            while (job := destination.take()) is not None:
                await self._serve_job(destination, job)
                # A backlog whose sinks all answer at once would keep the loop for itself.
                await asyncio.sleep(0)
        finally:
            destination.end_session()

    async def _serve_job(self, destination: Destination, job: Job) -> None:
        local, uses = self._current()
        uses.begin()
        try:
            work = local.load(job)
            if work is not None:
                step = local.serve(work, destination.name)
                if step is not None:
                    await step
                destination.succeeded()
        except Exception as error:
            put_aside(self._shop, id_of(job), error)
        finally:
            uses.end()
            destination.finished(id_of(job))
