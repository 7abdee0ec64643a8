"""Deliveries here that take their time: who was served already is not served again, when this process ends or another recipient fails."""

from __future__ import annotations

import asyncio

from hosts.running import Running
from penstock import Sink, on
from penstock.errors import StorageDamaged
from penstock.events import LocalDelivery
from penstock.storage.memory import MemorySpool
from penstock.transport.pipeline import Transport
from penstock.verdicts import Delivered
from transport.sinks import deliver_one


class Last(Sink[None]):
    """Delivers at once, but to the last recipient, for whom it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.served: list[str] = []
        self.waits = asyncio.Event()
        self.go = asyncio.Event()

    @on(LocalDelivery)
    async def deliver(self, event: LocalDelivery) -> Delivered:
        local = event.recipient.address.local
        if local == "last":
            self.waits.set()
            await self.go.wait()
        self.served.append(local)
        return Delivered()


def again(server: Running) -> Transport:
    """The next process over the same spool."""
    parts = server.transport._parts
    server.transport = server.node.transport = Transport(parts, server.bindings, server.transport._shop.settings)
    return server.transport


async def test_who_was_delivered_to_before_a_stop_is_not_delivered_to_again() -> None:
    """The stop falls into the wait for the last of three."""
    sink = Last()
    async with Running(sink) as server:
        await deliver_one(server, "one@example.com", "two@example.com", "last@example.com")
        await asyncio.wait_for(sink.waits.wait(), 5.0)
        await server.transport.stop(0.0)
        sink.go.set()
        again(server).start()
        await server.until(lambda: not server.kept(), "the spool is empty")
    assert sorted(sink.served) == ["last", "one", "two"]


async def test_who_was_delivered_to_before_another_failed_is_not_delivered_to_again() -> None:
    """The content turned out to be damaged at the third; two have it."""

    class Breaks(Last):
        @on(LocalDelivery)
        async def deliver(self, event: LocalDelivery) -> Delivered:
            if event.recipient.address.local == "last":
                raise StorageDamaged("a content")
            self.served.append(event.recipient.address.local)
            return Delivered()

    sink, spool = Breaks(), MemorySpool()
    async with Running(sink, spool=spool) as server:
        await deliver_one(server, "one@example.com", "two@example.com", "last@example.com")
        await server.until(lambda: server.kept() and server.kept()[0].held, "held")
        await server.transport.operations.release(server.kept()[0].id)
        await asyncio.sleep(0.05)
    assert sorted(sink.served) == ["one", "two"]
