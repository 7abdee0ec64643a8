"""Many destinations and many messages: nobody waits for the dead, nobody is starved, and memory is bounded."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from events.harness import NOW
from penstock.queue.throttle import Standing
from penstock.storage.base import Entry, Put
from support.yard import LIMITS, Yard, names, until, yard

LIVE = "mx:live.example"
ONE = replace(LIMITS, connections=1)


def deliver_one(y: Yard, queue: str, message_id: str) -> bool:
    """Queues a message, and whether a session has it at once, without a turn of the loop."""
    before = y.carrier.attended.count(queue)
    y.mail(queue, message_id)
    destination = y.at(queue)
    found = y.carrier.attended.count(queue) > before and y.drain(queue) == [message_id]
    if destination.sessions:
        destination.end_session()
    return found


async def test_a_thousand_dead_destinations_do_not_delay_a_live_one() -> None:
    """Each dead one holds its session for ever, as a connection does that times out."""
    async with yard(sessions=100) as y:
        assert deliver_one(y, LIVE, "first")
        dead = names("mx:dead", 1000)
        for number, queue in enumerate(dead):
            y.mail(queue, f"d{number}")
        hanging = [d for d in y.scheduler.destinations() if d.sessions]
        assert len(hanging) == 75  # the rest is for those known good
        assert all(deliver_one(y, LIVE, f"live{n}") for n in range(500))
        # They time out, rest, and come back: now they get a quarter, so that a new destination has its place too.
        for _ in range(3):
            while hanging := [d for d in y.scheduler.destinations() if d.sessions and d.name != LIVE]:
                assert deliver_one(y, LIVE, f"live at {y.now} {len(hanging)} {hanging[0].name}")
                for destination in hanging:
                    job = destination.take()
                    y.fail(destination, job.id if isinstance(job, Entry) else job.record.id if job else "")
            y.pass_time(max(d.until for d in y.scheduler.destinations()) - y.now + 1)
            for _ in range(4):
                y.pass_time(0)
            assert sum(d.sessions for d in y.scheduler.destinations()) == 25
            assert deliver_one(y, f"mx:new at {y.now}.example", f"new at {y.now}")


async def test_probing_a_thousand_dead_destinations_after_a_start_is_bounded() -> None:
    async with yard(sessions=100) as y:
        for number, queue in enumerate(names("mx:dead", 1000)):
            y.put(queue, f"d{number}")
        y.put(LIVE, "live")
        y.scheduler.wake()
        y.pass_time(0)
        assert sum(d.sessions for d in y.scheduler.destinations()) == 75
        # Nothing but those that are served has anything in memory.
        assert y.scheduler._destinations.stock.ready == 75


async def test_one_with_a_long_backlog_does_not_starve_the_others() -> None:
    async with yard(ONE, sessions=4) as y:
        y.use_tasks = True
        y.tasks.per_session = 5
        y.mail("mx:hog.example", *names("h", 300))
        for number in range(20):
            y.mail(f"mx:small{number}.example", f"s{number}")
        await until(lambda: sum(name.startswith("s") for name in y.tasks.served) == 20)
        assert sum(name.startswith("h") for name in y.tasks.served) < 60
        await until(lambda: not y.spool.count())


async def test_destinations_with_backlogs_share_the_sessions_and_the_throughput() -> None:
    """The first took all sessions before the others came; it gives back what is beyond its share."""
    async with yard(replace(LIMITS, connections=20, window=20), sessions=20, reserved=0.0) as y:
        y.use_tasks = True
        y.mail("mx:a.example", *names("a", 4000))
        await until(lambda: len(y.tasks.served) > 200)
        assert y.tasks.sessions["mx:a.example"] == 20
        for queue in "bcde":
            y.mail(f"mx:{queue}.example", *names(queue, 1000))
        begin = len(y.tasks.served)
        await until(lambda: len(y.tasks.served) > begin + 2000)
        counts = Counter(name[0] for name in y.tasks.served[begin:])
        assert all(280 < counts[queue] < 600 for queue in "abcde"), counts


async def test_an_idle_session_makes_room_for_another_destination() -> None:
    async with yard(ONE, sessions=2, reserved=0.0) as y:
        y.use_tasks = True
        y.tasks.idle = 1000.0
        for queue in ("mx:a.example", "mx:b.example"):
            y.mail(queue, f"for {queue}")
        await until(lambda: len(y.scheduler._destinations.idle) == 2)
        y.mail("mx:c.example", "c")
        await until(lambda: "c" in y.tasks.served)
        assert len(y.scheduler._destinations.idle) <= 2


async def test_memory_is_bounded_in_number_and_octets_whatever_comes() -> None:
    async with yard(ONE, sessions=10, ready=50, ready_each=20, ready_octets=10_000) as y:
        stock = y.scheduler._destinations.stock
        y.mail("mx:a.example", *names("a", 100))
        assert len(y.at("mx:a.example").ready) == 20
        for queue in range(20):
            y.mail(f"mx:q{queue}.example", *names(f"q{queue}-", 10), size=300)
        assert stock.ready <= 50 + 10 * 10  # ten for each session when the rest is used up
        assert stock.octets <= 10_000
        y.mail("mx:large.example", "large", size=50_000)
        assert stock.octets <= 10_000
        y.use_tasks = True
        done = 0
        while y.spool.count():
            for destination in y.scheduler.destinations():
                done += len(y.drain(destination.name))
                assert stock.ready <= 50 + 10 * 10
                if destination.sessions:
                    destination.end_session()
            await until(lambda: not y.tasks.sessions.total())
            y.pass_time(1)
        assert (stock.ready, stock.octets) == (0, 0)


@pytest.mark.parametrize("mode", ["at the start", "one after the other"])
async def test_a_hundred_thousand_messages_of_one_queue_go_in_order_with_two_hundred_in_memory(tmp_path: Path, mode: str) -> None:
    ids = names("m", 100_000)
    async with yard(ONE, folder=tmp_path, seconds=120) as y:
        entries = [Entry(i, "routed", b"r", "", LIVE) for i in ids]
        for begin in range(0, len(ids), 1000):
            y.spool.append([Put(entry) for entry in entries[begin : begin + 1000]])
        if mode == "at the start":
            y.scheduler.wake()
        else:
            for entry in entries:
                y.scheduler.enqueue(LIVE, entry)
        destination = y.at(LIVE)
        assert len(destination.ready) <= 200
        got: list[str] = []
        while (job := destination.take()) is not None and len(got) < 10_000:
            assert isinstance(job, Entry)
            got.append(job.id)
            assert len(destination.ready) <= 200
            y.settle(destination, job.id)
        assert got == ids[:10_000]


async def test_ten_thousand_queues_that_wait_take_little_memory_and_objects_only_when_they_are_due() -> None:
    async with yard(ONE) as y:
        for number, queue in enumerate(names("mx:waiting", 10_000)):
            y.put(queue, f"m{number}", due=NOW + 1000 + number)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        y.scheduler.wake()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert y.scheduler.destinations() == []
        assert grown / 10_000 < 400
        y.pass_time(1005)
        assert len(y.scheduler.destinations()) == 6


async def test_ten_thousand_queues_that_are_due_at_once_are_all_served() -> None:
    async with yard(ONE, sessions=50) as y:
        y.use_tasks = True
        for number, queue in enumerate(names("mx:q", 10_000)):
            y.mail(queue, f"m{number}")
        assert y.scheduler._destinations.stock.ready <= 5000 + 50
        await until(lambda: len(y.tasks.served) == 10_000)
        assert y.tasks.sessions.total() == 0
        for _ in range(60):
            y.pass_time(1)
        assert y.scheduler.destinations() == []
        assert len(y.scheduler._destinations.wakes) == 0


async def test_a_destination_object_that_rests_is_small() -> None:
    async with yard(ONE) as y:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number, queue in enumerate(names("mx:dead", 1000)):
            y.spool.append([Put(Entry(f"m{number}", "routed", b"", "", queue))])
            y.scheduler.later(queue, 0.0)
            if destination := y.scheduler.destination(queue):
                while destination.sessions:
                    y.fail(destination)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert all(d.throttle.standing is Standing.FAILING for d in y.scheduler.destinations())
        assert grown / 1000 < 6000


async def test_stop_under_load_takes_nothing_more_and_leaves_the_rest_in_the_spool() -> None:
    async with yard(sessions=20) as y:
        y.use_tasks = True
        y.tasks.dead = lambda queue: queue == "mx:dead.example"
        y.mail("mx:dead.example", "hangs")
        for number in range(10):
            y.mail(f"mx:q{number}.example", *names(f"q{number}-", 200))
        await until(lambda: len(y.tasks.served) > 100)
        await y.scheduler.stop(0.05)
        served = len(y.tasks.served)
        assert y.tasks.sessions.total() == 0
        assert y.spool.count() == 2001 - served
        for number in range(10):
            y.mail(f"mx:q{number}.example", f"late{number}")
        y.scheduler.wake()
        y.scheduler.retry_now("mx:q1.example")
        y.scheduler.suspend("mx:q1.example", None, "")
        await until(lambda: True)
        assert len(y.tasks.served) == served
