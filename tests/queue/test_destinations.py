"""Destinations: what they give to sessions, when, and in what order; every test drives the clock and the sessions by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec

from events.harness import NOW
from penstock.errors import SpoolDamaged
from penstock.queue.job import id_of
from penstock.queue.schedule import Schedule
from penstock.storage.base import Put, Remove
from support.yard import LIMITS, names, until, yard

Q = "mx:example.com"


async def test_fresh_mail_gets_a_session_at_once_and_comes_in_order() -> None:
    async with yard() as y:
        y.mail(Q, "a", "b", "c")
        assert y.carrier.attended == [Q, Q, Q]
        assert y.drain(Q) == ["a", "b", "c"]
        assert y.spool.count() == 0


async def test_no_more_sessions_begin_than_there_are_messages_nor_than_the_window_has() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        assert y.at(Q).sessions == 1
        y.mail(Q, *names("m", 20))
        assert y.at(Q).sessions == LIMITS.window == 5


async def test_the_window_opens_with_success_up_to_the_limit() -> None:
    async with yard(replace(LIMITS, connections=8)) as y:
        y.mail(Q, *names("m", 150))
        y.drain(Q)
        y.mail(Q, *names("n", 100))
        assert y.at(Q).sessions == 8
        assert len(y.carrier.attended) == 8


async def test_what_is_due_later_comes_then_and_not_before() -> None:
    async with yard() as y:
        y.put(Q, "later", due=NOW + 100)
        y.scheduler.later(Q, NOW + 100)
        y.pass_time(99)
        assert y.carrier.attended == []
        y.pass_time(1)
        assert y.drain(Q) == ["later"]


async def test_all_queues_are_known_at_the_start_and_what_is_held_is_left_alone() -> None:
    async with yard() as y:
        y.put(Q, "a", "b")
        y.put("mx:other.example", "c", due=NOW + 10)
        y.put("mx:held.example", "d", held="by hand")
        y.put("", "transport's")
        y.scheduler.wake()
        assert y.drain(Q) == ["a", "b"]
        assert y.scheduler.destination("mx:other.example") is None
        y.pass_time(10)
        assert y.drain("mx:other.example") == ["c"]
        assert set(y.carrier.attended) == {Q, "mx:other.example"}
        assert y.spool.count() == 2


async def test_a_released_message_comes_when_the_scheduler_is_told() -> None:
    async with yard() as y:
        y.put(Q, "a", held="by hand")
        y.scheduler.wake()
        y.put(Q, "a")
        y.scheduler.later(Q, 0.0)
        assert y.drain(Q) == ["a"]


async def test_a_greylisted_message_keeps_its_time_whatever_the_destination_does() -> None:
    async with yard() as y:
        y.mail(Q, "grey", "white")
        destination = y.at(Q)
        job = destination.take()
        assert job is not None
        y.defer(destination, id_of(job), NOW + 300)
        assert y.drain(Q) == ["white"]
        y.mail(Q, "more")
        assert y.drain(Q) == ["more"]
        y.pass_time(299)
        assert y.drain(Q) == []
        y.pass_time(1)
        assert y.drain(Q) == ["grey"]


async def test_a_time_that_is_told_while_its_message_is_worked_on_is_kept_when_it_is_past_already() -> None:
    """The spool is looked at while the message is still being worked on, so it is passed over; its end has to bring it back."""
    async with yard() as y:
        y.mail(Q, "a")
        destination = y.at(Q)
        assert destination.take() is not None
        y.scheduler.later(Q, NOW - 1)
        assert destination.take() is None
        destination.finished("a")
        assert id_of(destination.take() or y.put(Q, "none")[0]) == "a"


async def test_a_destination_that_cannot_be_reached_rests_and_nothing_of_it_stays_in_memory() -> None:
    async with yard(replace(LIMITS, connections=1)) as y:
        y.mail(Q, "a", "b", "c", size=1000)
        destination = y.at(Q)
        assert destination.take() is not None
        assert y.fail(destination, "a") == NOW + 60
        assert (destination.state, destination.last_error) == ("backing-off", "connection refused")
        assert (len(destination.ready), y.scheduler._destinations.stock.octets) == (0, 0)
        begun = len(y.carrier.attended)
        y.mail(Q, "d")
        y.pass_time(59)
        assert len(y.carrier.attended) == begun
        assert (len(destination.ready), destination.take()) == (0, None)


async def test_one_session_finds_out_whether_it_is_back_and_then_all_is_used_at_once() -> None:
    async with yard() as y:
        y.mail(Q, *names("m", 20))
        destination = y.at(Q)
        for _ in range(5):
            job = destination.take()
            y.fail(destination, id_of(job) if job else "")
        assert destination.sessions == 0
        y.pass_time(60)
        assert destination.sessions == 1
        job = destination.take()
        assert job is not None
        assert destination.take() is None or destination.sessions == 1
        destination.succeeded()
        assert (destination.state, destination.sessions) == ("active", 5)
        assert [line["event"] for line in y.log.lines] == ["destination rests", "destination is back"]
        assert y.log.lines[0] == {"event": "destination rests", "queue": Q, "reason": "connection refused", "until": NOW + 60}
        assert len(y.drain(Q)) >= 18


async def test_rests_grow_from_glitches_to_the_schedule() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        rests = []
        for _ in range(5):
            destination = y.at(Q)
            job = destination.take()
            assert job is not None
            rests.append(y.fail(destination, "a") - y.now)
            y.pass_time(rests[-1])
        assert rests == [60, 60, 900, 1800, 3600]


async def test_a_message_that_was_not_tried_is_first_again_and_one_that_was_skipped_last() -> None:
    async with yard() as y:
        y.mail(Q, "a", "b", "c")
        destination = y.at(Q)
        job = destination.take()
        assert job is not None
        destination.give_back(job)
        again = destination.take()
        assert again is job
        destination.give_back(job, last=True)
        assert y.drain(Q) == ["b", "c", "a"]


async def test_what_every_session_skips_is_not_offered_in_a_circle() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        for _ in range(3):
            destination = y.at(Q)
            job = destination.take()
            assert job is not None
            destination.give_back(job, last=True)
            destination.end_session()
            assert (destination.take(), destination.sessions) == (None, 0)
            y.pass_time(10)
        assert y.drain(Q) == ["a"]


async def test_a_suspended_queue_gives_nothing_until_it_is_resumed_or_the_time_is_over() -> None:
    async with yard() as y:
        y.mail(Q, "a", "b")
        destination = y.at(Q)
        y.scheduler.suspend(Q, None, "maintenance")
        assert (destination.state, destination.suspended_for, destination.take()) == ("suspended", "maintenance", None)
        while destination.sessions:
            destination.end_session()
        y.mail(Q, "c")
        y.pass_time(1_000_000)
        assert destination.sessions == 0
        y.scheduler.resume(Q)
        assert y.drain(Q) == ["a", "b", "c"]
        y.scheduler.suspend(Q, y.now + 50, "for a while")
        y.mail(Q, "d")
        y.pass_time(49)
        assert y.drain(Q) == []
        y.pass_time(1)
        assert y.drain(Q) == ["d"]
        assert y.at(Q).suspended_until == 0


async def test_a_queue_on_demand_waits_until_somebody_asks_and_is_then_tried_once() -> None:
    async with yard(replace(LIMITS, schedule=Schedule.parse("on-demand"))) as y:
        y.mail(Q, "a", "b")
        y.put(Q, "later", due=NOW + 5000)
        y.scheduler.later(Q, NOW + 5000)
        y.pass_time(6000)
        assert y.carrier.attended == []
        assert y.scheduler.destinations() == []
        y.scheduler.retry_now(Q)
        destination = y.at(Q)
        assert y.drain(Q) == ["a", "b", "later"]
        y.mail(Q, "c")
        assert (destination.take(), destination.state) == (None, "closed by schedule")


async def test_retry_now_tries_what_is_due_later_each_once_although_it_is_put_off_again() -> None:
    async with yard(ready_each=3) as y:
        y.put(Q, *names("m", 10), due=NOW + 900)
        y.put(Q, "held", due=NOW + 900, held="by hand")
        y.scheduler.later(Q, NOW + 900)
        y.scheduler.retry_now(Q)
        destination = y.at(Q)
        tried = []
        while (job := destination.take()) is not None:
            tried.append(id_of(job))
            y.defer(destination, tried[-1], NOW + 900)
        assert tried == names("m", 10)
        y.pass_time(900)
        assert y.drain(Q) == names("m", 10)


async def test_retry_now_ends_a_rest_but_not_a_suspension() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        destination = y.at(Q)
        y.fail(destination, "")
        assert destination.state == "backing-off"
        y.scheduler.retry_now(Q)
        assert (destination.state, destination.sessions) == ("active", 1)
        destination.end_session()
        y.scheduler.suspend(Q, None, "by hand")
        y.scheduler.retry_now(Q)
        assert (destination.state, destination.take()) == ("suspended", None)
        y.scheduler.resume(Q)
        assert y.drain(Q) == ["a"]


async def test_asking_for_a_queue_that_has_nothing_makes_nothing() -> None:
    async with yard() as y:
        y.scheduler.retry_now("mx:stranger.example")
        y.scheduler.resume("mx:stranger.example")
        assert y.scheduler.destinations() == []


async def test_a_rate_is_kept_and_its_end_brings_the_session_back() -> None:
    async with yard(replace(LIMITS, rate=0.1)) as y:
        y.mail(Q, "a", "b", "c")
        assert y.drain(Q) == ["a"]
        while y.at(Q).sessions:
            y.at(Q).end_session()
        y.pass_time(9.9)
        assert y.at(Q).sessions == 0
        y.pass_time(0.1)
        assert y.at(Q).sessions == 1
        assert y.drain(Q) == ["b"]
        y.pass_time(10)
        assert y.drain(Q) == ["c"]


async def test_a_queue_is_worked_on_within_its_hours_only() -> None:
    """The hours are those of the zone of this machine, whatever it is."""
    hours = Schedule.parse("20:00-06:00")
    opening = hours.next_opening(NOW) or 0.0
    opening = hours.next_opening(opening + 12 * 3600) or 0.0
    async with yard(replace(LIMITS, schedule=hours)) as y:
        y.now = opening - 3600
        y.mail(Q, "a")
        assert (y.carrier.attended, y.scheduler.destinations()) == ([], [])
        y.pass_time(3599)
        assert y.carrier.attended == []
        y.pass_time(1)
        assert y.drain(Q) == ["a"]
        y.mail(Q, "b", "c")
        destination = y.at(Q)
        y.now += 11 * 3600
        assert (destination.take(), destination.state) == (None, "closed by schedule")
        while destination.sessions:
            destination.end_session()
        y.pass_time(13 * 3600)
        assert y.drain(Q) == ["b", "c"]


async def test_a_schedule_that_came_with_a_message_holds_for_its_queue() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        y.scheduler.set_schedule(Q, "on-demand")
        y.mail(Q, "b")
        assert y.drain(Q) == []
        y.scheduler.retry_now(Q)
        assert y.drain(Q) == ["a", "b"]


async def test_an_idle_session_is_told_of_the_next_message() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        y.drain(Q)
        waiting = asyncio.create_task(y.at(Q).wait(20))
        await until(lambda: bool(y.at(Q).waiters))
        y.mail(Q, "b")
        assert await waiting
        assert y.carrier.attended == [Q]
        assert y.drain(Q) == ["b"]


async def test_an_idle_session_waits_for_its_rate_and_ends_when_its_time_is_over() -> None:
    async with yard(replace(LIMITS, rate=0.5, connections=1)) as y:
        y.mail(Q, "a", "b")
        assert y.drain(Q) == ["a"]
        waiting = asyncio.create_task(y.at(Q).wait(20))
        await until(lambda: bool(y.at(Q).waiters))
        y.pass_time(2)
        assert await waiting
        assert y.drain(Q) == ["b"]
        assert not await y.at(Q).wait(0.01)
        assert not y.at(Q).waiters
        assert not y.scheduler._destinations.idle


async def test_an_idle_session_that_is_cancelled_leaves_no_trace_and_loses_no_message() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        y.drain(Q)
        destination = y.at(Q)
        waiting = asyncio.create_task(destination.wait(20))
        await until(lambda: bool(destination.waiters))
        y.mail(Q, "b")
        waiting.cancel()
        await asyncio.wait([waiting])
        destination.end_session()
        assert not y.scheduler._destinations.idle
        assert destination.sessions == 1
        assert y.drain(Q) == ["b"]


async def test_idle_sessions_end_when_the_queue_rests_or_everything_stops() -> None:
    async with yard() as y:
        y.mail(Q, "a", "b")
        y.drain(Q)
        destination = y.at(Q)
        waiting = asyncio.create_task(destination.wait(20))
        await until(lambda: bool(destination.waiters))
        y.scheduler.suspend(Q, None, "")
        assert not await waiting
        y.scheduler.resume(Q)
        waiting = asyncio.create_task(destination.wait(20))
        await until(lambda: bool(destination.waiters))
        await y.scheduler.stop(1)
        assert not await waiting
        assert not await destination.wait(20)
        y.mail(Q, "c")
        assert destination.take() is None
        assert y.carrier.stopped == [1]


async def test_a_message_that_waits_in_memory_can_be_withdrawn_and_one_that_is_worked_on_cannot() -> None:
    async with yard() as y:
        y.mail(Q, "a", "b", "c")
        destination = y.at(Q)
        destination.take()
        assert y.scheduler.is_active("a")
        assert not y.scheduler.withdraw("a")
        assert not y.scheduler.is_active("b")
        assert y.scheduler.withdraw("b")
        y.spool.append([Remove("b")])
        assert y.drain(Q) == ["c"]
        assert y.scheduler.withdraw("unknown")


async def test_a_message_that_moves_to_another_queue_is_never_in_both() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        first = y.at(Q)
        first.take()
        (entry,) = y.put("mx:other.example", "a")
        y.scheduler.enqueue("mx:other.example", entry)
        assert y.drain("mx:other.example") == []
        first.finished("a")
        assert y.drain("mx:other.example") == ["a"]


async def test_what_is_dealt_with_elsewhere_is_taken_by_nobody_until_it_is_given_free() -> None:
    async with yard() as y:
        y.scheduler.expect("a")
        y.put(Q, "a")
        y.scheduler.later(Q, 0.0)
        assert y.drain(Q) == []
        assert y.scheduler.is_active("a")
        y.scheduler.forget("a")
        assert not y.scheduler.is_active("a")
        assert y.drain(Q) == ["a"]


async def test_a_destination_without_anything_to_do_goes_and_its_window_is_remembered() -> None:
    async with yard() as y:
        y.mail(Q, *names("m", 60))
        y.drain(Q)
        destination = y.at(Q)
        while destination.sessions:
            destination.end_session()
        window = destination.window
        assert window > 10
        y.pass_time(31)
        assert y.scheduler.destinations() == []
        y.mail(Q, "next")
        assert y.at(Q).window == window


async def test_a_notice_that_nobody_gave_is_made_good_before_a_destination_goes() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        y.drain(Q)
        y.put(Q, "forgotten")
        y.put(Q, "forgotten and later", due=NOW + 400)
        y.at(Q).end_session()
        y.pass_time(31)
        assert y.drain(Q) == ["forgotten"]
        y.at(Q).end_session()
        y.pass_time(400)
        assert y.drain(Q) == ["forgotten and later"]


async def test_a_carrier_that_begins_nothing_is_asked_again_after_a_minute() -> None:
    async with yard() as y:
        y.carrier.willing = False
        y.mail(Q, "a", size=100)
        assert (y.carrier.attended, y.scheduler._destinations.stock.octets) == ([], 0)
        y.carrier.willing = True
        y.pass_time(61)
        assert y.drain(Q) == ["a"]


async def test_a_fault_of_the_carrier_or_the_limits_stops_nobody_else() -> None:
    async with yard() as y:
        wrong = {"mx:bad.example"}
        y.fault = lambda queue: queue in wrong
        y.mail("mx:bad.example", "a")
        y.mail(Q, "b")
        assert y.drain(Q) == ["b"]
        assert [line["event"] for line in y.log.lines] == ["destination could not be set up"]
        assert y.spool.get("a") is not None
        wrong.clear()


async def test_a_damaged_index_is_told_once_and_ends_everything() -> None:
    async with yard() as y:
        y.mail(Q, *names("m", 4))

        def due(*_: object) -> list[object]:
            raise SpoolDamaged("the index")

        y.spool.due = due  # type: ignore[method-assign, assignment]
        y.scheduler.later(Q, 0.0)
        y.drain(Q)
        y.scheduler.later("mx:other.example", 0.0)
        assert y.damaged == [True]
        assert y.at(Q).take() is None
        y.damaged.clear()


async def test_an_entry_that_was_changed_in_the_spool_is_read_back_as_it_is_now() -> None:
    async with yard() as y:
        y.mail(Q, "a")
        assert y.scheduler.withdraw("a")
        (entry,) = y.put(Q, "a")
        changed = msgspec.structs.replace(entry, record=b"changed")
        y.spool.append([Put(changed)])
        y.scheduler.later(Q, 0.0)
        job = y.at(Q).take()
        assert job == changed
