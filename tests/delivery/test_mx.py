"""The addresses that are tried, and their order, are those of RFC 5321 §5.1; where there are none, the status says whether to wait."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.delivery.answers import Mx
from penstock.delivery.mx import Target, Targets, TargetSettings, Unroutable
from penstock.delivery.resolver import Resolver, ResolverSettings
from penstock.events.verdict_transit import Addresses, NotFound
from penstock.mail.nexthop import NextHop
from support.nameserver import Fault, Nameserver

DOMAIN = NextHop.parse("mx:example.com")
OWN = TargetSettings(own_names=frozenset({"Mail.Here.Example"}), own_addresses=("127.0.0.0/8", "::1", "198.51.100.1"))


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


@pytest.fixture
async def resolver(dns: Nameserver) -> AsyncIterator[Resolver]:
    resolver = Resolver(ResolverSettings(servers=(dns.address,), timeout=5.0, attempts=1))
    yield resolver
    await resolver.close()


def everywhere(_: str) -> bool:
    return True


def nowhere(_: str) -> bool:
    return False


def targets(resolver: Resolver, settings: TargetSettings = OWN, seed: int = 1, **more: Any) -> Targets:
    return Targets(resolver, settings, random.Random(seed), **({"reachable": everywhere} | more))


async def found(of: Targets, hop: NextHop = DOMAIN) -> list[str]:
    result = await of.of(hop)
    assert isinstance(result, tuple), result
    return [target.address for target in result]


async def refused(of: Targets, hop: NextHop = DOMAIN) -> tuple[str, str]:
    result = await of.of(hop)
    assert isinstance(result, Unroutable), result
    return result.status, result.text


async def test_hosts_are_tried_by_preference_with_the_name_and_port_that_they_have(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "MX", "20 backup.example", "10 mx.example")
    dns.add("mx.example", "A", "192.0.2.1")
    dns.add("backup.example", "A", "192.0.2.2")
    assert await targets(resolver).of(NextHop.parse("example.com:587")) == (
        Target("mx.example", "192.0.2.1", 587, 10),
        Target("backup.example", "192.0.2.2", 587, 20),
    )


async def test_equal_hosts_are_drawn(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "MX", "10 a.example", "10 b.example", "20 c.example")
    for n, name in enumerate("abc"):
        dns.add(f"{name}.example", "A", f"192.0.2.{n}")
    orders = {tuple(await found(targets(resolver, seed=seed))) for seed in range(20)}
    assert orders == {("192.0.2.0", "192.0.2.1", "192.0.2.2"), ("192.0.2.1", "192.0.2.0", "192.0.2.2")}


async def test_a_domain_without_mx_records_is_its_own_host(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "A", "192.0.2.1")
    assert await targets(resolver).of(DOMAIN) == (Target("example.com", "192.0.2.1", 25, 0),)


async def test_an_address_that_several_hosts_have_is_tried_once(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "MX", "10 a.example", "20 b.example")
    dns.add("a.example", "A", "192.0.2.1")
    dns.add("b.example", "A", "192.0.2.1", "192.0.2.2")
    result = await targets(resolver).of(DOMAIN)
    assert result == (Target("a.example", "192.0.2.1", 25, 10), Target("b.example", "192.0.2.2", 25, 20))


async def test_no_more_addresses_are_tried_than_allowed_and_no_more_hosts_looked_up_than_needed(
    dns: Nameserver, resolver: Resolver
) -> None:
    dns.add("example.com", "MX", "10 a.example", "20 b.example")
    dns.add("a.example", "A", *(f"192.0.2.{n}" for n in range(1, 20)))
    assert len(await found(targets(resolver))) == 10
    assert len(await found(targets(resolver, replace(OWN, limit=2)))) == 2
    assert dns.asked("b.example") == 0


async def test_an_address_as_mx_host_is_taken_for_what_it_is(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "MX", "10 192.0.2.1")
    assert await targets(resolver).of(DOMAIN) == (Target("192.0.2.1", "192.0.2.1", 25, 10),)
    assert dns.asked("192.0.2.1") == 0


class TestWithoutMx:
    """Hosts in brackets, addresses and sockets."""

    async def test_a_host_in_brackets_has_no_mx_look_up(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("relay.example", "A", "192.0.2.1")
        dns.add("relay.example", "MX", "10 other.example")
        assert await targets(resolver).of(NextHop.parse("[relay.example]:26")) == (Target("relay.example", "192.0.2.1", 26),)
        assert dns.asked("relay.example", "MX") == 0

    @pytest.mark.parametrize("hop", ["[192.0.2.1]:25", "lmtp:[192.0.2.1]:24", "[2001:db8::1]:25"])
    async def test_an_address_needs_no_look_up(self, dns: Nameserver, resolver: Resolver, hop: str) -> None:
        parsed = NextHop.parse(hop)
        assert await targets(resolver).of(parsed) == (Target(parsed.host, parsed.host, parsed.port),)
        assert dns.queries == []

    async def test_a_socket_is_the_only_target(self, resolver: Resolver) -> None:
        assert await targets(resolver).of(NextHop.parse("lmtp:/run/lmtp")) == (Target("", "", 0, path="/run/lmtp"),)

    async def test_local_is_no_destination_of_connections(self, resolver: Resolver) -> None:
        with pytest.raises(ValueError, match="no connection"):
            await targets(resolver).of(NextHop("local"))

    @pytest.mark.parametrize("hop", ["[relay.example]:25", "lmtp:relay.example"])
    async def test_a_host_that_an_administrator_wrote_wrong_keeps_mail_waiting(self, resolver: Resolver, hop: str) -> None:
        assert await refused(targets(resolver), NextHop.parse(hop)) == ("4.4.4", "relay.example does not exist")


class TestFailures:
    """What each failing look-up means for the mail."""

    async def test_a_domain_that_does_not_exist_is_permanent(self, resolver: Resolver) -> None:
        result = await targets(resolver).of(DOMAIN)
        assert result == Unroutable("5.1.2", "example.com does not exist")
        assert result.permanent

    async def test_a_null_mx_is_permanent(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "0 .")
        dns.add("example.com", "A", "192.0.2.1")
        assert await refused(targets(resolver)) == ("5.1.10", "example.com does not accept mail (null MX)")

    async def test_a_failing_mx_look_up_is_temporary_even_where_there_is_an_address(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "A", "192.0.2.1")
        dns.fault("example.com", Fault.SERVFAIL, "MX")
        result = await targets(resolver).of(DOMAIN)
        assert isinstance(result, Unroutable)
        assert (result.status, result.permanent) == ("4.4.3", False)
        assert "SERVFAIL" in result.text

    async def test_a_domain_with_neither_mx_nor_address_is_permanent(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "TXT", '"x"')
        assert await refused(targets(resolver)) == ("5.4.4", "example.com has no addresses")

    async def test_mx_hosts_that_all_do_not_exist_are_permanent(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 a.example", "20 b.example")
        assert await refused(targets(resolver)) == ("5.4.4", "a.example does not exist")

    async def test_mx_hosts_of_which_one_may_exist_are_temporary(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 a.example", "20 b.example")
        dns.fault("b.example", Fault.SERVFAIL)
        status, text = await refused(targets(resolver))
        assert status == "4.4.3"
        assert "b.example" in text

    async def test_one_good_host_is_enough(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 a.example", "20 b.example", "30 c.example")
        dns.fault("a.example", Fault.SERVFAIL)
        dns.add("c.example", "A", "192.0.2.1")
        assert await found(targets(resolver)) == ["192.0.2.1"]

    async def test_mx_records_that_name_no_host_are_permanent(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", r"10 a\000b.example")
        assert await refused(targets(resolver)) == ("5.4.4", "no MX record of example.com names a host")

    async def test_addresses_without_a_way_to_them_are_temporary(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.mail_domain("example.com", "2001:db8::1")
        status, text = await refused(targets(resolver, reachable=nowhere))
        assert (status, text) == ("4.4.4", "mx.example.com has no address that can be reached from here")

    @pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:0.0.0.0"])
    async def test_addresses_that_lead_nowhere_are_not_tried(self, dns: Nameserver, resolver: Resolver, address: str) -> None:
        dns.mail_domain("example.com", address, "192.0.2.1")
        assert await found(targets(resolver)) == ["192.0.2.1"]

    async def test_hosts_beyond_a_bound_are_not_looked_up(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", *(f"{n} mx{n}.example" for n in range(21)), *(f"100 my{n}.example" for n in range(60)))
        assert (await refused(targets(resolver)))[0] == "5.4.4"
        assert len({query.name for query in dns.queries}) == 21

    async def test_time_has_a_bound_and_what_was_found_is_tried(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 a.example", "20 b.example")
        dns.add("a.example", "A", "192.0.2.1")
        dns.fault("b.example", Fault.HELD)
        assert await found(targets(resolver, replace(OWN, timeout=0.2))) == ["192.0.2.1"]

    async def test_time_without_anything_found_is_temporary(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.fault("example.com", Fault.HELD)
        status, text = await refused(targets(resolver, replace(OWN, timeout=0.2)))
        assert (status, text) == ("4.4.3", "the look-ups for example.com took longer than 0.2 seconds")

    async def test_a_search_can_be_given_up(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.fault("example.com", Fault.HELD)
        task = asyncio.create_task(targets(resolver).of(DOMAIN))
        await asyncio.to_thread(dns.wait_asked, "example.com")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestLoops:
    """RFC 5321 §5.1: a relay that is in the list passes mail on to better hosts only."""

    async def test_hosts_from_our_own_name_on_are_left_out(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 a.example", "20 mail.here.example", "20 b.example", "30 c.example")
        for n, name in enumerate("abc"):
            dns.add(f"{name}.example", "A", f"192.0.2.{n}")
        assert await found(targets(resolver)) == ["192.0.2.0"]
        assert dns.asked("b.example") == dns.asked("c.example") == 0

    async def test_hosts_from_our_own_address_on_are_left_out(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 a.example", "20 alias.example", "20 b.example", "30 c.example")
        dns.add("alias.example", "A", "198.51.100.1")
        for n, name in enumerate("abc"):
            dns.add(f"{name}.example", "A", f"192.0.2.{n}")
        assert await found(targets(resolver)) == ["192.0.2.0"]

    @pytest.mark.parametrize("address", ["198.51.100.1", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
    async def test_mail_that_would_come_back_is_refused(self, dns: Nameserver, resolver: Resolver, address: str) -> None:
        dns.mail_domain("example.com", address)
        assert await refused(targets(resolver)) == ("5.4.6", "mail for example.com loops back to myself")

    @pytest.mark.parametrize("hop", ["mx:mail.here.example", "mx:home.example"])
    async def test_a_domain_that_is_ourselves_loops(self, dns: Nameserver, resolver: Resolver, hop: str) -> None:
        dns.add("mail.here.example", "A", "192.0.2.7")
        dns.add("home.example", "A", "198.51.100.1")
        assert (await refused(targets(resolver), NextHop.parse(hop)))[0] == "5.4.6"

    async def test_an_address_literal_of_ours_loops(self, resolver: Resolver) -> None:
        assert (await refused(targets(resolver), NextHop.of_domain("[127.0.0.1]")))[0] == "5.4.6"

    async def test_another_port_of_this_machine_is_no_loop(self, resolver: Resolver) -> None:
        assert await found(targets(resolver), NextHop.parse("[127.0.0.1]:10025")) == ["127.0.0.1"]
        assert await found(targets(resolver), NextHop.parse("lmtp:[127.0.0.1]:25")) == ["127.0.0.1"]

    async def test_better_hosts_that_may_exist_keep_the_mail_waiting(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 a.example", "20 mail.here.example")
        dns.fault("a.example", Fault.SERVFAIL)
        assert (await refused(targets(resolver)))[0] == "4.4.3"

    async def test_better_hosts_that_do_not_exist_leave_a_loop(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 a.example", "20 mail.here.example")
        assert (await refused(targets(resolver)))[0] == "5.4.6"


class TestSettings:
    """What an administrator may say."""

    async def test_servers_found_by_mx_may_be_on_another_port(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.mail_domain("example.com", "127.0.0.1")
        of = targets(resolver, replace(OWN, port=2525))
        assert await of.of(DOMAIN) == (Target("mx.example.com", "127.0.0.1", 2525, 10),)
        assert await of.of(NextHop.parse("[192.0.2.1]:25")) == (Target("192.0.2.1", "192.0.2.1", 25),)
        assert await of.of(NextHop.parse("example.com:587")) == (Target("mx.example.com", "127.0.0.1", 587, 10),)

    @pytest.mark.parametrize(("change", "address"), [({"ipv6": False}, "192.0.2.1"), ({"ipv4": False}, "2001:db8::1")])
    async def test_a_family_may_be_left_out(self, dns: Nameserver, resolver: Resolver, change: dict[str, bool], address: str) -> None:
        dns.mail_domain("example.com", "192.0.2.1", "2001:db8::1")
        assert await found(targets(resolver, replace(OWN, **change))) == [address]

    async def test_hosts_of_the_configuration_need_no_dns(self, dns: Nameserver) -> None:
        resolver = Resolver(ResolverSettings(servers=(dns.address,), hosts={"example.com": ("192.0.2.3", "192.0.2.1", "192.0.2.2")}))
        for seed in range(5):
            assert await found(targets(resolver, seed=seed)) == ["192.0.2.3", "192.0.2.1", "192.0.2.2"]
        assert dns.queries == []

    @pytest.mark.parametrize("change", [{"own_names": frozenset({"a b"})}, {"own_addresses": ("x",)}])
    async def test_malformed_names_and_addresses_of_our_own_are_refused(self, resolver: Resolver, change: dict[str, Any]) -> None:
        with pytest.raises(ValueError):
            targets(resolver, replace(OWN, **change))


class TestAsking:
    """A sink may know better than DNS."""

    async def test_a_sink_may_give_the_addresses_of_a_domain(self, dns: Nameserver, resolver: Resolver) -> None:
        async def ask(name: str, kind: str) -> Addresses | None:
            return Addresses(["192.0.2.2", "2001:db8::1", "192.0.2.1"]) if (name, kind) == ("example.com", "mx") else None

        result = await targets(resolver).of(DOMAIN, ask)
        assert isinstance(result, tuple)
        assert [target.address for target in result] == ["192.0.2.2", "2001:db8::1", "192.0.2.1"]
        assert {target.host for target in result} == {"example.com"}
        assert dns.queries == []

    async def test_a_sink_may_give_the_addresses_of_a_host(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 mx.example")
        asked = []

        async def ask(name: str, kind: str) -> Addresses | None:
            asked.append((name, kind))
            return Addresses(["192.0.2.1"]) if kind == "address" else None

        assert await targets(resolver).of(DOMAIN, ask) == (Target("mx.example", "192.0.2.1", 25, 10),)
        assert asked == [("example.com", "mx"), ("mx.example", "address")]

    @pytest.mark.parametrize(("kind", "status"), [("mx", "5.1.2"), ("address", "5.4.4")])
    async def test_a_sink_may_say_that_there_is_nothing(self, dns: Nameserver, resolver: Resolver, kind: str, status: str) -> None:
        dns.mail_domain("example.com", "192.0.2.1")

        async def ask(_: str, about: str) -> NotFound | None:
            return NotFound() if about == kind else None

        result = await targets(resolver).of(DOMAIN, ask)
        assert isinstance(result, Unroutable)
        assert result.status == status
        assert "a sink says" in result.text

    async def test_nobody_is_asked_about_an_address(self, resolver: Resolver) -> None:
        async def ask(name: str, kind: str) -> None:
            raise AssertionError(name, kind)

        assert len(await targets(resolver).of(NextHop.parse("[192.0.2.1]:25"), ask)) == 1  # type: ignore[arg-type]


_PREFERENCES = st.lists(st.tuples(st.integers(0, 65535) | st.integers(0, 3), st.integers(0, 10**6)), max_size=40)
_ADDRESSES = st.lists(st.ip_addresses().map(str), max_size=30, unique=True)
_PREFER = st.sampled_from(["ipv6", "ipv4", "any"])


@given(records=_PREFERENCES, seed=st.integers())
def test_any_records_come_out_sorted_and_none_is_lost(records: list[tuple[int, int]], seed: int) -> None:
    mx = [Mx(preference, f"mx{n}.example") for preference, n in records]
    drawn = Targets(Resolver(), draw=random.Random(seed)).shuffled(mx)
    assert sorted(drawn, key=str) == sorted(mx, key=str)
    assert [record.preference for record in drawn] == sorted(preference for preference, _ in records)


@given(addresses=_ADDRESSES, prefer=_PREFER, seed=st.integers())
def test_any_addresses_take_turns_by_family_and_none_is_lost(addresses: list[str], prefer: Any, seed: int) -> None:
    ordered = Targets(Resolver(), TargetSettings(prefer=prefer), random.Random(seed)).ordered(addresses)
    assert sorted(ordered) == sorted(addresses)
    families = [":" in address for address in ordered]
    pairs = 2 * min(sum(families), len(families) - sum(families))
    assert all(one is not other for one, other in pairwise(families[:pairs]))
    assert len(set(families[pairs:])) <= 1
    if pairs and prefer != "any":
        assert families[0] is (prefer == "ipv6")
