"""The scheduler: a bounded number at once, nothing forgotten in the spool, nothing begun before its time, and errors put aside.

The clock of the scheduler is the test's; its timers are the loop's, so what waits for one is woken by hand, or has a time of a few
hundredths of a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from events.harness import NOW, KeptLog, message_work
from penstock.errors import StorageDamaged
from penstock.events.work import MessageWork
from penstock.mail.content import MemoryContent
from penstock.queue.scheduler import Job, Scheduler, SchedulerSettings
from penstock.storage.base import Entry, Put, Remove
from penstock.storage.memory import MemorySpool


def id_of(job: Job) -> str:
    """The id of what is to be worked on."""
    return job.record.id if isinstance(job, MessageWork) else job.id


class Bench:
    """A scheduler over a spool in memory, and work that ends when the test says so.

    ``begun`` lists what was begun in order; ``finish`` ends one of them and takes it out of the spool; ``at_once`` makes work end
    within the call, as inline sinks do.
    """

    def __init__(self, settings: SchedulerSettings, at_once: bool = False) -> None:
        self.now = NOW
        self.spool = MemorySpool()
        self.log = KeptLog()
        self.begun: list[str] = []
        self.most = 0
        self.at_once = at_once
        self.errors: dict[str, Exception] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Condition()
        self.scheduler = Scheduler(self.spool, self.run, lambda: self.now, self.log, settings)  # type: ignore[arg-type]

    def run(self, job: Job) -> Coroutine[Any, Any, None] | None:
        message_id = id_of(job)
        self.begun.append(message_id)
        if self.at_once:
            if message_id in self.errors:
                raise self.errors[message_id]
            self.spool.append([Remove(message_id)])
            return None
        return self._work(message_id)

    async def _work(self, message_id: str) -> None:
        gate = self._gates[message_id] = asyncio.Event()
        self.most = max(self.most, len(self._gates))
        async with self._changed:
            self._changed.notify_all()
        await gate.wait()
        del self._gates[message_id]
        if message_id in self.errors:
            raise self.errors[message_id]
        self.spool.append([Remove(message_id)])

    async def until_active(self, *ids: str) -> None:
        """Returns when exactly these are worked on."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: set(self._gates) == set(ids)), 10)

    def finish(self, message_id: str) -> None:
        """Ends one."""
        self._gates[message_id].set()

    async def until_empty(self) -> None:
        """Ends whatever is begun, until nothing is left in the spool."""
        while self.spool.count():
            for gate in list(self._gates.values()):
                gate.set()
            await asyncio.sleep(0)

    def put(self, *ids: str, due: float = 0.0, held: str = "") -> None:
        """Puts entries into the spool."""
        self.spool.append([Put(Entry(i, "s", b"", i, "", due, held), MemoryContent(b"")) for i in ids])

    def offer(self, *ids: str, size: int = 0) -> None:
        """Puts messages into the spool and offers them."""
        for i in ids:
            self.put(i)
            self.scheduler.offer(message_work(b"x" * size, id=i))


@asynccontextmanager
async def bench(active: int = 2, ready: int = 2, octets: int = 1000, at_once: bool = False) -> AsyncIterator[Bench]:
    """A bench with an open spool, stopped at the end."""
    made = Bench(SchedulerSettings(active, ready, octets), at_once)
    await made.spool.open()
    async with asyncio.timeout(20):
        yield made
        await made.scheduler.stop(0)


async def test_no_more_than_the_allowed_number_is_worked_on_at_once_and_all_are_in_the_end() -> None:
    async with bench(active=3, ready=5) as b:
        ids = [f"m{n:03}" for n in range(100)]
        b.offer(*ids)
        await b.until_empty()
        assert b.most == 3
        assert sorted(b.begun) == ids


async def test_what_waits_in_memory_is_served_in_order_before_the_spool_is_looked_at() -> None:
    async with bench(active=1, ready=2) as b:
        b.offer("a", "b", "c")
        for current in ("a", "b", "c"):
            await b.until_active(current)
            b.finish(current)
        await b.until_empty()
        assert b.begun == ["a", "b", "c"]


async def test_content_that_would_take_too_much_memory_waits_in_the_spool() -> None:
    async with bench(active=1, ready=100, octets=1000) as b:
        b.offer("a", "b", "c", "d", size=600)
        assert [message_id for message_id, _, _ in b.scheduler._work._ready] == ["b", "c"]
        await b.until_empty()
        assert sorted(b.begun) == ["a", "b", "c", "d"]


async def test_a_backlog_from_before_is_worked_off_after_a_start() -> None:
    async with bench(active=4) as b:
        ids = [f"m{n:03}" for n in range(50)]
        b.put(*ids)
        b.scheduler.wake()
        await b.until_empty()
        assert sorted(b.begun) == ids
        assert b.most == 4


async def test_a_backlog_is_worked_off_when_all_work_ends_within_the_call() -> None:
    async with bench(active=4, at_once=True) as b:
        b.put(*[f"m{n:03}" for n in range(50)])
        b.scheduler.wake()
        await b.until_empty()
        assert len(b.begun) == 50


async def test_what_overflowed_is_looked_for_when_the_last_in_memory_ended_within_the_call() -> None:
    """Only the first takes time; those in memory end at once, so that nobody but the scheduler itself can look into the spool again."""
    async with bench(active=1, ready=1) as b:
        b.offer("a", "b", "c", "d")
        await b.until_active("a")
        b.at_once = True
        b.finish("a")
        await b.until_empty()
        assert sorted(b.begun) == ["a", "b", "c", "d"]


async def test_what_became_due_while_there_was_no_room_is_begun_when_there_is() -> None:
    """The look that its time called for came while all places were taken."""
    async with bench(active=1) as b:
        b.offer("a")
        await b.until_active("a")
        b.put("later", due=NOW + 5)
        b.scheduler.soon(NOW + 5)
        b.now = NOW + 6
        b.scheduler.wake()
        b.finish("a")
        await b.until_active("later")
        b.finish("later")


async def test_a_time_that_is_told_after_a_look_without_room_is_kept() -> None:
    async with bench(active=1) as b:
        b.offer("a")
        await b.until_active("a")
        b.scheduler.soon(NOW)
        b.scheduler.wake()
        b.scheduler.soon(NOW + 30)
        assert b.scheduler._work._alarm.is_set


async def test_nothing_is_begun_before_its_time_nor_while_it_is_held() -> None:
    async with bench() as b:
        b.put("due", due=NOW)
        b.put("future", due=NOW + 100)
        b.put("held", held="quarantined")
        b.scheduler.wake()
        await b.until_active("due")
        b.finish("due")
        await b.until_active()
        b.scheduler.wake()
        assert b.begun == ["due"]
        b.now = NOW + 100
        b.scheduler.wake()
        await b.until_active("future")
        b.finish("future")
        await b.until_active()
        assert b.begun == ["due", "future"]


async def test_the_timer_wakes_for_what_is_due_soonest() -> None:
    async with bench() as b:
        b.put("soon", due=NOW + 0.02)
        b.scheduler.soon(NOW + 50)
        b.scheduler.soon(NOW + 0.02)
        b.scheduler.soon(NOW + 20)
        b.now = NOW + 0.03
        await b.until_active("soon")


async def test_a_message_that_is_worked_on_or_waits_is_not_begun_twice() -> None:
    async with bench(active=2, ready=1) as b:
        b.offer("a")
        await b.until_active("a")
        b.scheduler.wake()
        b.scheduler.wake()
        b.put("b")
        b.scheduler.wake()
        await b.until_active("a", "b")
        assert b.begun == ["a", "b"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_message_on_which_our_own_code_fails_is_put_aside_and_the_rest_goes_on(at_once: bool) -> None:
    async with bench(at_once=at_once) as b:
        b.errors["bad"] = ValueError("a fault of ours")
        b.offer("bad", "good")
        while b.spool.get("good"):
            for gate in list(b._gates.values()):
                gate.set()
            await asyncio.sleep(0)
        entry = b.spool.get("bad")
        assert entry is not None
        assert (entry.due, entry.held) == (NOW + 300, "")
        (line,) = b.log.lines
        assert (line["message"], line["error"]) == ("bad", "ValueError: a fault of ours")
        b.scheduler.wake()
        assert b.begun.count("bad") == 1


async def test_a_message_whose_content_is_damaged_is_held() -> None:
    async with bench(at_once=True) as b:
        b.errors["bad"] = StorageDamaged("checksum of segment 7")
        b.offer("bad")
        entry = b.spool.get("bad")
        assert entry is not None
        assert entry.held == "damaged: checksum of segment 7"


async def test_stop_begins_nothing_more_and_waits_for_what_is_under_way() -> None:
    async with bench(active=1, ready=1) as b:
        b.offer("a", "b")
        b.put("c")
        await b.until_active("a")
        stopping = asyncio.create_task(b.scheduler.stop(10))
        await asyncio.sleep(0)
        b.offer("d")
        b.scheduler.wake()
        b.scheduler.soon(NOW)
        assert not stopping.done()
        b.finish("a")
        await stopping
        assert b.begun == ["a"]
        assert b.spool.count() == 3


async def test_stop_gives_up_on_what_takes_too_long_and_leaves_it_in_the_spool() -> None:
    async with bench() as b:
        b.offer("stuck")
        await b.until_active("stuck")
        await b.scheduler.stop(0.01)
        assert not [task for task in b.scheduler._work._tasks if not task.done()]
        assert b.spool.get("stuck") is not None
