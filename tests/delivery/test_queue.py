"""Couriers with real destinations over a real spool: what waits is served, what cannot be reached rests, and all of it ends in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from delivery.stand import FakeHandover, Stand
from delivery.test_outbound_events import answering
from penstock import Sink
from penstock.events import MessageStart
from penstock.events.work import MessageWork
from penstock.mail.message import encode_record
from penstock.queue.destinations import Destinations
from penstock.queue.job import Job, id_of
from penstock.queue.settings import DestinationSettings
from penstock.storage.base import Entry, Put, Remove
from penstock.storage.memory import MemorySpool
from penstock.transport.outcome import Action, Result
from penstock.verdicts import Skip
from support.remote import Remote
from support.script import Connect, Never, Phase, Script, Usual, Wait


class SpoolHandover(FakeHandover):
    """Transport of a few lines: what is done is removed, what is deferred for its destination stays as it is."""

    def __init__(self, spool: MemorySpool) -> None:
        super().__init__()
        self.spool = spool
        self.works: dict[str, MessageWork] = {}

    def load(self, job: Job) -> MessageWork | None:
        return self.works[id_of(job)]

    def settle(self, work: MessageWork, queue: str, results: list[Result]) -> None:
        super().settle(work, queue, results)
        if all(r.action in (Action.RELAYED, Action.DELIVERED) for r in results):
            self.spool.append([Remove(work.record.id)])


class Node:
    """Couriers of a stand, and destinations of their own."""

    def __init__(self, stand: Stand, spool: MemorySpool, handover: SpoolHandover) -> None:
        self.stand = stand
        self.spool = spool
        self.handover = handover
        settings = DestinationSettings(carrier_for=lambda queue: stand.couriers)
        self.destinations = Destinations(spool, time.time, stand.log, settings, lambda what: None)  # type: ignore[arg-type]

    def send(self, queue: str, count: int = 1) -> list[MessageWork]:
        works = [self.stand.mail() for _ in range(count)]
        for work in works:
            entry = Entry(work.record.id, "routed", encode_record(work.record), work.content_id, queue)
            self.handover.works[work.record.id] = work
            self.spool.append([Put(entry, work.content)])
            self.destinations.enqueue(queue, work, 0.0)
        return works

    def state(self, queue: str) -> Any:
        return self.destinations.get(queue)


@asynccontextmanager
async def node(*sinks: Sink[Any]) -> AsyncIterator[Node]:
    spool = MemorySpool()
    await spool.open()
    handover = SpoolHandover(spool)
    async with Stand("unused", *sinks, handover=handover) as stand:
        running = Node(stand, spool, handover)
        yield running
        await running.destinations.stop(5.0)


async def test_everything_that_waits_goes_out() -> None:
    async with Remote() as remote, node() as running:
        running.send(f"[127.0.0.1]:{remote.port}", 100)
        await running.stand.until(lambda: not running.spool.count(), "the spool is empty")
        assert remote.copies().total() == 100
    assert 1 < remote.most_open <= 20
    assert remote.faults == []


async def test_a_destination_out_of_reach_rests_and_keeps_its_mail_while_another_is_served() -> None:
    async with Remote(Script(connect=Connect.REFUSE)) as dead, Remote() as live, node() as running:
        queue = f"[127.0.0.1]:{dead.port}"
        running.send(queue, 20)
        running.send(f"[127.0.0.1]:{live.port}", 20)
        await running.stand.until(lambda: live.copies().total() == 20, "the live one got its mail")
        await running.stand.until(lambda: running.state(queue).state == "backing-off", "the dead one rests")
        await running.stand.until(lambda: not running.state(queue).sessions, "nobody tries it any more")
        assert running.spool.count() == 20
        assert "refused" in running.state(queue).last_error.lower()


async def test_a_message_that_is_always_skipped_does_not_keep_the_server_busy() -> None:
    async with Remote() as remote, node(answering(MessageStart, Skip())) as running:
        queue = f"[127.0.0.1]:{remote.port}"
        running.send(queue, 3)
        await running.stand.until(lambda: running.state(queue).pause, "the destination rests")
        await running.stand.until(lambda: not running.state(queue).sessions, "nobody tries it any more")
        assert len(remote.sessions) < 10
        assert running.spool.count() == 3


async def test_idle_sessions_end_when_everything_stops() -> None:
    async with Remote() as remote, node() as running:
        running.send(f"[127.0.0.1]:{remote.port}")
        await running.stand.until(lambda: not running.spool.count(), "the spool is empty")
        began = time.monotonic()
        await running.destinations.stop(10.0)
        assert time.monotonic() - began < 3.0
    assert [s.end for s in remote.sessions] == ["QUIT"]


async def test_a_stop_in_the_middle_loses_nothing_and_sends_nothing_twice() -> None:
    async with Remote(Script({Phase.END: [Wait(0.01), Usual()]})) as remote, node() as running:
        running.send(f"[127.0.0.1]:{remote.port}", 200)
        await running.stand.until(lambda: remote.copies().total() >= 20, "some are sent")
        await running.destinations.stop(5.0)
        assert remote.copies().total() + running.spool.count() == 200
        assert running.spool.count() > 0


async def test_a_server_that_hangs_is_left_when_everything_stops() -> None:
    async with Remote(Script({Phase.RCPT: [Never()]})) as remote, node() as running:
        running.send(f"[127.0.0.1]:{remote.port}", 3)
        await running.stand.until(lambda: remote.sessions, "a session has begun")
        await asyncio.wait_for(running.destinations.stop(0.1), 5.0)
        assert running.spool.count() == 3
        assert not running.handover.settled
