"""Rates, counts and manners: what a listener bears from one client, network, user or sender, and from those who cannot wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from hosts.running import Client, Running
from penstock import Sink, on
from penstock.events import Auth, Connected, RcptTo
from penstock.hosts.smtp.guard import GuardSettings, Rates, network_of
from penstock.hosts.smtp.trust import Trust
from penstock.queue.meters import Budget
from penstock.verdicts import Authenticated, Reject

FEW = Budget(2, 3600)


class Guarded(Running):
    """A server with limits; clients come as whom they say they are."""

    def __init__(self, *sinks: Sink, **guard: Any) -> None:
        super().__init__(*sinks)
        trust = Trust(proxy=(ip_network("127.0.0.0/8"),))
        self.settings = replace(self.settings, guard=GuardSettings(**guard), trust=trust)

    async def by(self, address: str = "192.0.2.1") -> Client:
        """A client of an address, that has read the banner."""
        client = Client(*await asyncio.open_connection(*self.address))
        kind = "TCP6" if ":" in address else "TCP4"
        target = "2001:db8::25" if ":" in address else "198.51.100.1"
        client.writer.write(f"PROXY {kind} {address} {target} 40000 25\r\n".encode())
        client.banner = await client.reply()
        self._clients.append(client)
        return client


class Nobody(Sink):
    """Knows bob alone."""

    @on(RcptTo, blocking=False)
    def known(self, event: RcptTo) -> Reject | None:
        return None if event.recipient.address.local == "bob" else Reject(550, "5.1.1", "No such user here")


class Badge(Sink):
    """Lets everybody in by name."""

    @on(Auth, mechanism="X-BADGE")
    async def badge(self, event: Auth) -> Authenticated:
        return Authenticated((await event.challenge()).decode())


async def test_sessions_of_an_address_are_counted_over_time() -> None:
    async with Guarded(rates=Rates(client_connections=FEW)) as server:
        banners = [(await server.by()).banner for _ in range(3)]
        assert [banner[:3] for banner in banners] == ["220", "220", "421"]
        assert banners[2] == "421 4.7.0 Too many connections from your address"
        assert (await server.by("192.0.2.2")).banner.startswith("220")


@pytest.mark.parametrize("addresses", [["192.0.2.1", "192.0.2.200", "192.0.2.3"], ["2001:db8:1:1::1", "2001:db8:1:ff::1", "2001:db8:1::3"]])
async def test_sessions_of_a_network_are_counted_over_time(addresses: list[str]) -> None:
    """A /24, and a /48 of IPv6."""
    async with Guarded(rates=Rates(network_connections=FEW)) as server:
        assert [(await server.by(address)).banner[:3] for address in addresses] == ["220", "220", "421"]


async def test_sessions_of_a_network_at_the_same_time_are_limited() -> None:
    async with Guarded(connections_per_network=2) as server:
        assert [(await server.by(f"192.0.2.{n}")).banner[:3] for n in range(3)] == ["220", "220", "421"]
        assert (await server.by("198.51.100.1")).banner.startswith("220")


async def test_messages_of_an_address_and_of_a_network_are_limited() -> None:
    """The refusal is temporary, says nothing of numbers, and the session goes on."""
    for rates in (Rates(client_messages=FEW), Rates(network_messages=FEW)):
        async with Guarded(rates=rates) as server:
            client = await server.by()
            await client.say("EHLO x")
            replies = [await client.say("MAIL FROM:<a@b.example>", "RSET", "MAIL FROM:<a@b.example>") for _ in range(2)]
            assert replies[1] == "450 4.7.1 Too many messages for now, please try again later"
            assert (await client.say("NOOP")).startswith("250")


async def test_recipients_of_an_address_are_limited() -> None:
    async with Guarded(rates=Rates(client_recipients=FEW)) as server:
        client = await server.by()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>")
        replies = [await client.say(f"RCPT TO:<u{n}@example.com>") for n in range(3)]
        assert [reply[:9] for reply in replies] == ["250 2.1.5", "250 2.1.5", "450 4.7.1"]
        assert (await client.say("DATA")).startswith("354")


async def test_a_user_is_counted_wherever_from_and_not_by_the_address() -> None:
    """An office has one address for many; a stolen password is used from many addresses."""
    rates = Rates(client_messages=Budget(1, 3600), user_messages=FEW, user_recipients=FEW)
    async with Guarded(Badge(), rates=rates) as server:
        replies = []
        for number in range(3):
            client = await server.by(f"192.0.2.{number}")
            await client.say("EHLO x", "AUTH X-BADGE YWxpY2U=")
            replies.append((await client.say("MAIL FROM:<a@b.example>"))[:3])
        assert replies == ["250", "250", "450"]
        other = await server.by("192.0.2.1")
        await other.say("EHLO x", "AUTH X-BADGE Ym9i", "MAIL FROM:<b@b.example>")
        assert [(await other.say(f"RCPT TO:<u{n}@example.com>"))[:3] for n in range(3)] == ["250", "250", "450"]


async def test_a_sender_is_counted_whoever_sends_and_bounces_are_not() -> None:
    async with Guarded(rates=Rates(sender_messages=FEW)) as server:
        replies = []
        for number in range(3):
            client = await server.by(f"192.0.2.{number}")
            replies.append((await client.say("EHLO x", "MAIL FROM:<A@b.example>"))[:3])
        assert replies == ["250", "250", "450"]
        client = await server.by()
        await client.say("EHLO x")
        assert [(await client.say("MAIL FROM:<>", "RSET"))[:3] for _ in range(4)] == ["250"] * 4


async def test_who_guesses_names_is_sent_away() -> None:
    """In one session, and by address over several."""
    async with Guarded(Nobody(), unknown_recipients=3) as server:
        client = await server.by()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>")
        replies = [await client.say(f"RCPT TO:<u{n}@example.com>") for n in range(4)]
        assert [reply[:3] for reply in replies] == ["550", "550", "550", "421"]
        assert await client.is_closed()
    async with Guarded(Nobody(), rates=Rates(client_unknown=FEW)) as server:
        replies = []
        for number in range(3):
            client = await server.by()
            replies.append((await client.say("EHLO x", "MAIL FROM:<a@b.example>", f"RCPT TO:<u{number}@example.com>"))[:3])
        assert replies == ["550", "550", "421"]


async def test_who_is_exempt_is_not_counted() -> None:
    networks = (ip_network("192.0.2.0/25"),)
    rates = Rates(client_connections=FEW, client_messages=FEW, client_recipients=FEW)
    async with Guarded(Nobody(), rates=rates, exempt=networks, unknown_recipients=1) as server:
        for _ in range(4):
            client = await server.by("192.0.2.5")
            assert client.banner.startswith("220")
            await client.say("EHLO x", "MAIL FROM:<a@b.example>")
            assert (await client.say("RCPT TO:<u@example.com>", "RCPT TO:<v@example.com>", "RCPT TO:<bob@example.com>")).startswith("250")
        assert [(await server.by("192.0.2.200")).banner[:3] for _ in range(3)] == ["220", "220", "421"]


async def test_who_talks_before_the_banner_is_turned_away() -> None:
    async with Guarded(banner_delay=0.05) as server:
        early = Client(*await asyncio.open_connection(*server.address))
        early.writer.write(b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 25\r\nEHLO x\r\n")
        assert await early.reply() == "554 5.5.1 You talk before it is your turn"
        assert await early.is_closed()
        early.close()
        assert (await server.by()).banner.startswith("220")
    async with Guarded(banner_delay=0.05, early_talkers=False) as server:
        early = Client(*await asyncio.open_connection(*server.address))
        early.writer.write(b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 25\r\nEHLO x\r\n")
        assert (await early.reply()).startswith("220")
        assert (await early.reply()).startswith("250")
        early.close()


async def test_the_banner_comes_before_the_delay_is_over_to_nobody() -> None:
    """And sinks are asked about a client only when it has waited."""
    asked: list[float] = []

    class When(Sink):
        @on(Connected, blocking=False)
        def when(self, event: Connected) -> None:
            asked.append(asyncio.get_running_loop().time())

    async with Guarded(When(), banner_delay=0.1) as server:
        began = asyncio.get_running_loop().time()
        client = await server.by()
        assert client.banner.startswith("220")
        assert asked[0] - began >= 0.095  # timers are rounded to milliseconds


def test_networks_are_what_one_customer_has() -> None:
    assert network_of("192.0.2.77") == "192.0.2.0/24"
    assert network_of("2001:db8:1:2::/64") == "2001:db8:1::/48"
    assert network_of("") == ""
