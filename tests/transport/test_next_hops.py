"""Where mail goes: queues by next hop and class, what is held or has no way, schedules, and routes that change while mail is queued."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hosts.running import Running
from penstock import Sink, on
from penstock.events import LocalDelivery, Route, RoutesChanged, Tracked
from penstock.events.plug import Plug
from penstock.sinks.routing import DomainRoute, Routing, RoutingSettings
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.memory import MemorySpool
from penstock.transport.outcome import Action
from penstock.verdicts import Defer, Delivered, Hold, Reroute, RouteTo, Unreachable
from transport.directories import AtStages, Box, Directory, Roads
from transport.remotes import Courier
from transport.sinks import deliver_one, empty


def local(domain: str) -> bool:
    return domain in ("example.com", "client.example")


def running(*sinks: Any, **more: Any) -> Running:
    return Running(*sinks, is_local=local, **more)


async def test_each_domain_has_its_queue_and_local_mail_is_delivered_here() -> None:
    """One message for five domains: four entries, and one delivery at once; they share the content."""
    spool, box = MemorySpool(), Box()
    async with running(box, spool=spool) as server:
        await deliver_one(
            server, "bob@example.com", "x@one.example", "y@two.example", "z@one.example", "v@[192.0.2.7]", "w@[IPv6:2001:db8::1]"
        )
        await server.until(lambda: len(server.kept()) == 4, "queued")
        assert sorted(entry.queue for entry in server.kept()) == ["[192.0.2.7]:25", "[2001:db8::1]:25", "mx:one.example", "mx:two.example"]
        assert {entry.stage for entry in server.kept()} == {"routed"}
        assert len(spool._contents) == 1
    assert box.who == ["bob"]


async def test_a_class_and_a_smart_host_make_one_queue_of_many_domains() -> None:
    """All go to the same next hop: one entry, with all of the recipients; a domain with a route of its own goes to its own MX."""
    table = Routing(RoutingSettings({"news.example": DomainRoute(message_class="bulk")}, "[relay.example]:587"))
    async with running(Plug("routing", table, priority=16384), Box()) as server:
        courier = Courier(server)
        await deliver_one(server, *(f"u@d{n}.example" for n in range(20)), "u@news.example")
        await empty(server)
    assert len(courier.relayed) == 21
    assert {queue for queue, _ in courier.relayed} == {"[relay.example]:587", "mx:news.example;bulk"}


async def test_proposals_form_a_chain() -> None:
    """The table proposes, a sink behind it wraps what was proposed, and all are asked once for each domain."""

    def cautious(event: Route) -> RouteTo | None:
        assert event.proposal is not None
        return RouteTo(event.proposal.next_hop, "slow") if event.destination == "one.example" else None

    roads = Roads(cautious)
    async with running(Plug("routing", Routing(RoutingSettings({}, "relay.example")), priority=16384), roads) as server:
        courier = Courier(server)
        await deliver_one(server, "a@one.example", "b@one.example", "c@two.example")
        await empty(server)
    assert sorted(roads.asked) == ["one.example", "two.example"]
    assert sorted(courier.relayed) == [
        ("mx:relay.example", "c@two.example"), ("mx:relay.example;slow", "a@one.example"), ("mx:relay.example;slow", "b@one.example"),
    ]  # fmt: skip


async def test_what_has_no_way_fails_alone_and_what_is_held_waits_alone() -> None:
    """One message, four fates at Route; a sink that fails puts off only those that it was asked about."""
    fails: list[int] = []

    def answer(event: Route) -> Any:
        if event.destination == "broken.example" and not fails:
            fails.append(1)
            raise RuntimeError("route server is down")
        return {"nowhere.example": Unreachable("5.4.4", "no way"), "held.example": Hold("maintenance")}.get(event.destination)

    box = Box()
    async with running(Roads(answer), box) as server:
        courier = Courier(server)
        await deliver_one(server, "a@one.example", "b@nowhere.example", "c@held.example", "d@broken.example", "bob@example.com")
        await server.until(lambda: len(courier.relayed) == 2 and box.who == ["a", "bob"], "all others are served")
        (entry,) = server.kept()
        assert (entry.held, entry.stage, entry.queue) == ("maintenance", "postcategorized", "")
        # Released by an administrator it goes, whatever the sink still says.
        await server.transport.operations.release(entry.id)
        await empty(server)
    assert {to for _, to in courier.relayed} == {"a@one.example", "c@held.example", "d@broken.example"}
    report = next(content for content in box.contents if b"5.4.4" in content)
    assert b"b@nowhere.example" in report


async def test_a_domain_that_no_mail_can_go_to_is_a_failure() -> None:
    """Such as an address without brackets; a sink may know a way."""
    box = Box()
    async with running(AtStages(PostCategorize=lambda e: e.message.recipients.add("x@192.0.2.1") and None), box) as server:
        Courier(server)
        await deliver_one(server, "bob@example.com")
        await empty(server)
    assert box.who == ["a", "bob"]


async def test_a_route_of_the_recipients_own_is_followed() -> None:
    """A next hop is a queue; another word is for the sinks of LocalDelivery."""
    seen: list[str] = []

    class Look(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def deliver(self, event: LocalDelivery) -> Delivered:
            seen.append(event.recipient.route)
            return Delivered()

    directory = Directory(
        hop=lambda item: item.deliver_by("lmtp:[127.0.0.1]:24"), pipe=lambda item: item.deliver_by("pipe:/bin/vacation ann 2.0")
    )
    async with running(directory, Look()) as server:
        courier = Courier(server)
        await deliver_one(server, "hop@example.com", "pipe@example.com", "plain@example.com")
        await empty(server)
    assert courier.relayed == [("lmtp:[127.0.0.1]:24", "hop@example.com")]
    assert sorted(seen) == ["", "pipe:/bin/vacation ann 2.0"]


async def test_recipients_that_a_sink_adds_at_route_are_routed_too() -> None:
    """Edits count at this stage as at any other."""

    class Adds(Sink[None]):
        @on(Route)
        async def add(self, event: Route) -> None:
            if event.destination == "one.example":
                event.message.recipients.add("copy@two.example")
                event.message.header.add("X-Routed", "1")

    async with running(Adds()) as server:
        courier = Courier(server)
        await deliver_one(server, "a@one.example")
        await empty(server)
    assert sorted(courier.relayed) == [("mx:one.example", "a@one.example"), ("mx:two.example", "copy@two.example")]


async def test_a_local_delivery_may_reroute() -> None:
    """What is not for here after all goes on to another server."""

    class Elsewhere(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def deliver(self, event: LocalDelivery) -> Any:
            return Reroute("[192.0.2.3]:25") if event.recipient.address.local == "moved" else Delivered()

    async with running(Elsewhere()) as server:
        courier = Courier(server)
        await deliver_one(server, "moved@example.com", "bob@example.com")
        await empty(server)
    assert courier.relayed == [("[192.0.2.3]:25", "moved@example.com")]


async def test_a_slow_local_domain_is_in_nobodys_way() -> None:
    """So many deliveries to it wait at once, the rest in its queue; mail for other domains passes."""
    slow, quick = asyncio.Event(), list[str]()

    class Deliver(Sink[None]):
        @on(LocalDelivery)
        async def deliver(self, event: LocalDelivery) -> Delivered:
            if event.recipient.address.domain == "example.com":
                await slow.wait()
            else:
                quick.append(event.recipient.address.local)
            return Delivered()

    async with running(Deliver(), active=30, local_sessions=5) as server:
        client = await server.client()
        for _ in range(60):
            await client.send(b"\r\n", "x@example.com")
        await client.send(b"\r\n", "quick@client.example")
        await server.until(lambda: quick, "the other domain is served")
        assert len([e for e in server.kept() if e.queue == "local:example.com"]) >= 50
        slow.set()
        await empty(server)
        client.close()


async def test_a_suspended_local_queue_keeps_fresh_mail() -> None:
    """Until an administrator resumes it."""
    box = Box()
    async with running(box) as server:
        server.transport.scheduler.suspend("local:example.com", None, "backup")
        await deliver_one(server, "bob@example.com")
        await server.until(lambda: server.kept() and server.kept()[0].queue == "local:example.com", "it waits")
        assert not box.got
        server.transport.scheduler.resume("local:example.com")
        await empty(server)
    assert box.who == ["bob"]


async def test_a_schedule_goes_with_the_queue_and_survives_a_restart(tmp_path: Path) -> None:
    """On demand means that nothing is sent before somebody asks, after a restart too."""
    table = RoutingSettings({"one.example": DomainRoute(schedule="on-demand")})
    async with running(Routing(table), spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        courier = Courier(server)
        await deliver_one(server, "a@one.example", "b@two.example")
        await server.until(lambda: courier.relayed == [("mx:two.example", "b@two.example")], "only the other one is sent")
        await asyncio.sleep(0.05)
        assert [entry.queue for entry in server.kept()] == ["mx:one.example"]
    async with running(spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        courier = Courier(server)
        server.transport.scheduler.wake()
        await asyncio.sleep(0.05)
        assert not courier.relayed
        assert server.node.release_queue("mx:one.example") == 1
        await empty(server)
    assert courier.relayed == [("mx:one.example", "a@one.example")]


async def test_releasing_a_queue_releases_what_is_held_in_it() -> None:
    """As ETRN and a sink may ask."""
    async with running() as server:
        courier = Courier(server)
        courier.go.clear()
        courier.closed.add("mx:one.example")
        await deliver_one(server, "a@one.example")
        await deliver_one(server, "b@one.example")
        await server.until(lambda: len([e for e in server.kept() if e.queue]) == 2, "queued")
        await server.transport.operations.hold(server.kept()[0].id)
        courier.closed.clear()
        courier.go.set()
        assert server.node.release_queue("mx:one.example") == 2
        await empty(server)
    assert len(courier.relayed) == 2


@pytest.mark.parametrize("waiting", [False, True])
async def test_reset_moves_what_is_queued_to_its_new_next_hop(waiting: bool) -> None:
    """All but what goes where it went before; the report says how many; a message is never in two queues."""
    told: list[int] = []
    now = {"hop": "[old.example]:25"}

    class Changing(Sink[None]):
        def road(self, event: Route) -> RouteTo | None:
            return RouteTo(now["hop"]) if event.destination.startswith("m") else None

    class Inline(Changing):
        @on(Route, blocking=False)
        def route(self, event: Route) -> RouteTo | None:
            return self.road(event)

    class Waits(Changing):
        @on(Route)
        async def route(self, event: Route) -> RouteTo | None:
            await asyncio.sleep(0)
            return self.road(event)

    class Told(Sink[None]):
        @on(RoutesChanged)
        async def note(self, event: RoutesChanged) -> None:
            told.append(event.moved)

    async with running(Waits() if waiting else Inline(), Told()) as server:
        courier = Courier(server)
        courier.closed |= {"[old.example]:25", "mx:stays.example"}
        for n in range(120):
            await deliver_one(server, f"u@m{n}.example")
        await deliver_one(server, "u@stays.example")
        await server.until(lambda: len([e for e in server.kept() if e.queue]) == 121, "queued")
        await server.transport.operations.hold(server.kept()[0].id)
        now["hop"] = "[new.example]:25"
        assert await server.node.reset_routes() == 120
        await server.until(lambda: len(courier.relayed) == 119, "they go the new way")
        held, stays = sorted(server.kept(), key=lambda entry: entry.queue)
        assert (held.held, stays.queue) == ("held by the administrator", "mx:stays.example")
        await server.transport.operations.release(held.id)
        courier.closed.clear()
        server.transport.scheduler.retry_now("mx:stays.example")
        await empty(server)
    assert told == [120]
    assert len(set(courier.relayed)) == len(courier.relayed) == 121
    assert {queue for queue, _ in courier.relayed} == {"[new.example]:25", "mx:stays.example"}


async def test_reset_leaves_a_message_alone_that_is_under_way() -> None:
    """What is left of it after its try goes the new way."""
    now = {"hop": "[old.example]:25"}
    answers = {"[old.example]:25": Action.DEFERRED}
    async with running(Roads(lambda event: RouteTo(now["hop"]))) as server:
        courier = Courier(server, lambda queue, to: answers.get(queue, Action.RELAYED))
        courier.go.clear()
        await deliver_one(server, "u@m.example")
        await server.until(lambda: courier.under_way, "under way")
        now["hop"] = "[new.example]:25"
        assert await server.node.reset_routes() == 1
        assert server.kept()[0].queue == "[old.example]:25"
        courier.go.set()
        await empty(server)
    assert courier.relayed == [("[new.example]:25", "u@m.example")]


async def test_a_thousand_recipients_in_as_many_domains() -> None:
    """A question and an entry each, and each is served once."""
    roads = Roads(lambda event: None)
    async with running(roads) as server:
        courier = Courier(server)
        await deliver_one(server, *(f"u@d{n}.example" for n in range(1000)))
        await empty(server)
    assert len(courier.relayed) == len(set(courier.relayed)) == 1000
    assert len(roads.asked) == 1000


async def test_a_message_that_a_sink_puts_off_at_delivery_waits_in_the_queue_of_its_domain() -> None:
    """Each local domain has its own; the others are served."""
    tries: list[str] = []

    class Deliver(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def deliver(self, event: LocalDelivery) -> Any:
            tries.append(event.recipient.address.domain)
            late = event.recipient.address.domain == "client.example" and tries.count("client.example") < 3
            return Defer(after=timedelta(milliseconds=5)) if late else Delivered()

    async with running(Deliver()) as server:
        await deliver_one(server, "x@example.com", "y@client.example")
        await empty(server)
    assert sorted(tries) == ["client.example"] * 3 + ["example.com"]


async def test_what_is_queued_is_tracked() -> None:
    """With the number that readers of the original's tracking logs know."""
    tracked: list[tuple[int, str]] = []

    class Tracks(Sink[None]):
        @on(Tracked)
        async def note(self, event: Tracked) -> None:
            tracked.append((int(event.step), event.details.get("queue", "")))

    async with running(Tracks(), Directory()) as server:
        Courier(server)
        await deliver_one(server, "a@one.example")
        await empty(server)
        await server.dispatcher.drain()
    assert tracked[:2] == [(1024, ""), (1010, "mx:one.example")]


async def test_a_job_of_a_queue_that_the_message_left_is_none() -> None:
    """So that what was read from the spool before it moved is not sent the old way."""
    async with running() as server:
        courier = Courier(server)
        courier.closed |= {"mx:one.example", "[192.0.2.1]:25"}
        await deliver_one(server, "a@one.example")
        await server.until(lambda: server.kept() and server.kept()[0].queue, "queued")
        (old,) = server.kept()
        assert server.transport.load(old) is not None
        await server.transport.operations.reroute(old.id, "[192.0.2.1]")
        assert server.transport.load(old) is None
        (new,) = server.kept()
        assert server.transport.load(new) is not None
        await server.transport.operations.hold(old.id)
        assert server.transport.load(new) is None
