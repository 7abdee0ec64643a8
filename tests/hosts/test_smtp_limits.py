"""What keeps one client from hurting the others: timeouts, counts, flow control, and the drain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hosts.running import Running, until
from penstock import Sink, on
from penstock.events import EndOfData, RcptTo
from penstock.hosts.smtp.connection import MAX_PENDING
from penstock.hosts.smtp.host import SessionLimits, neighbourhood
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool


async def test_an_idle_client_is_told_and_closed() -> None:
    """421 4.4.2, then the end."""
    async with Running(sessions=SessionLimits(idle=0.01)) as server:
        client = await server.client()
        assert await client.reply() == "421 4.4.2 Timed out, closing the connection"
        assert await client.is_closed()


async def test_a_slow_drip_of_a_command_ends_in_time() -> None:
    """Octets that never become a line do not keep a session alive."""
    async with Running(sessions=SessionLimits(idle=60, command=0.5)) as server:
        client = await server.client()

        async def drip() -> None:
            while True:
                client.writer.write(b"N")
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        assert (await client.reply()).startswith("421 4.4.2")
        dripping.cancel()


async def test_content_that_stops_ends_the_session_and_nothing_is_kept() -> None:
    """The data timeout holds within content."""
    async with Running(sessions=SessionLimits(idle=60, data=0.01)) as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>", "DATA")
        client.writer.write(b"half a mess")
        assert (await client.reply()).startswith("421 4.4.2")
        assert not server.kept()


async def test_content_that_drips_on_for_ever_ends_too() -> None:
    """The time for one message as a whole is limited."""
    async with Running(sessions=SessionLimits(idle=60, data=60, message=0.5)) as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>", "DATA")

        async def drip() -> None:
            while True:
                client.writer.write(b"drip\r\n")
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        assert (await client.reply()).startswith("421 4.4.2")
        dripping.cancel()


async def test_one_address_gets_only_so_many_sessions() -> None:
    """The next one is told why and closed; when one leaves, there is room again."""
    async with Running(sessions=SessionLimits(connections_per_client=2)) as server:
        first, second = await server.client(), await server.client()
        third = await server.client()
        assert third.banner == "421 4.7.0 Too many connections from your address"
        assert await third.is_closed()
        first.close()
        await until(lambda: server.host.sessions == 1, "the first is gone")
        assert (await server.client()).banner.startswith("220")
        second.close()


async def test_all_together_get_only_so_many_sessions() -> None:
    """The limit of the worker."""
    async with Running(sessions=SessionLimits(connections=1)) as server:
        first = await server.client()
        assert (await server.client()).banner == "421 4.3.2 Too many connections, try again later"
        first.close()


class Slow(Sink[None]):
    """Holds a decision open until the test lets go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.asked = asyncio.Event()

    @on(RcptTo)
    async def wait(self, event: RcptTo) -> None:
        self.asked.set()
        await self.go.wait()


async def test_a_client_that_floods_an_open_decision_is_held_back() -> None:
    """While a sink thinks, the server stops reading after a bounded amount; nothing is lost when it goes on."""
    sink = Slow()
    async with Running(sink, sessions=SessionLimits(idle_commands=0)) as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>")
        client.writer.write(b"RCPT TO:<bob@example.com>\r\n")
        await sink.asked.wait()
        (connection,) = server.host._connections
        flood = 400_000
        client.writer.write(b"NOOP\r\n" * flood)
        await until(lambda: connection.machine.pending >= MAX_PENDING, "the input is full")
        seen = connection.machine.pending
        for _ in range(20):
            await asyncio.sleep(0)
        assert connection.machine.pending <= MAX_PENDING + 512 * 1024
        assert seen <= MAX_PENDING + 512 * 1024
        sink.go.set()
        client.writer.write(b"QUIT\r\n")
        replies = await asyncio.wait_for(client.reader.read(), 30.0)
        assert replies.count(b"250 2.0.0 Ok\r\n") == flood
        assert replies.endswith(b"221 2.0.0 Bye\r\n")


async def test_a_client_that_does_not_read_is_not_served_further() -> None:
    """Replies that nobody takes do not pile up: parsing stops until the client reads."""
    async with Running(sessions=SessionLimits(idle_commands=0)) as server:
        client = await server.client()
        client.reader._transport.pause_reading()
        await asyncio.sleep(0)
        client.writer.write(b"EHLO x\r\n" + b"HELP\r\n" * 400_000)
        (connection,) = server.host._connections
        await until(lambda: connection._choked, "the server is choked")
        client.writer.write(b"NOOP\r\n" * 1_000_000)
        await until(lambda: connection._stopped_reading, "the server stopped reading")
        assert connection.machine.pending <= MAX_PENDING + 512 * 1024
        transport = connection._transport
        assert transport is not None
        assert transport.get_write_buffer_size() < 4 * 1024 * 1024
        client.reader._transport.resume_reading()
        client.writer.write(b"QUIT\r\n")
        replies = await asyncio.wait_for(client.reader.read(), 30.0)
        assert replies.count(b"214 2.0.0") == 400_000
        assert replies.count(b"250 2.0.0 Ok") == 1_000_000


async def test_drain_lets_a_transaction_end_and_turns_everything_else_away() -> None:
    """An idle session gets 421 at once, one within a message may finish it, a new one is refused."""
    async with Running() as server:
        idle, busy = await server.client(), await server.client()
        await idle.say("EHLO x")
        await busy.say("EHLO x", "MAIL FROM:<a@b.example>")
        draining = asyncio.ensure_future(server.host.drain(5.0))
        assert await idle.reply() == "421 4.3.2 Service shutting down"
        assert (await server.client()).banner == "421 4.3.2 Service shutting down"
        assert (await busy.say("RCPT TO:<bob@example.com>")).startswith("250")
        await busy.say("DATA")
        busy.writer.write(b"hi\r\n.\r\n")
        assert "queued as" in await busy.reply()
        assert await busy.reply() == "421 4.3.2 Service shutting down"
        await asyncio.wait_for(draining, 5.0)
        assert len(server.kept()) == 1


async def test_drain_does_not_wait_for_ever() -> None:
    """What does not end in time is closed."""
    async with Running() as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>")
        await asyncio.wait_for(server.host.drain(0.05), 5.0)
        assert (await client.reply()).startswith("421")


async def test_a_connection_lost_while_a_sink_thinks_is_forgotten() -> None:
    """The handler is cancelled, and nothing is kept."""

    class Thinker(Sink[None]):
        cancelled = False
        asked = False

        @on(EndOfData)
        async def think(self, event: EndOfData) -> None:
            Thinker.asked = True
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                Thinker.cancelled = True
                raise

    async with Running(Thinker()) as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>", "DATA")
        client.writer.write(b"hi\r\n.\r\n")
        await until(lambda: Thinker.asked, "the sink is asked")
        client.reset()
        await until(lambda: Thinker.cancelled, "the sink is cancelled")
        await until(lambda: server.host.sessions == 0, "the session is gone")
        assert not server.kept()


async def test_a_session_of_nothing_but_small_talk_ends() -> None:
    """1,000 commands without a message, refused recipients included; a message starts the count anew."""
    async with Running(sessions=SessionLimits(idle_commands=10)) as server:
        client = await server.client()
        for _ in range(3):
            await client.say(*["NOOP"] * 4)
            assert "queued as" in await client.send()
        client.writer.write(b"NOOP\r\n" * 20)
        replies = await asyncio.wait_for(client.reader.read(), 5.0)
        assert replies.endswith(b"421 4.7.0 Too many commands without a message\r\n")


async def test_a_message_to_many_recipients_is_no_small_talk() -> None:
    """Each accepted recipient is one of the commands that a message needs."""
    async with Running(sessions=SessionLimits(idle_commands=10)) as server:
        client = await server.client()
        assert "queued as" in await client.send(b"A: b\r\n\r\n", *(f"u{n}@example.com" for n in range(100)))
        client.close()


async def test_floods_of_commands_do_not_keep_others_waiting() -> None:
    """Each session gets its turn: a new client is greeted and served while ten flood."""
    async with Running(sessions=SessionLimits(idle_commands=0)) as server:
        floods = [await server.client() for _ in range(10)]
        for flood in floods:
            flood.writer.write(b"NOOP\r\n" * 200_000)
        client = await server.client()
        assert "queued as" in await client.send()
        assert any(c.machine.pending or c._resuming for c in server.host._connections), (
            "the floods were over before: the test shows nothing"
        )
        client.close()
        for flood in floods:
            flood.reset()


async def test_a_client_that_does_not_even_read_goodbye_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection does not stay open until it reads."""
    monkeypatch.setattr("penstock.hosts.smtp.farewell.LINGER", 0.05)
    async with Running(sessions=SessionLimits(idle=0.05, idle_commands=0)) as server:
        client = await server.client()
        client.reader._transport.pause_reading()
        client.writer.write(b"HELP\r\n" * 400_000)
        (connection,) = server.host._connections
        await until(lambda: connection._choked, "choked")
        await until(lambda: server.host.sessions == 0, "the session is gone", 10.0)
        client.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("no address", "another", False),
    ],
)
def test_what_counts_as_one_client(one: str, other: str, same: bool) -> None:
    """An IPv4 address, or the /64 of an IPv6 address."""
    assert (neighbourhood(one) == neighbourhood(other)) is same


async def test_when_memory_is_short_contents_go_to_disk_sooner(tmp_path: Path) -> None:
    """Messages that would each fit into memory do not take it together; all arrive whole."""
    async with Running(spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        server.host.memory.short = 1_000_000
        clients = [await server.client() for _ in range(10)]
        for client in clients:
            await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>", "DATA")
            client.writer.write(b"A: b\r\n\r\n" + (b"z" * 70 + b"\r\n") * 10_000)
        await until(lambda: len(list((tmp_path / "large").iterdir())) > 5, "most of them are in files")
        for client in clients:
            client.writer.write(b".\r\n")
            assert "queued as" in await client.reply()
            client.close()
        assert server.host.memory.used == 0


async def test_when_memory_is_full_clients_are_asked_to_come_later() -> None:
    """What is under way goes on."""
    async with Running() as server:
        server.host.memory.full = 100_000
        first, second = await server.client(), await server.client()
        await first.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>", "DATA")
        first.writer.write(b"A: b\r\n\r\n" + (b"z" * 70 + b"\r\n") * 2000)
        await until(lambda: server.host.memory.is_full, "memory is full")
        assert (await second.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>", "DATA")).startswith("452 4.3.1")
        first.writer.write(b".\r\n")
        assert "queued as" in await first.reply()
        assert (await second.say("DATA")).startswith("354")
        first.close()
        second.close()
