"""XCLIENT and XFORWARD (Postfix's XCLIENT_README and XFORWARD_README): from those whom a listener trusts, and from nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.running import Running
from penstock import Sink, on
from penstock.errors import RemoteProtocolError
from penstock.events import Connected, EndOfData, MailFrom
from penstock.hosts.smtp.claims import VERBS, read_attributes
from penstock.hosts.smtp.guard import GuardSettings, Rates
from penstock.hosts.smtp.trust import Trust
from penstock.queue.meters import Budget
from penstock.verdicts import Disconnect


class Seen(Sink):
    """Notes who the clients are, and turns one of them away."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[tuple[str, str, int, str]] = []
        self.greeted: list[tuple[str, str]] = []
        self.forwarded: list[Mapping[str, str]] = []

    @on(Connected, blocking=False)
    def connected(self, event: Connected) -> Disconnect | None:
        session = event.session
        self.clients.append((session.client_ip, session.client_name, session.client_port, session.user))
        return Disconnect(554, "5.7.1", "Not you") if session.client_ip == "192.0.2.66" else None

    @on(MailFrom, blocking=False)
    def mail(self, event: MailFrom) -> None:
        self.greeted.append((event.session.client_ip, event.session.helo))

    @on(EndOfData, blocking=False)
    def end(self, event: EndOfData) -> None:
        self.forwarded.append(dict(event.session.forwarded))


class Trusting(Running):
    """A server that believes filters on this machine."""

    def __init__(self, *sinks: Sink, networks: str = "127.0.0.0/8") -> None:
        super().__init__(*sinks)
        wire = replace(self.settings.wire, verbs=VERBS)
        self.settings = replace(self.settings, wire=wire, trust=Trust(xclient=(ip_network(networks),)))


async def test_the_session_becomes_that_of_the_client_behind() -> None:
    """It begins anew: a banner, sinks that are asked, EHLO; and the trace field names that client."""
    seen = Seen()
    async with Trusting(seen) as server:
        client = await server.client()
        assert "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT" in await client.say("EHLO filter.example")
        said = await client.say("XCLIENT NAME=far.example ADDR=192.0.2.7 PORT=4711 HELO=far+2Eexample LOGIN=alice")
        assert said.startswith("220 mx.example.com ESMTP")
        assert (await client.say("MAIL FROM:<a@far.example>")).startswith("503")
        await client.say("EHLO filter.example", "MAIL FROM:<a@far.example>")
    assert seen.clients[1] == ("192.0.2.7", "far.example", 4711, "alice")
    assert seen.greeted == [("192.0.2.7", "far.example")]


async def test_ipv6_and_what_is_not_available() -> None:
    seen = Seen()
    async with Trusting(seen) as server:
        client = await server.client()
        await client.say("EHLO filter.example")
        assert (await client.say("XCLIENT ADDR=IPV6:2001:db8::7 NAME=[UNAVAILABLE]", "EHLO x")).startswith("250")
        assert (await client.say("XCLIENT NAME=[TEMPUNAVAIL]")).startswith("220")
    assert [client[:2] for client in seen.clients[1:]] == [("2001:db8::7", ""), ("2001:db8::7", "")]


async def test_a_client_behind_can_be_turned_away() -> None:
    """By a sink, and by the limits, which count that client."""
    async with Trusting(Seen()) as server:
        client = await server.client()
        await client.say("EHLO filter.example")
        assert (await client.say("XCLIENT ADDR=192.0.2.66")).startswith("554 5.7.1 Not you")
        assert await client.is_closed()
    async with Trusting() as server:
        server.settings = replace(server.settings, guard=GuardSettings(Rates(client_connections=Budget(2, 3600))))
        client = await server.client()
        replies = [(await client.say("EHLO x", "XCLIENT ADDR=192.0.2.7"))[:3] for _ in range(3)]
        assert replies == ["220", "220", "421"]


async def test_forwarded_facts_are_of_one_message() -> None:
    seen = Seen()
    async with Trusting(seen) as server:
        client = await server.client()
        assert "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE" in await client.say("EHLO filter.example")
        assert (await client.say("XFORWARD NAME=far.example ADDR=192.0.2.7")).startswith("250")
        assert (await client.say("XFORWARD SOURCE=REMOTE IDENT=ABC")).startswith("250")
        assert (await client.send()).startswith("250")
        assert (await client.send()).startswith("250")
    assert seen.forwarded == [{"NAME": "far.example", "ADDR": "192.0.2.7", "SOURCE": "REMOTE", "IDENT": "ABC"}, {}]
    assert seen.clients[0][0] == "127.0.0.1"


async def test_strangers_may_not_and_are_offered_nothing() -> None:
    """Nor does a client that a filter spoke for become one of those who may."""
    async with Trusting(networks="192.0.2.0/24") as server:
        client = await server.client()
        assert "XCLIENT" not in await client.say("EHLO x")
        assert (await client.say("XCLIENT ADDR=192.0.2.7")).startswith("550 5.7.0")
        assert (await client.say("XFORWARD ADDR=192.0.2.7")).startswith("550 5.7.0")
    async with Running() as server:
        client = await server.client()
        assert (await client.say("EHLO x", "XCLIENT ADDR=192.0.2.7")).startswith("500 5.5.1")


async def test_not_within_a_transaction() -> None:
    async with Trusting() as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>")
        assert (await client.say("XCLIENT ADDR=192.0.2.7")).startswith("503 5.5.1")
        assert (await client.say("RSET", "XCLIENT ADDR=192.0.2.7")).startswith("220")


@pytest.mark.parametrize(
    "argument",
    ["", "ADDR", "ADDR=", "ADDR=192.0.2.256", "ADDR=192.0.2.1 ADDR=192.0.2.2", "COLOUR=red", "PORT=65536", "PORT=x", "PROTO=HTTP",
     "NAME=a+0D+0Ab", "NAME=a)b", "HELO=a+20b", "NAME=+FF", "LOGIN=a+00"],
)  # fmt: skip
def test_attributes_that_are_none_are_refused(argument: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_attributes("XCLIENT", argument)
    assert caught.value.code == 501


@given(st.sampled_from(sorted(VERBS)), st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=80))
def test_octets_of_anybody_lead_to_attributes_or_a_refusal(verb: str, argument: str) -> None:
    for text in (argument, f"ADDR={argument}", f"NAME={argument}", f"HELO={argument}"):
        try:
            found = read_attributes(verb, text)
        except RemoteProtocolError:
            continue
        assert all(value.isprintable() and len(value) <= 255 for value in found.values())
