"""Connections through a balancer: the client is who the PROXY header says, and without one there is no session."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_network

import pytest

from penstock import Sink, on
from penstock.events import Connected, MailFrom, SessionEnded
from penstock.hosts.smtp.host import SessionLimits
from penstock.hosts.smtp.trust import Trust

from .running import Client, Running, until

LINE = b"PROXY TCP4 192.0.2.77 198.51.100.1 40000 25\r\n"


class Seen(Sink):
    """Notes who the clients are."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[tuple[str, int]] = []
        self.senders: list[str] = []
        self.ended: list[str] = []

    @on(Connected, blocking=False)
    def connected(self, event: Connected) -> None:
        self.clients.append((event.session.client_ip, event.session.client_port))

    @on(MailFrom, blocking=False)
    def sender(self, event: MailFrom) -> None:
        self.senders.append(str(event.message.sender))

    @on(SessionEnded)
    async def ended_(self, event: SessionEnded) -> None:
        self.ended.append(event.reason)


class Balanced(Running):
    """A server whose listener trusts balancers on this machine."""

    def __init__(self, *sinks: Sink, sessions: SessionLimits | None = None, networks: str = "127.0.0.0/8") -> None:
        super().__init__(*sinks, sessions=sessions)
        self.settings = replace(self.settings, trust=Trust(proxy=(ip_network(networks),)))

    async def raw(self, *pieces: bytes) -> Client:
        """A client that has said so much, and read nothing."""
        client = Client(*await asyncio.open_connection(*self.address))
        for piece in pieces:
            client.writer.write(piece)
            await client.writer.drain()
        self._clients.append(client)
        return client


async def test_the_client_is_who_the_header_says() -> None:
    seen = Seen()
    async with Balanced(seen) as server:
        client = await server.raw(LINE)
        assert (await client.reply()).startswith("220 ")
        assert (await client.send()).startswith("250 ")
        assert seen.clients == [("192.0.2.77", 40000)]


async def test_header_and_commands_may_come_in_any_pieces() -> None:
    """All at once, and octet by octet."""
    seen = Seen()
    whole = LINE + b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nQUIT\r\n"
    async with Balanced(seen) as server:
        for pieces in ([whole], [whole[i : i + 1] for i in range(len(whole))]):
            client = await server.raw(*pieces)
            replies = [await client.reply() for _ in range(4)]
            assert [reply[:3] for reply in replies] == ["220", "250", "250", "221"]
    assert seen.senders == ["a@client.example"] * 2


@pytest.mark.parametrize(
    "octets", [b"EHLO client.example\r\n", b"PROXY TCP4 192.0.2.77\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
)
async def test_without_a_header_nothing_is_said(octets: bytes) -> None:
    """And no sink hears of it."""
    seen = Seen()
    async with Balanced(seen) as server:
        client = await server.raw(octets)
        assert await client.is_gone()
        await until(lambda: server.host.sessions == 0, "the connection is forgotten")
    assert seen.clients == seen.ended == []


async def test_a_header_that_does_not_come_is_not_waited_for_for_ever() -> None:
    """Nor is one that drips."""
    async with Balanced(sessions=SessionLimits(command=0.2)) as server:
        client = await server.raw(LINE[:20])
        assert await client.is_gone()
        assert server.host.sessions == 0


async def test_a_strangers_header_is_a_bad_command() -> None:
    """He could be anybody otherwise."""
    seen = Seen()
    async with Balanced(seen, networks="192.0.2.0/24") as server:
        client = await server.client()
        assert (await client.say(LINE.decode().strip())).startswith("500 ")
        assert seen.clients[0][0] == "127.0.0.1"


async def test_a_health_check_is_the_balancers_own_session() -> None:
    seen = Seen()
    async with Balanced(seen) as server:
        client = await server.raw(b"PROXY UNKNOWN\r\n")
        assert (await client.reply()).startswith("220 ")
        assert seen.clients[0][0] == "127.0.0.1"


async def test_limits_count_the_clients_and_not_the_balancer() -> None:
    async with Balanced(sessions=SessionLimits(connections_per_client=1)) as server:
        first, other, again = [await server.raw(LINE.replace(b".77", tail)) for tail in (b".77", b".78", b".77")]
        assert (await first.reply()).startswith("220 ")
        assert (await other.reply()).startswith("220 ")
        assert (await again.reply()).startswith("421 ")
        first.close()
        again.close()
        await until(lambda: server.host.sessions == 1, "both have left")
        later = await server.raw(LINE)
        assert (await later.reply()).startswith("220 ")


async def test_a_drain_does_not_wait_for_headers() -> None:
    async with Balanced() as server:
        client = await server.raw(b"PROXY ")
        await until(lambda: server.host.sessions == 1, "it is there")
        await asyncio.wait_for(server.host.drain(30.0), 5.0)
        assert await client.is_gone()
