"""The host name of a client is known before anybody is asked about it; and who cannot be named is served all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from hosts.running import Client, Running
from penstock import Sink, on
from penstock.delivery.resolver import Resolver, ResolverSettings
from penstock.events import Connected, EndOfData
from penstock.hosts.smtp import session as sessions
from support.nameserver import Fault, Nameserver


class Seen(Sink):
    """Notes names."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.received: list[str] = []

    @on(Connected, blocking=False)
    def connected(self, event: Connected) -> None:
        self.names.append(event.session.client_name)

    @on(EndOfData, blocking=False)
    def end(self, event: EndOfData) -> None:
        self.received.append(event.message.header.get("Received") or "")


class Naming(Running):
    """A server that looks for names in a way that a test chooses."""

    def __init__(self, names: Callable[[str], Awaitable[str]], *sinks: Sink) -> None:
        super().__init__(*sinks)
        self.host.services = replace(self.host.services, names=names)
        self.settings = replace(self.settings, client_names=True)


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


async def named(dns: Nameserver, address: str) -> str:
    resolver = Resolver(ResolverSettings(servers=(dns.address,), timeout=0.2, attempts=1))
    try:
        return await resolver.resolve_name(address)
    finally:
        await resolver.close()


async def test_a_name_counts_that_leads_back(dns: Nameserver) -> None:
    dns.add("7.2.0.192.in-addr.arpa", "PTR", "liar.example.", "mail.example.")
    dns.add("mail.example", "A", "192.0.2.8", "192.0.2.7")
    dns.add("liar.example", "A", "198.51.100.1")
    assert await named(dns, "192.0.2.7") == "mail.example"


async def test_ipv6_has_names_too(dns: Nameserver) -> None:
    dns.add(".".join(reversed("20010db8" + "0" * 23 + "7")) + ".ip6.arpa", "PTR", "mail.example.")
    dns.add("mail.example", "AAAA", "2001:db8::7")
    assert await named(dns, "2001:db8:0::7") == "mail.example"


@pytest.mark.parametrize("address", ["192.0.2.7", "192.0.2.9", "not an address", ""])
async def test_nobody_has_a_name_that_he_only_claims(dns: Nameserver, address: str) -> None:
    """Nor one that is an address in disguise, or holds what no host name has, or comes from a server that fails."""
    dns.add("7.2.0.192.in-addr.arpa", "PTR", "www.bank.example.", "192.0.2.7.", r"a\041\010b.example.")
    dns.add("www.bank.example", "A", "198.51.100.1")
    dns.fault("9.2.0.192.in-addr.arpa", Fault.SERVFAIL)
    assert await named(dns, address) == ""


async def test_sinks_and_the_trace_field_have_the_name() -> None:
    async def names(address: str) -> str:
        return "mail.example" if address == "127.0.0.1" else ""

    seen = Seen()
    async with Naming(names, seen) as server:
        client = await server.client()
        assert client.banner.startswith("220")
        assert (await client.send()).startswith("250")
    assert seen.names == ["mail.example"]
    assert "(mail.example [127.0.0.1])" in seen.received[0]


async def test_a_client_does_not_wait_for_ever_for_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "NAMED_WITHIN", 0.05)

    async def names(address: str) -> str:
        await asyncio.sleep(3600)
        return ""

    seen = Seen()
    async with Naming(names, seen) as server:
        assert (await server.client()).banner.startswith("220")
    assert seen.names == [""]


async def test_a_client_that_leaves_while_it_is_looked_up_leaves_nothing() -> None:
    asked = asyncio.Event()

    async def names(address: str) -> str:
        asked.set()
        await asyncio.sleep(3600)
        return ""

    seen = Seen()
    async with Naming(names, seen) as server:
        client = Client(*await asyncio.open_connection(*server.address))
        await asyncio.wait_for(asked.wait(), 5)
        client.reset()
        await server.until(lambda: server.host.sessions == 0, "it is forgotten")
    assert seen.names == []
