"""What an administrator does to single messages: each does what it says, also to a message that is just being worked on."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from hosts.running import Running
from penstock import Sink, on
from penstock.events import PreCategorize
from penstock.mail.content import chunks
from penstock.storage.base import Entry, Put
from penstock.transport.operations import Done
from penstock.transport.outcome import Action
from transport.directories import AtStages, Box
from transport.remotes import Courier
from transport.sinks import deliver_one, empty


def running(*sinks: object) -> Running:
    return Running(*sinks, is_local=lambda domain: domain == "client.example")  # type: ignore[arg-type]


async def queued(server: Running, courier: Courier) -> str:
    """The id of one message that waits in a queue that nobody serves."""
    courier.closed.add("mx:one.example")
    await deliver_one(server, "u@one.example")
    await server.until(lambda: server.kept() and server.kept()[0].queue, "queued")
    return str(server.kept()[0].id)


async def under_way(server: Running, courier: Courier) -> str:
    """The id of one message that a session has just taken."""
    courier.go.clear()
    await deliver_one(server, "u@one.example")
    await server.until(lambda: courier.under_way, "under way")
    return str(courier.under_way[0])


async def test_hold_and_release() -> None:
    """Held it is not sent, released it is; both are told apart from what is so already."""
    async with running() as server:
        courier, operations = Courier(server), server.transport.operations
        message_id = await queued(server, courier)
        assert await operations.release(message_id) is Done.ALREADY
        assert await operations.hold(message_id, "look at it") is Done.DONE
        assert await operations.hold(message_id) is Done.ALREADY
        courier.closed.clear()
        server.transport.scheduler.retry_now("mx:one.example")
        await asyncio.sleep(0.02)
        assert server.kept()[0].held == "look at it"
        assert await operations.release(message_id) is Done.DONE
        await empty(server)
    assert len(courier.relayed) == 1


async def test_a_message_that_is_unknown_is_said_to_be() -> None:
    """By all of them."""
    async with running() as server:
        operations = server.transport.operations
        assert await operations.hold("0NONE") is Done.UNKNOWN
        assert await operations.release("0NONE") is Done.UNKNOWN
        assert await operations.retry("0NONE") is Done.UNKNOWN
        assert await operations.remove("0NONE") is Done.UNKNOWN
        assert await operations.bounce("0NONE") is Done.UNKNOWN
        assert await operations.reroute("0NONE", "mx:x.example") is Done.UNKNOWN
        assert await operations.cat("0NONE") is None


async def test_hold_of_a_message_under_way_takes_effect_when_its_try_ends() -> None:
    """It was put off by the server then, and is held, not tried again."""
    async with running() as server:
        courier, operations = Courier(server, lambda queue, to: Action.DEFERRED), server.transport.operations
        message_id = await under_way(server, courier)
        assert await operations.hold(message_id, "wait") is Done.LATER
        courier.go.set()
        await server.until(lambda: not courier.under_way, "the try ended")
        await asyncio.sleep(0.1)
        assert [entry.held for entry in server.kept()] == ["wait"]
        assert not courier.relayed
        courier.answer = lambda queue, to: Action.RELAYED
        assert await operations.release(message_id) is Done.DONE
        await empty(server)


@pytest.mark.parametrize("action", [Action.DEFERRED, Action.RELAYED])
async def test_removal_of_a_message_under_way_takes_effect_when_its_try_ends(action: Action) -> None:
    """Either way nothing is left, and nobody is told."""
    box = Box()
    async with running(box) as server:
        courier, operations = Courier(server, lambda queue, to: action), server.transport.operations
        message_id = await under_way(server, courier)
        assert await operations.remove(message_id) is Done.LATER
        assert server.kept()
        courier.go.set()
        await empty(server)
    assert not box.got


async def test_remove_ends_a_message_without_a_word_and_bounce_with_a_report() -> None:
    """The sender hears of the second, with the status that was given."""
    box = Box()
    async with running(box) as server:
        courier, operations = Courier(server), server.transport.operations
        assert await operations.remove(await queued(server, courier)) is Done.DONE
        await empty(server)
        assert not box.got
        assert await operations.bounce(await queued(server, courier), "5.7.1", "not wanted") is Done.DONE
        await empty(server)
    assert box.who == ["a"]
    assert b"5.7.1" in box.contents[0]
    assert b"not wanted" in box.contents[0]


async def test_a_held_message_can_be_ended_and_rerouted() -> None:
    """Rerouted it stays held until it is released."""
    async with running() as server:
        courier, operations = Courier(server), server.transport.operations
        message_id = await queued(server, courier)
        await operations.hold(message_id)
        assert await operations.reroute(message_id, "[192.0.2.1]:2525") is Done.DONE
        assert (server.kept()[0].queue, bool(server.kept()[0].held)) == ("[192.0.2.1]:2525", True)
        await operations.release(message_id)
        await empty(server)
        held = await queued(server, courier)
        await operations.hold(held)
        assert await operations.remove(held) is Done.DONE
        await empty(server)
    assert courier.relayed == [("[192.0.2.1]:2525", "u@one.example")]


async def test_a_rerouted_message_stays_where_it_was_put() -> None:
    """Routes that are reset later do not take it back; another next hop than text is refused with the reason."""
    async with running() as server:
        courier, operations = Courier(server), server.transport.operations
        message_id = await queued(server, courier)
        courier.closed.add("[192.0.2.1]:25")
        with pytest.raises(ValueError, match="host"):
            await operations.reroute(message_id, "smtp:")
        assert await operations.reroute(message_id, "[192.0.2.1]") is Done.DONE
        assert await server.node.reset_routes() == 0
        assert server.kept()[0].queue == "[192.0.2.1]:25"
        assert await operations.reroute(message_id, "[192.0.2.2]") is Done.DONE
        await empty(server)
    assert courier.relayed == [("[192.0.2.2]:25", "u@one.example")]


async def test_reroute_of_a_message_under_way_moves_what_is_left() -> None:
    """Never both ways at the same time."""
    async with running() as server:
        courier = Courier(server, lambda queue, to: Action.DEFERRED if queue.startswith("mx:") else Action.RELAYED)
        message_id = await under_way(server, courier)
        assert await server.transport.operations.reroute(message_id, "[192.0.2.1]:25") is Done.LATER
        courier.go.set()
        await empty(server)
    assert courier.relayed == [("[192.0.2.1]:25", "u@one.example")]


async def test_retry_makes_a_message_due_now() -> None:
    """Whatever its next try was to be; not one that is held."""
    async with running() as server:
        courier = Courier(server, lambda queue, to: Action.DEFERRED)
        server.node.ahead = 0
        message_id = await queued(server, courier)
        entry = server.kept()[0]
        server.spool.append([Put(msgspec.structs.replace(entry, due=server.node.now() + 3600))])
        server.transport.scheduler.withdraw(message_id)
        courier.closed.clear()
        courier.answer = lambda queue, to: Action.RELAYED
        assert await server.transport.operations.retry(message_id) is Done.DONE
        await empty(server)
    assert len(courier.relayed) == 1


async def test_operations_on_a_message_at_a_stage_wait_for_the_stage() -> None:
    """A sink has it; held, it is not sent."""
    go, asked, box = asyncio.Event(), asyncio.Event(), Box()

    class Slow(Sink[None]):
        @on(PreCategorize)
        async def run(self, event: PreCategorize) -> None:
            asked.set()
            await go.wait()

    async with running(Slow(), box) as server:
        courier = Courier(server)
        courier.closed.add("mx:one.example")
        await deliver_one(server, "u@one.example")
        await asyncio.wait_for(asked.wait(), 5.0)
        message_id = server.kept()[0].id
        assert await server.transport.operations.hold(message_id, "stop") is Done.LATER
        go.set()
        await server.until(lambda: server.kept() and server.kept()[0].queue and server.kept()[0].held == "stop", "held in its queue")


async def test_cat_shows_the_message_as_it_would_be_sent() -> None:
    """With the header as it was edited."""
    stages = AtStages(PreCategorize=lambda event: event.message.header.add("X-Edit", "1"))
    async with running(stages) as server:
        shown = await server.transport.operations.cat(await queued(server, Courier(server)))
        assert shown is not None
        content = b"".join(chunks(shown.content))
        assert b"X-Edit: 1\r\n\r\nHello." in content
        assert [str(r.address) for r in shown.record.envelope.recipients] == ["u@one.example"]


async def test_a_message_whose_record_cannot_be_read_can_be_removed() -> None:
    """There is nobody to be told."""
    async with running() as server:
        await server.spool.commit([Put(Entry("0BAD", "routed", b"\xc1", "", "mx:x.example", 0.0, "damaged: record"))])
        assert await server.transport.operations.remove("0BAD") is Done.DONE
        assert not server.kept()
