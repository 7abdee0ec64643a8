"""Other bindings in transport: what is under way ends with those that it began with, and is counted until it does."""

from __future__ import annotations

import asyncio

from delivery.stand import Stand, hop_settings, sent
from hosts.running import Running
from penstock import Sink, on
from penstock.delivery.settings import HopLimits
from penstock.events import Deferred, LocalDelivery, MessageStart, PostCategorize, Route, Submission
from penstock.events.binding import Bindings
from penstock.events.plug import Plug
from penstock.verdicts import Defer, Delivered
from support.remote import Remote
from transport.sinks import Mailbox, deliver_one, empty


class Noting(Sink[None]):
    """Notes who was asked, and waits at Submission and at each delivery until it may go on."""

    def __init__(self, name: str, seen: list[str], deliveries: bool = False) -> None:
        super().__init__()
        self.name, self.seen, self.deliveries = name, seen, deliveries
        self.go = asyncio.Event()

    def _note(self, what: str) -> None:
        self.seen.append(f"{self.name} {what}")

    @on(Submission)
    async def submitted(self, event: Submission) -> None:
        self._note("Submission")
        if not self.deliveries:
            await self.go.wait()

    @on(PostCategorize, Route, blocking=False)
    def later(self, event: PostCategorize | Route) -> None:
        self._note(type(event).__name__)

    @on(LocalDelivery)
    async def deliver(self, event: LocalDelivery) -> Delivered:
        self._note("LocalDelivery")
        if self.deliveries:
            await self.go.wait()
        return Delivered(self.name)


def _bindings(*sinks: Sink[None]) -> Bindings:
    return Bindings([Plug(f"sink{number}", sink) for number, sink in enumerate(sinks)])


async def test_a_message_in_the_middle_of_its_stages_keeps_its_bindings_to_its_delivery() -> None:
    seen: list[str] = []
    old, new = Noting("old", seen), Noting("new", seen)
    new.go.set()
    async with Running(old) as server:
        await deliver_one(server, "bob@example.com")
        await server.until(lambda: seen == ["old Submission"], "the old sink waits")
        await server.until(lambda: server.bindings.uses.count == 1, "it is counted, and its session is over")
        after = _bindings(new)
        server.transport.rebind(after)
        await deliver_one(server, "carol@example.com")
        steps = ("Submission", "PostCategorize", "Route", "LocalDelivery")
        await server.until(lambda: seen[1:] == [f"new {step}" for step in steps], "the new one is delivered")
        await server.until(lambda: server.bindings.uses.count == 1, "it is counted, and its session is over")
        old.go.set()
        await empty(server)
        assert seen[5:] == [f"old {step}" for step in steps[1:]]
        await server.until(lambda: server.bindings.uses.count == after.uses.count == 0, "nobody is left")


async def test_a_message_for_several_recipients_is_delivered_to_all_by_those_who_began() -> None:
    seen: list[str] = []
    old, new = Noting("old", seen, deliveries=True), Noting("new", seen, deliveries=True)
    new.go.set()
    async with Running(old) as server:
        await deliver_one(server, "bob@example.com", "carol@example.com")
        await server.until(lambda: "old LocalDelivery" in seen, "the old sink waits")
        server.transport.rebind(_bindings(new))
        old.go.set()
        await empty(server)
        assert seen[-2:] == ["old LocalDelivery", "old LocalDelivery"]
        await server.until(lambda: server.bindings.uses.count == 0, "nobody is left")


async def test_the_next_try_of_a_message_that_was_put_off_asks_the_new_bindings() -> None:
    """The local queue's sessions live through it."""
    box = Mailbox()

    class Later(Sink[None]):
        def __init__(self) -> None:
            super().__init__()
            self.told = 0

        @on(LocalDelivery)
        async def deliver(self, event: LocalDelivery) -> Defer:
            return Defer(451, "4.2.0", "not now")

        @on(Deferred)
        async def note(self, event: Deferred) -> None:
            self.told += 1

    old = Later()
    async with Running(old) as server:
        await deliver_one(server, "bob@example.com")
        await server.until(lambda: old.told >= 2, "it is put off")
        server.transport.rebind(_bindings(box))
        await empty(server)
        assert box.recipients == ["bob@example.com"]
        await server.until(lambda: server.bindings.uses.count == 0, "nobody is left")


async def test_a_session_with_a_remote_server_ends_its_message_and_the_next_has_the_new_bindings() -> None:
    """An idle session is not kept for the old generation either."""
    seen: list[str] = []

    class Start(Sink[None]):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name
            self.go = asyncio.Event()

        @on(MessageStart)
        async def look(self, event: MessageStart) -> None:
            seen.append(self.name)
            await self.go.wait()

    old, new = Start("old"), Start("new")
    new.go.set()
    settings = hop_settings(limits=HopLimits(idle=5.0))
    async with Remote() as remote, Stand(f"[127.0.0.1]:{remote.port}", old, settings=settings) as stand:
        before, after = stand.couriers.context.hooks.uses, _bindings(new)
        first, second = stand.mail("a@remote.example"), stand.mail("b@remote.example")
        stand.destination.put(first)
        stand.attend()
        await stand.until(lambda: seen == ["old"], "the message is begun")
        assert before.count == 1
        stand.couriers.rebind(after)
        old.go.set()
        assert sent(await stand.deliver(second))
        assert seen == ["old", "new"]
        assert before.count == 0
        assert after.uses.count == 1
        stand.destination.ended = True
        stand.destination.news.set()
        await stand.until(lambda: after.uses.count == 0, "nobody is left")
    assert len(remote.sessions) == 2
    assert remote.copies() == {"a@remote.example": 1, "b@remote.example": 1}
