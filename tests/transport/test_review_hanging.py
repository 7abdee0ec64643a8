"""Nothing hangs for ever, and nothing runs in a circle: whatever is wrong, a message is sent, reported, or kept where somebody sees it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from hosts.running import Running
from penstock import Sink, on
from penstock.errors import StorageDamaged
from penstock.events import DelayNotice, EndOfData, LocalDelivery, Resolve
from penstock.queue.policy import RetryPolicy
from penstock.storage.memory import MemorySpool
from penstock.verdicts import Defer, Delivered, Forward
from transport.directories import Box
from transport.remotes import Courier
from transport.sinks import deliver_one, empty


async def test_forwards_that_lead_to_the_same_addresses_do_not_multiply() -> None:
    """Each of four forwards to all four: a round has four recipients, not four times as many as the one before."""

    class Circle(Sink[None]):
        asked = 0

        @on(LocalDelivery, blocking=False)
        def forward(self, event: LocalDelivery) -> Forward | Delivered:
            if event.recipient.address.local == "a":
                return Delivered()
            type(self).asked += 1
            return Forward(tuple(f"u{n}@example.com" for n in range(4))) if self.asked < 5000 else Delivered()

    async with Running(Circle()) as server:
        await deliver_one(server, "u0@example.com")
        await empty(server)
    assert Circle.asked <= 4 * 12


async def test_two_who_forward_to_a_third_send_him_one_copy() -> None:
    """As aliases that lead to the same address do."""

    class Both(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def forward(self, event: LocalDelivery) -> Forward | None:
            return Forward(("c@example.com",)) if event.recipient.address.local in "ab" else None

    box = Box()
    async with Running(Both(), box) as server:
        await deliver_one(server, "a@example.com", "b@example.com")
        await empty(server)
    assert box.who == ["c"]


async def test_copies_that_were_split_off_go_on_when_another_directory_fails_at_once() -> None:
    """They are not left until something else happens to wake transport."""

    class Forks(Sink[None]):
        @on(Resolve, blocking=False)
        def fork(self, event: Resolve) -> None:
            found = [r for r in event.message.recipients if r.address.local == "b"]
            if found and len(event.message.recipients) > 1:
                event.message.fork(found)

    class Fails(Sink[None]):
        failures = 0

        @on(Resolve, blocking=False)
        def fail(self, event: Resolve) -> None:
            if not self.failures:
                self.failures += 1
                raise RuntimeError("no connection to the directory")

    box = Box()
    async with Running(Forks(), Fails(), box) as server:
        server.transport._settler._policies = type(server.transport._settler._policies)(RetryPolicy((3600.0,), 7200.0, 0.0))
        await deliver_one(server, "a@example.com", "b@example.com")
        await server.until(lambda: box.who == ["b"], "the copy is delivered")


async def test_the_look_at_old_messages_goes_on_after_one_that_fails() -> None:
    """A sink that is shown a message with a damaged content must not end the look at all others for good."""

    class Damaged(Sink[None]):
        asked = 0

        @on(DelayNotice, blocking=False)
        def look(self, event: DelayNotice) -> None:
            type(self).asked += 1
            if self.asked == 1:
                raise StorageDamaged("a content")

    async with Running(Damaged(), is_local=lambda domain: domain == "client.example") as server:
        aging = server.transport._aging
        await aging.stop()
        aging._settings = type(aging._settings)(every=0.02, pause=0.0)
        courier = Courier(server)
        courier.closed.add("mx:one.example")
        await deliver_one(server, "u@one.example")
        await server.until(lambda: server.kept() and server.kept()[0].queue, "queued")
        server.transport.scheduler.suspend("mx:one.example", None, "test")
        server.transport._settler._policies = type(server.transport._settler._policies)(
            RetryPolicy((3600.0,), 7200.0, 0.0, notices=(0.001,))
        )
        aging.start()
        await server.until(lambda: Damaged.asked >= 2, "looked again")


async def test_a_copy_made_before_acceptance_is_not_worked_on_before_its_sender_was_told() -> None:
    """The disk has not said yes: were it to say no, the client would send all of it again."""

    class Slow(MemorySpool):
        waiting: list[asyncio.Future[None]] = []
        slow = True

        def commit(self, changes: Any) -> asyncio.Future[None]:
            done = super().commit(changes)
            if not self.slow:
                return done
            later: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(later)
            return later

    class Forks(Sink[None]):
        @on(EndOfData, blocking=False)
        def fork(self, event: EndOfData) -> None:
            event.message.fork([r for r in event.message.recipients if r.address.local == "b"])

    box, spool = Box(), Slow()
    async with Running(Forks(), box, spool=spool) as server:
        sending = asyncio.get_running_loop().create_task(deliver_one(server, "a@example.com", "b@example.com"))
        await server.until(lambda: spool.waiting, "committing")
        server.transport.scheduler.wake()
        await asyncio.sleep(0.01)
        before = box.who
        spool.slow = False
        spool.waiting[0].set_result(None)
        await sending
        await empty(server)
    assert before == []
    assert box.who == ["a", "b"]


class Edits(Sink[None]):
    """Rewrites the content and puts it off, the first time; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    @on(LocalDelivery, blocking=False)
    def rewrite(self, event: LocalDelivery) -> None:
        self.seen.append(event.message.content.read())
        if len(self.seen) == 1:
            event.message.replace_content(b"Subject: another\r\nX-Long: " + b"x" * 40 + b"\r\n\r\nAnother text.\r\n")


class PutsOff(Sink[None]):
    """Edits the header of what it is given, and puts it off, the first time."""

    times = 0

    @on(LocalDelivery, blocking=False)
    def put_off(self, event: LocalDelivery) -> Any:
        self.times += 1
        if self.times == 1:
            event.message.header.add("X-Edit", "1")
            return Defer(after=timedelta(milliseconds=5))
        return Delivered()


async def test_content_that_a_delivery_rewrote_before_it_put_the_message_off_stays_whole() -> None:
    """Either what came or what was made of it; never the header of one on the body of the other."""
    sink = Edits()
    async with Running(sink, PutsOff()) as server:
        await deliver_one(server, "u@example.com")
        await empty(server)
    whole = sink.seen[1]
    old = sink.seen[0]
    assert whole == old or (whole.startswith(b"Subject: another") and whole.endswith(b"Another text.\r\n") and b"X-Edit: 1" in whole), whole


async def test_a_member_of_two_lists_of_which_a_sink_takes_one_away_keeps_his_copy() -> None:
    """The other list leads to him too."""

    class Lists(Sink[None]):
        @on(Resolve, blocking=False)
        def expand(self, event: Resolve) -> None:
            first = [r for r in event.message.recipients if r.address.local == "one"]
            if event.round == 2 and first:
                event.message.recipients.remove(first[0])
            for item in event.open:
                if item.address.local in ("one", "two"):
                    item.expand(["member@example.com"])

    box = Box()
    async with Running(Lists(), box) as server:
        await deliver_one(server, "one@example.com", "two@example.com")
        await empty(server)
    assert box.who == ["member"]
