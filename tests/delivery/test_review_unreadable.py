"""What cannot be read is put aside: it neither spins nor keeps the messages behind it waiting."""

from __future__ import annotations

import asyncio

from delivery.stand import hop_settings
from events.harness import KeptLog
from hosts.running import Running
from penstock import Sink, on
from penstock.delivery.courier import CourierParts
from penstock.delivery.couriers import Couriers
from penstock.delivery.mx import Targets, TargetSettings
from penstock.delivery.resolver import Resolver
from penstock.delivery.settings import DeliverySettings
from penstock.errors import SpoolDamaged
from penstock.events import MessageStart
from penstock.queue.policy import Policies, RetryPolicy
from penstock.storage.base import Entry, Put
from penstock.storage.memory import MemorySpool
from penstock.verdicts import Skip
from support.remote import Remote
from transport.sinks import deliver_one


def courier(server: Running) -> KeptLog:
    """Real couriers for a server of the test's loop; their log."""
    log = KeptLog()
    targets = Targets(Resolver(), TargetSettings(own_addresses=()))
    transport = server.transport
    parts = CourierParts(server.node, server.dispatcher, transport, targets, log, transport.hold_damaged)  # type: ignore[arg-type]
    transport.carriers.remote = Couriers(parts, server.bindings, DeliverySettings(lambda queue: hop_settings()))
    return log


async def test_a_record_that_cannot_be_read_is_held_and_those_behind_it_are_sent() -> None:
    """As a newer version may have written it, before somebody went back to this one."""
    async with Remote() as remote, Running() as server:
        log, queue = courier(server), f"[127.0.0.1]:{remote.port}"
        await server.spool.commit([Put(Entry("0BAD", "routed", b"\xc1", "", queue))])
        server.transport.scheduler.later(queue, 0.0)
        await asyncio.sleep(0.2)
        assert [bool(entry.held) for entry in server.kept()] == [True]
        assert len(log.lines) < 5


async def test_a_spool_that_is_found_damaged_by_a_delivery_makes_the_process_begin_anew() -> None:
    """And it does not spin until then."""

    class Breaks(MemorySpool):
        broken = False
        asked = 0

        def get(self, entry_id: str) -> Entry | None:
            if self.broken:
                self.asked += 1
                raise SpoolDamaged("the index")
            return super().get(entry_id)

    spool = Breaks()
    async with Remote() as remote, Running(spool=spool) as server:
        courier(server)
        spool.broken = True
        queue = f"[127.0.0.1]:{remote.port}"
        await spool.commit([Put(Entry("0M", "routed", b"\xc1", "", queue))])
        server.transport.scheduler.later(queue, 0.0)
        await asyncio.sleep(0.2)
        asked, spool.broken = spool.asked, False
    assert asked < 5


class Never(Sink[None]):
    """Leaves each message for another connection, always."""

    asked = 0

    @on(MessageStart, blocking=False)
    def skip(self, event: MessageStart) -> Skip:
        self.asked += 1
        return Skip("not on this one")


async def test_a_message_that_is_always_left_for_another_connection_is_given_up_in_the_end() -> None:
    """Its sender hears of it when its time is over, as of any other that was never sent."""
    sink = Never()
    async with Remote() as remote, Running(sink, is_local=lambda domain: False) as server:
        courier(server)
        await server.transport._aging.stop()
        aging = server.transport._aging
        aging._settings = type(aging._settings)(every=0.05, pause=0.0)
        await deliver_one(server, "u@[127.0.0.1]")
        await server.until(lambda: server.kept() and server.kept()[0].queue, "queued")
        (entry,) = server.kept()
        await server.transport.operations.reroute(entry.id, f"[127.0.0.1]:{remote.port}")
        await server.until(lambda: sink.asked, "skipped")
        server.transport._settler._policies = Policies(RetryPolicy((1.0,), 0.001, 0.0))
        aging.start()
        await server.until(lambda: all(e.id != entry.id for e in server.kept()), "given up")
