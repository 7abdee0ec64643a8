"""Messages that nobody tries: told of and given up in time, in bounded steps, and left alone while somebody works on them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from penstock import Sink, on
from penstock.events import Bounce, Deferred
from penstock.mail.message import decode_record
from penstock.storage.base import Entry, Put, Remove
from transport.desk import HOUR, QUEUE, Desk, names, to


async def test_what_nobody_tries_is_told_of_once_and_then_given_up() -> None:
    class Heard(Sink[None]):
        deferred = 0

        @on(Deferred)
        async def note(self, event: Deferred) -> None:
            self.deferred += 1

    heard = Heard()
    async with Desk(heard) as desk:
        work = await desk.message("b@far.example")
        await desk.aging.sweep(QUEUE)
        assert not desk.reports()
        desk.node.ahead = 700
        for _ in range(3):
            await desk.aging.sweep(QUEUE)
        assert [group["Action"] for group in desk.fields()] == ["delayed"]
        (entry,) = desk.kept()
        record = decode_record(entry.record)
        assert (entry.id, entry.due, record.deferrals, record.tried) == (work.record.id, 0.0, 0, 0.0)
        desk.node.ahead = HOUR + 1
        await desk.aging.sweep(QUEUE)
        assert not desk.kept()
        assert desk.fields(1)[0]["Status"] == "4.4.7"
        await desk.dispatcher.drain()
        assert heard.deferred == 0


async def test_all_messages_of_a_queue_are_looked_at_and_of_no_other() -> None:
    """More than one step's worth."""
    async with Desk() as desk:
        for number in range(7):
            await desk.message(to(f"u{number}@far.example", "never"))
        await desk.message(to("x@other.example", "never"), queue="mx:other.example")
        desk.node.ahead = HOUR + 1
        await desk.aging.sweep(QUEUE)
        assert [names(entry) for entry in desk.kept()] == [["x@other.example"]]
        assert not desk.reports()


async def test_what_is_worked_on_held_or_wanted_later_is_left_alone() -> None:
    async with Desk() as desk:
        active = await desk.message("active@far.example")
        desk.scheduler.active.add(active.record.id)
        held, later = await desk.message("held@far.example"), await desk.message("later@far.example")
        for work, change in ((held, {"held": "by root"}), (later, {"due": desk.node.now() + 50 * HOUR})):
            entry = desk.spool.get(work.record.id)
            assert entry
            desk.spool.append([Put(msgspec.structs.replace(entry, **change))])
        desk.node.ahead = 2 * HOUR
        await desk.aging.sweep(QUEUE)
        assert len(desk.kept()) == 3
        assert not desk.reports()


async def test_what_is_tried_while_a_sink_thinks_about_its_report_is_left_to_the_try() -> None:
    """The report is not sent, and the outcome of the try stands."""
    go, came = asyncio.Event(), asyncio.Event()

    class Thinks(Sink[None]):
        @on(Bounce)
        async def think(self, event: Bounce) -> None:
            came.set()
            await go.wait()

    async with Desk(Thinks()) as desk:
        work = await desk.message("b@far.example")
        desk.node.ahead = 2 * HOUR
        sweeping = asyncio.ensure_future(desk.aging.sweep(QUEUE))
        await asyncio.wait_for(came.wait(), 5)
        entry = desk.spool.get(work.record.id)
        assert entry
        desk.spool.append([Put(msgspec.structs.replace(entry, due=5.0))])
        go.set()
        await sweeping
        assert [kept.due for kept in desk.kept()] == [5.0]
        assert not desk.reports()


async def test_a_message_that_is_damaged_stops_nobody_elses_look() -> None:
    async with Desk() as desk:
        await desk.spool.commit([Put(Entry("0BAD", "routed", b"\xc1 no record", "", QUEUE))])
        gone = await desk.message("gone@far.example")
        await desk.message("b@far.example")
        entry = desk.spool.get(gone.record.id)
        assert entry
        desk.spool.append([Put(msgspec.structs.replace(entry, content="nothing"))])
        desk.node.ahead = 2 * HOUR
        await desk.aging.sweep(QUEUE)
        assert desk.spool.get("0BAD")
        desk.spool.append([Remove("0BAD")])
        assert [group["Final-Recipient"] for number in range(2) for group in desk.fields(number)] == [
            "rfc822; gone@far.example",
            "rfc822; b@far.example",
        ]


async def test_it_looks_by_itself_and_ends_when_told_to() -> None:
    async with Desk() as desk:
        await desk.message(to("b@far.example", "never"))
        desk.node.ahead = 2 * HOUR
        gone = asyncio.Event()
        append = desk.spool.append

        def noted(changes: Any) -> None:
            append(changes)
            gone.set()

        desk.spool.append = noted  # type: ignore[method-assign]
        desk.aging._settings = type(desk.aging._settings)(every=0.01)
        desk.aging.start()
        await asyncio.wait_for(gone.wait(), 5)
        await desk.aging.stop()
        assert desk.spool.count() == 0
