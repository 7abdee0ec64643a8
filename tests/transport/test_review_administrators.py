"""Administrators act on messages that are worked on, or about which a sink is asked: the wish is carried out, once, and wholly."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from hosts.running import Running
from penstock import Sink, on
from penstock.events import Bounce, Route
from penstock.mail.nexthop import NextHop
from penstock.queue.destination import Destination
from penstock.queue.job import id_of
from penstock.transport.operations import Done
from penstock.transport.outcome import Action, Result
from penstock.verdicts import RouteTo
from transport.directories import Box
from transport.remotes import Courier
from transport.sinks import deliver_one, empty


def running(*sinks: object) -> Running:
    return Running(*sinks, is_local=lambda domain: domain == "client.example")  # type: ignore[arg-type]


class Apart(Courier):
    """Puts each recipient off to another time, so that what is left of a message is several messages."""

    async def _session(self, destination: Destination) -> None:
        try:
            while (job := destination.take()) is not None:
                work = self.server.transport.load(job)
                if work is not None:
                    self.under_way.append(work.record.id)
                    await self.go.wait()
                    results = [
                        Result(r, Action.DEFERRED, "4.2.0", "later", after=timedelta(hours=1 + number))
                        for number, r in enumerate(work.record.envelope.recipients)
                    ]
                    step = self.server.transport.settle(work, destination.name, results)
                    assert step is None
                    self.under_way.remove(work.record.id)
                destination.finished(id_of(job))
        finally:
            destination.end_session()


async def two_under_way(server: Running, courier: Courier) -> str:
    courier.go.clear()
    await deliver_one(server, "a@one.example", "b@one.example")
    await server.until(lambda: courier.under_way, "under way")
    return str(courier.under_way[0])


async def test_a_message_that_is_removed_under_way_leaves_nothing_even_if_its_try_made_two_of_it() -> None:
    """Its recipients were put off to different times: what was split off is removed too, and not held for ever."""
    async with running() as server:
        courier = Apart(server)
        message_id = await two_under_way(server, courier)
        assert await server.transport.operations.remove(message_id) is Done.LATER
        courier.go.set()
        await empty(server)


async def test_a_message_that_is_bounced_under_way_is_bounced_for_all_even_if_its_try_made_two_of_it() -> None:
    """The sender hears of both recipients."""
    box = Box()
    async with running(box) as server:
        courier = Apart(server)
        message_id = await two_under_way(server, courier)
        assert await server.transport.operations.bounce(message_id) is Done.LATER
        courier.go.set()
        await empty(server)
    told = b"".join(box.contents)
    assert b"a@one.example" in told
    assert b"b@one.example" in told


async def test_a_message_that_is_rerouted_under_way_is_rerouted_whole() -> None:
    """Both halves."""
    async with running() as server:
        courier = Apart(server)
        message_id = await two_under_way(server, courier)
        courier.closed.add("[192.0.2.1]:25")
        assert await server.transport.operations.reroute(message_id, "[192.0.2.1]:25") is Done.LATER
        courier.go.set()
        await server.until(lambda: not courier.under_way, "the try ended")
        await asyncio.sleep(0)
        assert {entry.queue for entry in server.kept()} == {"[192.0.2.1]:25"}


async def test_a_reset_of_routes_does_not_make_a_removal_forgotten() -> None:
    """A message under way was removed; then routes change, before its try ends."""

    class Routes(Sink[None]):
        hop = "mx:one.example"

        @on(Route, blocking=False)
        def route(self, event: Route) -> RouteTo:
            return RouteTo(NextHop.parse(self.hop))

    routes = Routes()
    async with running(routes) as server:
        courier = Courier(server, lambda queue, to: Action.DEFERRED)
        courier.go.clear()
        await deliver_one(server, "a@one.example")
        await server.until(lambda: courier.under_way, "under way")
        assert await server.transport.operations.remove(courier.under_way[0]) is Done.LATER
        routes.hop = "mx:two.example"
        await server.node.reset_routes()
        courier.go.set()
        await empty(server)


class Asked(Sink[None]):
    """Takes its time about reports."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.asked = 0

    @on(Bounce)
    async def think(self, event: Bounce) -> None:
        self.asked += 1
        await self.go.wait()


async def queued(server: Running, courier: Courier) -> str:
    courier.closed.add("mx:one.example")
    await deliver_one(server, "u@one.example")
    await server.until(lambda: server.kept() and server.kept()[0].queue, "queued")
    return str(server.kept()[0].id)


async def test_a_message_that_is_bounced_twice_makes_one_report() -> None:
    """The second time while a sink still thinks about the report of the first."""
    sink, box = Asked(), Box()
    async with running(sink, box) as server:
        courier, operations = Courier(server), server.transport.operations
        message_id = await queued(server, courier)
        await operations.bounce(message_id)
        await server.until(lambda: sink.asked, "asked")
        await operations.bounce(message_id)
        await asyncio.sleep(0)
        sink.go.set()
        await empty(server)
    assert len(box.contents) == 1


async def test_a_message_is_not_sent_while_it_is_being_bounced() -> None:
    """Released while a sink thinks about the report: it is bounced, or sent, and not both."""
    sink, box = Asked(), Box()
    async with running(sink, box) as server:
        courier, operations = Courier(server), server.transport.operations
        message_id = await queued(server, courier)
        await operations.bounce(message_id)
        await server.until(lambda: sink.asked, "asked")
        courier.closed.clear()
        await operations.release(message_id)
        await asyncio.sleep(0.05)
        sink.go.set()
        await empty(server)
    assert len(box.contents) + len(courier.relayed) == 1
