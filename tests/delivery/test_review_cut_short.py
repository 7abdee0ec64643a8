"""What a server has answered for counts, whatever happens on our side while that is being looked at."""

from __future__ import annotations

import asyncio

from delivery.stand import Stand, actions
from penstock import Sink, on
from penstock.errors import StorageDamaged
from penstock.events import ServerResponse
from support.remote import Remote


class Thinks(Sink[None]):
    """Takes its time about the answer to the content."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    @on(ServerResponse)
    async def think(self, event: ServerResponse) -> None:
        if event.verb == "CONTENT":
            self.asked.set()
            await asyncio.Event().wait()


async def test_a_message_that_the_server_took_is_not_sent_again_as_this_server_stops_while_a_sink_thinks() -> None:
    """The 250 was here already."""
    sink = Thinks()
    async with Remote() as remote:
        stand = Stand(f"[127.0.0.1]:{remote.port}", sink)
        async with stand:
            work = stand.mail()
            stand.destination.put(work)
            stand.attend()
            await asyncio.wait_for(sink.asked.wait(), 5.0)
            await stand.couriers.stop(0.0)
            assert actions(stand.handover.results[work.record.id]) == {"a": "relayed"}


class Breaks(Sink[None]):
    """Fails in a way for which the dispatcher blames the disk."""

    @on(ServerResponse)
    async def fail(self, event: ServerResponse) -> None:
        if event.verb == "CONTENT":
            raise StorageDamaged("a content")


async def test_a_message_that_the_server_took_is_not_sent_again_as_its_content_cannot_be_read_afterwards() -> None:
    """By a sink that is shown the answer to it."""
    async with Remote() as remote, Stand(f"[127.0.0.1]:{remote.port}", Breaks()) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
