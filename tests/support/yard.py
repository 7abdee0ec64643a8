"""A scheduler over a real spool, a clock that the test sets, and carriers that do what the test says; everything in memory.

The scheduler's timers are the loop's; here they never have to ring, since ``pass_time`` sets the clock and wakes it by hand.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from events.harness import NOW, KeptLog, message_work
from penstock.queue.destination import Carrier, Destination
from penstock.queue.job import id_of
from penstock.queue.limits import DestinationLimits
from penstock.queue.policy import RetryPolicy
from penstock.queue.scheduler import Scheduler, SchedulerSettings
from penstock.queue.settings import DestinationSettings
from penstock.storage.base import Entry, Put, Remove, Spool
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.memory import MemorySpool

# Rests of 60, 60, 900, 1800 ... seconds, all exact.
EXACT = RetryPolicy(jitter=0.0, glitch=(60.0, 60.0))
LIMITS = DestinationLimits(retry=EXACT)
# A small destination with a rate, so that every rule comes to bear.
ONE_OF_EACH = DestinationLimits(connections=3, window=2, rate=5.0, retry=RetryPolicy(intervals=(90.0,), jitter=0.0, glitch=(30.0,)))


class ManualCarrier:
    """Begins a session when it is asked to, and does nothing with it: the test takes, finishes and ends."""

    def __init__(self) -> None:
        self.attended: list[str] = []
        self.willing = True
        self.stopped: list[float] = []

    def attend(self, destination: Destination) -> None:
        if self.willing:
            self.attended.append(destination.name)
            destination.begin_session()

    async def stop(self, seconds: float) -> None:
        self.stopped.append(seconds)


class Yard:
    """The scheduler and its surroundings.

    ``served`` lists the ids that a session was done with, in order; ``active`` what is being worked on by sessions of ``TaskCarrier``.
    """

    def __init__(self, spool: Spool, limits: Callable[[str], DestinationLimits], settings: DestinationSettings) -> None:
        self.now = NOW
        self.spool = spool
        self.log = KeptLog()
        self.damaged: list[bool] = []
        self.carrier = ManualCarrier()
        self.tasks = TaskCarrier(self)
        self.use_tasks = False
        self.fault: Callable[[str], bool] = lambda queue: False
        filled = replace(settings, carrier_for=self._carrier_for, limits_for=limits)
        scheduling = SchedulerSettings(on_damage=lambda: self.damaged.append(True), destinations=filled)
        self.scheduler = Scheduler(spool, lambda job: None, lambda: self.now, self.log, scheduling)  # type: ignore[arg-type]

    def _carrier_for(self, queue: str) -> Carrier:
        if self.fault(queue):
            raise ValueError("no carrier")
        return self.tasks if self.use_tasks else self.carrier

    def put(self, queue: str, *ids: str, due: float = 0.0, held: str = "") -> list[Entry]:
        """Puts entries into the spool and tells nobody."""
        entries = [Entry(i, "routed", b"r", "", queue, due, held) for i in ids]
        self.spool.append([Put(entry) for entry in entries])
        return entries

    def mail(self, queue: str, *ids: str, size: int = 0) -> None:
        """Queues fresh messages, as Route does."""
        for i in ids:
            self.put(queue, i)
            self.scheduler.enqueue(queue, message_work(b"x" * size, id=i))

    def at(self, queue: str) -> Destination:
        """The destination, which must be in memory."""
        found = self.scheduler.destination(queue)
        assert found is not None, f"{queue} is not in memory"
        return found

    def pass_time(self, seconds: float) -> None:
        """Sets the clock forward, and does what the scheduler's timer would."""
        self.now += seconds
        self.scheduler.wake()

    def drain(self, queue: str) -> list[str]:
        """What one session gets, each message settled at once; the session goes on."""
        found: list[str] = []
        destination = self.scheduler.destination(queue)
        while destination is not None and (job := destination.take()) is not None:
            found.append(id_of(job))
            self.settle(destination, found[-1])
        return found

    def settle(self, destination: Destination, message_id: str) -> None:
        """A message was delivered."""
        self.spool.append([Remove(message_id)])
        destination.succeeded()
        destination.finished(message_id)

    def defer(self, destination: Destination, message_id: str, due: float) -> None:
        """A message was refused for now, and gets a time of its own."""
        entry = self.spool.get(message_id)
        assert entry is not None
        self.spool.append([Put(msgspec.structs.replace(entry, due=due))])
        self.scheduler.later(destination.name, due)
        destination.succeeded()
        destination.finished(message_id)

    def fail(self, destination: Destination, message_id: str = "") -> float:
        """The session of a destination cannot connect: the message that it had keeps its time."""
        until = destination.failed("connection refused")
        if message_id:
            entry = self.spool.get(message_id)
            assert entry is not None
            self.spool.append([Put(msgspec.structs.replace(entry, record=b"tried"))])
            self.scheduler.later(destination.name, entry.due)
            destination.finished(message_id)
        destination.end_session()
        return until


class TaskCarrier:
    """Sessions that are tasks, as a real carrier's are; what a queue's server does is a function of its name.

    ``dead`` servers never answer: their sessions hang until the test lets go of them with ``time_out``.
    """

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self.dead: Callable[[str], bool] = lambda queue: False
        self.per_session = 1_000_000
        self.idle = 0.0
        self.served: list[str] = []
        self.order: list[str] = []
        self.active: Counter[str] = Counter()
        self.sessions: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.gate: asyncio.Event | None = None
        self._hanging: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def attend(self, destination: Destination) -> None:
        destination.begin_session()
        self.sessions[destination.name] += 1
        self.most[destination.name] = max(self.most[destination.name], self.sessions[destination.name])
        task = asyncio.get_running_loop().create_task(self._session(destination))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, seconds: float) -> None:
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)

    def time_out(self) -> None:
        """All connections that hang time out."""
        hanging, self._hanging = self._hanging, []
        for future in hanging:
            if not future.done():
                future.set_result(None)

    @property
    def hanging(self) -> int:
        """How many sessions hang."""
        return len(self._hanging)

    async def _session(self, destination: Destination) -> None:
        try:
            for _ in range(self.per_session):
                job = destination.take()
                if job is None:
                    if not self.idle or not await destination.wait(self.idle):
                        return
                elif not await self._serve(destination, id_of(job)):
                    return
        finally:
            self.sessions[destination.name] -= 1
            destination.end_session()

    async def _serve(self, destination: Destination, message_id: str) -> bool:
        self.active[message_id] += 1
        assert self.active[message_id] == 1, f"{message_id} is worked on twice"
        try:
            if self.dead(destination.name):
                hanging: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._hanging.append(hanging)
                await hanging
                destination.failed("timed out")
                destination.finished(message_id)
                return False
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            self.served.append(message_id)
            self.order.append(destination.name)
            self._yard.settle(destination, message_id)
            return True
        except asyncio.CancelledError:
            destination.finished(message_id)
            raise
        finally:
            self.active[message_id] -= 1


@asynccontextmanager
async def yard(limits: DestinationLimits = LIMITS, folder: Path | None = None, seconds: float = 20, **settings: Any) -> AsyncIterator[Yard]:
    """A yard with an open spool, in memory or in a folder, stopped at the end."""
    spool: Spool = (
        MemorySpool() if folder is None else EmbeddedSpool(EmbeddedSettings(folder / "spool", settle_after=0, settle_interval=0.01))
    )
    await spool.open()
    made = Yard(spool, lambda queue: limits, DestinationSettings(**settings))
    try:
        async with asyncio.timeout(seconds):
            yield made
            assert not made.damaged
    finally:
        await made.scheduler.stop(0)
        await spool.close()


async def until(condition: Callable[[], bool]) -> None:
    """Returns when something is so; the loop goes on meanwhile."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def names(prefix: str, count: int) -> list[str]:
    """``count`` names that sort as they count."""
    return [f"{prefix}{number:06}" for number in range(count)]
