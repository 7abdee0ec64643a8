"""Look-ups end in a value whatever the server of names does; equal questions are asked once, and kept no longer than they may be."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.delivery.answers import Mx, Outcome
from penstock.delivery.resolver import MAX_ADDRESSES, MAX_MX, Resolver, ResolverSettings
from support.nameserver import Fault, Nameserver


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def resolver(dns: Nameserver, clock: Clock) -> AsyncIterator[Resolver]:
    resolver = Resolver(ResolverSettings(servers=(dns.address,), timeout=5.0, attempts=1), clock)
    yield resolver
    await resolver.close()


@pytest.fixture
async def hasty(dns: Nameserver, clock: Clock) -> AsyncIterator[Resolver]:
    """A resolver for servers that do not answer."""
    resolver = Resolver(ResolverSettings(servers=(dns.address,), timeout=0.1, attempts=2), clock)
    yield resolver
    await resolver.close()


async def test_mx_records_come_lowest_preference_first(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "MX", "20 Backup.example.net.", "10 mx.example.com.")
    answer = await resolver.resolve_mx("Example.COM")
    assert answer.outcome is Outcome.FOUND
    assert answer.records == (Mx(10, "mx.example.com"), Mx(20, "backup.example.net"))


async def test_a_domain_beyond_ascii_is_asked_for_in_a_labels(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("xn--bcher-kva.example", "MX", "10 mx.example.com.")
    assert (await resolver.resolve_mx("Bücher.example")).records == (Mx(10, "mx.example.com"),)


async def test_a_host_has_the_addresses_of_both_families(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("mx.example.com", "A", "192.0.2.1", "192.0.2.2")
    dns.add("mx.example.com", "AAAA", "2001:db8::1")
    answer = await resolver.resolve_addresses("mx.example.com")
    assert sorted(answer.records) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert not answer.fixed


async def test_a_name_that_does_not_exist_and_one_without_records_are_told_apart(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "TXT", '"x"')
    for ask in (resolver.resolve_mx, resolver.resolve_addresses):
        missing, empty = await ask("nowhere.example"), await ask("example.com")
        assert missing.outcome is Outcome.NO_SUCH_NAME
        assert missing.text == "nowhere.example does not exist"
        assert empty.outcome is Outcome.NO_RECORDS
        assert "example.com has no" in empty.text


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.SERVFAIL, "SERVFAIL from"),
        (Fault.REFUSED, "REFUSED from"),
        (Fault.FORMERR, "FORMERR from"),
        (Fault.TRUNCATED_ALWAYS, "the answer is truncated"),
        (Fault.HANG_UP, "EOFError from"),
        (Fault.SILENT, "no answer in time"),
        (Fault.GARBAGE, "no answer in time"),
        (Fault.WRONG_ID, "no answer in time"),
        (Fault.WRONG_QUESTION, "no answer in time"),
    ],
)
async def test_a_server_that_fails_is_a_temporary_failure(dns: Nameserver, hasty: Resolver, fault: Fault, reason: str) -> None:
    dns.add("example.com", "MX", "10 mx.example.com")
    dns.fault("example.com", fault)
    answer = await hasty.resolve_mx("example.com")
    assert answer.outcome is Outcome.FAILED
    assert answer.text.startswith("look-up of MX example.com failed: ")
    assert reason in answer.text
    assert len(answer.text) < 200
    assert not answer.records


async def test_a_server_that_is_not_there_is_a_temporary_failure(dns: Nameserver) -> None:
    with Nameserver() as gone:
        address = gone.address
    resolver = Resolver(ResolverSettings(servers=(address,), timeout=0.1, attempts=1))
    assert (await resolver.resolve_mx("example.com")).outcome is Outcome.FAILED


async def test_the_next_server_answers_for_one_that_fails(dns: Nameserver) -> None:
    dns.add("example.com", "MX", "10 mx.example.com")
    with Nameserver() as bad:
        bad.fault("example.com", Fault.SERVFAIL)
        resolver = Resolver(ResolverSettings(servers=(bad.address, dns.address)))
        assert (await resolver.resolve_mx("example.com")).outcome is Outcome.FOUND
        assert bad.asked("example.com") == 1


async def test_a_server_that_lost_one_question_is_asked_again(dns: Nameserver, hasty: Resolver) -> None:
    dns.add("example.com", "MX", "10 mx.example.com")
    dns.fault("example.com", Fault.SILENT, times=1)
    assert (await hasty.resolve_mx("example.com")).outcome is Outcome.FOUND
    assert dns.asked("example.com") == 2


async def test_a_truncated_answer_is_fetched_over_tcp(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "MX", "10 mx.example.com")
    dns.fault("example.com", Fault.TRUNCATED)
    assert (await resolver.resolve_mx("example.com")).outcome is Outcome.FOUND
    assert [query.transport for query in dns.queries] == ["udp", "tcp"]


async def test_of_a_huge_answer_so_much_is_kept_as_anybody_needs(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "MX", *(f"{1999 - n} mx{n}.example.com" for n in range(2000)))
    dns.add("mx.example.com", "A", *(f"10.0.{n // 250}.{n % 250 + 1}" for n in range(3000)))
    mx, addresses = await resolver.resolve_mx("example.com"), await resolver.resolve_addresses("mx.example.com")
    assert [record.preference for record in mx.records] == list(range(MAX_MX))
    assert len(addresses.records) == MAX_ADDRESSES


async def test_names_in_records_that_no_host_could_have_are_left_out(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("example.com", "MX", r"10 a\000b.example", r"10 a\.b.example", r"10 \010250\0322\.0\.0.example", "20 good.example")
    dns.add("bad.example", "MX", r"10 a\032b.example")
    assert (await resolver.resolve_mx("example.com")).records == (Mx(20, "good.example"),)
    bad = await resolver.resolve_mx("bad.example")
    assert (bad.outcome, bad.records) == (Outcome.FOUND, ())


async def test_a_null_mx_has_an_empty_host_and_stands_alone(dns: Nameserver, resolver: Resolver) -> None:
    dns.add("null.example", "MX", "0 .")
    dns.add("both.example", "MX", "0 .", "10 mx.example.com")
    assert (await resolver.resolve_mx("null.example")).records == (Mx(0, ""),)
    assert (await resolver.resolve_mx("both.example")).records == (Mx(10, "mx.example.com"),)


class TestAliases:
    """CNAME records, which RFC 5321 §5.1 has followed for the domain."""

    async def test_an_alias_leads_to_the_records_of_its_target(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("alias.example", "CNAME", "example.com.")
        dns.add("example.com", "MX", "10 mx.example.com")
        assert (await resolver.resolve_mx("alias.example")).records == (Mx(10, "mx.example.com"),)
        assert dns.asked("example.com") == 0

    async def test_an_alias_is_followed_where_the_server_does_not(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("alias.example", "CNAME", "example.com.")
        dns.add("example.com", "MX", "10 mx.example.com")
        dns.fault("alias.example", Fault.ALIAS_ONLY)
        assert (await resolver.resolve_mx("alias.example")).records == (Mx(10, "mx.example.com"),)

    async def test_an_alias_of_a_name_that_does_not_exist_does_not_exist(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("alias.example", "CNAME", "nowhere.example.")
        answer = await resolver.resolve_mx("alias.example")
        assert (answer.outcome, answer.text) == (Outcome.NO_SUCH_NAME, "alias.example does not exist")

    async def test_an_alias_of_a_name_without_records_has_none(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("alias.example", "CNAME", "example.com.")
        dns.add("example.com", "TXT", '"x"')
        assert (await resolver.resolve_mx("alias.example")).outcome is Outcome.NO_RECORDS

    @pytest.mark.parametrize("fault", [None, Fault.ALIAS_ONLY])
    async def test_a_loop_of_aliases_is_a_failure(self, dns: Nameserver, resolver: Resolver, fault: Fault | None) -> None:
        dns.add("one.example", "CNAME", "two.example.")
        dns.add("two.example", "CNAME", "one.example.")
        if fault:
            dns.fault("one.example", fault)
            dns.fault("two.example", fault)
        assert (await resolver.resolve_mx("one.example")).outcome is Outcome.FAILED
        assert len(dns.queries) <= 4

    async def test_an_alias_of_a_malformed_name_is_a_failure(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("alias.example", "CNAME", r"a\000b.example.")
        dns.fault("alias.example", Fault.ALIAS_ONLY)
        assert "malformed" in (await resolver.resolve_mx("alias.example")).text


class TestFamilies:
    """IPv6 and IPv4 addresses are two questions, and one good answer is enough."""

    async def test_a_failure_of_one_family_does_not_hide_the_other(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("mx.example.com", "A", "192.0.2.1")
        dns.fault("mx.example.com", Fault.SERVFAIL, "AAAA")
        assert (await resolver.resolve_addresses("mx.example.com")).records == ("192.0.2.1",)

    async def test_a_failure_of_one_family_and_nothing_of_the_other_is_a_failure(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("mx.example.com", "TXT", '"x"')
        dns.fault("mx.example.com", Fault.SERVFAIL, "AAAA")
        assert (await resolver.resolve_addresses("mx.example.com")).outcome is Outcome.FAILED

    async def test_an_address_is_its_own_answer(self, dns: Nameserver, resolver: Resolver) -> None:
        assert (await resolver.resolve_addresses("192.0.2.1")).records == ("192.0.2.1",)
        assert (await resolver.resolve_addresses("2001:DB8::1")).records == ("2001:db8::1",)
        assert dns.queries == []


class TestKeeping:
    """Answers are kept for their time to live, within bounds."""

    async def test_an_answer_is_kept_for_its_time_to_live(self, dns: Nameserver, resolver: Resolver, clock: Clock) -> None:
        dns.add("example.com", "MX", "10 mx.example.com", ttl=60)
        await resolver.resolve_mx("example.com")
        clock.now += 59
        await resolver.resolve_mx("example.com")
        assert dns.asked("example.com") == 1
        clock.now += 2
        await resolver.resolve_mx("example.com")
        assert dns.asked("example.com") == 2

    async def test_an_alias_lives_as_long_as_the_shortest_of_its_records(self, dns: Nameserver, resolver: Resolver, clock: Clock) -> None:
        dns.add("alias.example", "CNAME", "example.com.", ttl=30)
        dns.add("example.com", "MX", "10 mx.example.com", ttl=600)
        await resolver.resolve_mx("alias.example")
        clock.now += 31
        await resolver.resolve_mx("alias.example")
        assert dns.asked("alias.example") == 2

    @pytest.mark.parametrize(("ttl", "kept"), [(0, 5), (10_000_000, 86400)])
    async def test_a_time_to_live_has_bounds(self, dns: Nameserver, resolver: Resolver, clock: Clock, ttl: int, kept: int) -> None:
        dns.add("example.com", "MX", "10 mx.example.com", ttl=ttl)
        await resolver.resolve_mx("example.com")
        clock.now += kept - 1
        await resolver.resolve_mx("example.com")
        assert dns.asked("example.com") == 1
        clock.now += 2
        await resolver.resolve_mx("example.com")
        assert dns.asked("example.com") == 2

    @pytest.mark.parametrize(("minimum", "kept"), [(120, 120), (100_000, 900)])
    @pytest.mark.parametrize("domain", ["nowhere.example", "empty.example"])
    async def test_that_there_is_nothing_is_kept_as_long_as_the_soa_allows(
        self, dns: Nameserver, resolver: Resolver, clock: Clock, minimum: int, kept: int, domain: str
    ) -> None:
        dns.negative_ttl = minimum
        dns.add("empty.example", "TXT", '"x"')
        await resolver.resolve_mx(domain)
        clock.now += kept - 1
        await resolver.resolve_mx(domain)
        assert dns.asked(domain) == 1
        clock.now += 2
        await resolver.resolve_mx(domain)
        assert dns.asked(domain) == 2

    async def test_that_there_is_nothing_is_kept_for_a_while_without_a_soa(self, dns: Nameserver, resolver: Resolver, clock: Clock) -> None:
        dns.fault("nowhere.example", Fault.NO_SOA)
        await resolver.resolve_mx("nowhere.example")
        await resolver.resolve_mx("nowhere.example")
        assert dns.asked("nowhere.example") == 1
        clock.now += 901
        await resolver.resolve_mx("nowhere.example")
        assert dns.asked("nowhere.example") == 2

    async def test_a_failure_is_kept_for_a_short_while(self, dns: Nameserver, resolver: Resolver, clock: Clock) -> None:
        dns.fault("example.com", Fault.SERVFAIL)
        dns.add("example.com", "MX", "10 mx.example.com")
        await resolver.resolve_mx("example.com")
        dns.heal("example.com")
        assert (await resolver.resolve_mx("example.com")).outcome is Outcome.FAILED
        clock.now += 16
        assert (await resolver.resolve_mx("example.com")).outcome is Outcome.FOUND

    async def test_what_is_forgotten_is_asked_for_again(self, dns: Nameserver, resolver: Resolver) -> None:
        await resolver.resolve_mx("nowhere.example")
        resolver.forget()
        await resolver.resolve_mx("nowhere.example")
        assert dns.asked("nowhere.example") == 2

    async def test_no_more_records_are_kept_than_allowed(self, dns: Nameserver) -> None:
        resolver = Resolver(ResolverSettings(servers=(dns.address,), kept_records=5))
        for name in ("one", "two", "three"):
            dns.add(f"{name}.example", "MX", "10 a.example", "10 b.example")
        for name in ("one", "two", "one", "three", "one", "two"):
            await resolver.resolve_mx(f"{name}.example")
        assert dns.asked("one.example") == 1
        assert dns.asked("two.example") == 2

    async def test_an_answer_larger_than_all_that_may_be_kept_is_given_and_not_kept(self, dns: Nameserver) -> None:
        resolver = Resolver(ResolverSettings(servers=(dns.address,), kept_records=1))
        dns.add("example.com", "MX", "10 a.example", "10 b.example")
        for _ in range(2):
            assert len((await resolver.resolve_mx("example.com")).records) == 2
        assert dns.asked("example.com") == 2


class TestTogether:
    """Questions at one time."""

    async def test_equal_questions_at_one_time_are_asked_once(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 mx.example.com")
        dns.fault("example.com", Fault.HELD)
        waiting = [asyncio.create_task(resolver.resolve_mx("example.com")) for _ in range(20)]
        await asyncio.to_thread(dns.wait_asked, "example.com")
        dns.release("example.com")
        answers = await asyncio.gather(*waiting)
        assert {answer.outcome for answer in answers} == {Outcome.FOUND}
        assert dns.asked("example.com") == 1

    async def test_whoever_gives_up_takes_the_answer_from_nobody(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.add("example.com", "MX", "10 mx.example.com")
        dns.fault("example.com", Fault.HELD)
        first, second = (asyncio.create_task(resolver.resolve_mx("example.com")) for _ in range(2))
        await asyncio.to_thread(dns.wait_asked, "example.com")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        dns.release("example.com")
        assert (await second).outcome is Outcome.FOUND
        assert dns.asked("example.com") == 1

    async def test_closing_tells_those_who_wait_that_it_failed(self, dns: Nameserver, resolver: Resolver) -> None:
        dns.fault("example.com", Fault.HELD)
        waiting = asyncio.create_task(resolver.resolve_mx("example.com"))
        await asyncio.to_thread(dns.wait_asked, "example.com")
        await resolver.close()
        assert (await waiting).outcome is Outcome.FAILED

    async def test_many_different_questions_are_answered(self, dns: Nameserver, resolver: Resolver) -> None:
        for n in range(600):
            dns.add(f"d{n}.example", "MX", f"10 mx{n}.example")
        answers = await asyncio.gather(*(resolver.resolve_mx(f"d{n}.example") for n in range(600)))
        assert [answer.records for answer in answers] == [(Mx(10, f"mx{n}.example"),) for n in range(600)]

    async def test_nothing_is_left_open(self, dns: Nameserver, hasty: Resolver) -> None:
        dns.add("cut.example", "MX", "10 mx.example.com")
        dns.fault("cut.example", Fault.HANG_UP)
        dns.fault("silent.example", Fault.SILENT)
        before = len(list(Path("/proc/self/fd").iterdir()))
        await asyncio.gather(*(hasty.resolve_mx(name) for name in ("cut.example", "silent.example", "nowhere.example")))
        gc.collect()
        async with asyncio.timeout(5):
            while len(list(Path("/proc/self/fd").iterdir())) > before + 1:  # the server's side of the TCP connection
                await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1


class TestSettings:
    """What an administrator may say."""

    async def test_dns_is_not_asked_for_a_host_of_the_settings(self, dns: Nameserver) -> None:
        resolver = Resolver(ResolverSettings(servers=(dns.address,), hosts={"Store.Example": ("192.0.2.9", "2001:DB8::9")}))
        answer = await resolver.resolve_addresses("store.example")
        assert (answer.records, answer.fixed) == (("192.0.2.9", "2001:db8::9"), True)
        assert (await resolver.resolve_mx("store.example")).outcome is Outcome.NO_RECORDS
        assert dns.queries == []

    async def test_localhost_is_this_machine(self, dns: Nameserver, resolver: Resolver) -> None:
        assert (await resolver.resolve_addresses("localhost")).records == ("127.0.0.1", "::1")
        assert dns.queries == []

    @pytest.mark.parametrize(
        "server", ["", "dns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:x", "[192.0.2.1", "[::1]53", "[::1]:65536"]
    )
    def test_a_server_that_is_no_address_is_refused(self, server: str) -> None:
        with pytest.raises(ValueError, match="is not a server of names"):
            Resolver(ResolverSettings(servers=(server,)))

    @pytest.mark.parametrize("server", ["192.0.2.1", "192.0.2.1:5353", "::1", "[::1]", "[::1]:53"])
    def test_a_server_is_written_with_or_without_a_port(self, server: str) -> None:
        Resolver(ResolverSettings(servers=(server,)))

    def test_a_host_of_the_settings_that_is_malformed_is_refused(self) -> None:
        with pytest.raises(ValueError):
            Resolver(ResolverSettings(hosts={"store.example": ("nonsense",)}))

    @pytest.mark.parametrize("change", [{"timeout": 0.0}, {"timeout": float("nan")}, {"attempts": 0}])
    def test_settings_with_which_no_look_up_could_end_well_are_refused(self, change: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="a look-up needs"):
            replace(ResolverSettings(), **change)

    async def test_the_systems_servers_are_read_again_when_they_change(self, dns: Nameserver, tmp_path: Path, clock: Clock) -> None:
        path = tmp_path / "resolv.conf"
        resolver = Resolver(ResolverSettings(system=path, timeout=0.05, attempts=1, min_ttl=0.1, failure_ttl=0.1), clock)
        servers = [str(server) for server in resolver._client.nameservers]
        assert servers == ["Do53:127.0.0.1@53"]
        path.write_text("# comment\nnameserver 127.0.0.99\nnameserver fe80::1%lo\nnameserver nonsense\noptions edns0\n")
        await resolver.resolve_mx("example.com")
        assert "Do53:127.0.0.99@53" in [str(server) for server in resolver._client.nameservers]
        path.write_bytes(b"\xff\xfe nameserver\n\xff")
        clock.now += 1
        await resolver.resolve_mx("example.com")
        assert [str(server) for server in resolver._client.nameservers] == ["Do53:127.0.0.1@53"]

    @pytest.mark.parametrize("name", ["", "a b", "[192.0.2.1]", "a..b", "x" * 300])
    async def test_a_malformed_name_is_the_callers_mistake(self, resolver: Resolver, dns: Nameserver, name: str) -> None:
        with pytest.raises(ValueError):
            await resolver.resolve_mx(name)
        with pytest.raises(ValueError):
            await resolver.resolve_addresses(name)
        assert dns.queries == []
