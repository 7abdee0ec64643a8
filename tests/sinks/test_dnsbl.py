"""Block lists and allow lists with weights, against a server of names; and clients without a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.sinks.dnsbl import Dnsbl, Site
from penstock.sinks.reverse_dns import ReverseDns
from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Defer, Reject
from support.nameserver import Fault, Nameserver

ZEN, OTHER, ALLOW = "zen.example", "bl.example", "allow.example"
Make = Callable[..., SinkTester]


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


@pytest.fixture
def make(sink_tester: SinkTesters, dns: Nameserver) -> Make:
    host, _, port = dns.address.rpartition(":")

    def made(*sites: str, **settings: Any) -> SinkTester:
        tester = sink_tester(Dnsbl, sites=list(sites), servers=[host], port=int(port), **{"timeout": 1.0, **settings})
        tester.set_session("192.0.2.7")
        return tester

    return made


def listed(dns: Nameserver, zone: str, answer: str = "127.0.0.2") -> None:
    dns.add(f"7.2.0.192.{zone}", "A", answer)


async def test_who_is_on_a_list_is_refused_and_told_which(make: Make, dns: Nameserver) -> None:
    tester = make(ZEN)
    assert await tester.rcpt_to("bob@example.com") is None
    listed(dns, ZEN)
    refused = await make(ZEN).rcpt_to("bob@example.com")
    assert refused == Reject(550, "5.7.1", f"Service unavailable; client [192.0.2.7] is blocked using {ZEN}")
    assert isinstance(await make(ZEN, action="defer").rcpt_to("bob@example.com"), Defer)
    assert await make(ZEN, action="mark").rcpt_to("bob@example.com") is None


async def test_weights_come_to_the_threshold_and_an_allow_list_takes_away(make: Make, dns: Nameserver) -> None:
    listed(dns, ZEN)
    sites = (f"{ZEN}*2", f"{OTHER}*1", f"{ALLOW}*-3")
    assert await make(*sites, threshold=3).rcpt_to("bob@example.com") is None
    listed(dns, OTHER)
    refused = await make(*sites, threshold=3).rcpt_to("bob@example.com")
    assert isinstance(refused, Reject)
    assert ZEN in str(refused.reply)
    listed(dns, ALLOW)
    assert await make(*sites, threshold=3).rcpt_to("bob@example.com") is None


@pytest.mark.parametrize(
    ("pattern", "answer", "counts"),
    [("", "127.0.0.9", True), ("=127.0.0.[2..4;10]", "127.0.0.3", True), ("=127.0.0.[2..4;10]", "127.0.0.10", True),
     ("=127.0.0.[2..4;10]", "127.0.0.9", False), ("", "203.0.113.1", False), ("=127.0.[0..255].1", "127.0.77.1", True)],
)  # fmt: skip
async def test_only_an_answer_that_fits_counts(make: Make, dns: Nameserver, pattern: str, answer: str, counts: bool) -> None:
    """What is outside of 127.0.0.0/8 is a domain that was sold, or a list that has ended (RFC 5782 §2.1)."""
    listed(dns, ZEN, answer)
    assert (await make(ZEN + pattern).rcpt_to("bob@example.com") is not None) is counts


async def test_ipv6_is_asked_digit_by_digit(make: Make, dns: Nameserver) -> None:
    """RFC 5782 §2.4."""
    tester = make(ZEN)
    tester.set_session("2001:db8::1")
    dns.add(".".join(reversed("20010db8" + "0" * 23 + "1")) + f".{ZEN}", "A", "127.0.0.2")
    assert isinstance(await tester.rcpt_to("bob@example.com"), Reject)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.SERVFAIL])
async def test_a_list_that_does_not_answer_says_nothing_and_the_others_do(make: Make, dns: Nameserver, fault: Fault) -> None:
    dns.fault(f"7.2.0.192.{ZEN}", fault)
    assert await make(ZEN, timeout=0.2).rcpt_to("bob@example.com") is None
    listed(dns, OTHER)
    assert isinstance(await make(ZEN, OTHER, timeout=0.2).rcpt_to("bob@example.com"), Reject)


async def test_lists_are_asked_once_for_all_recipients_and_sessions(make: Make, dns: Nameserver) -> None:
    tester = make(ZEN)
    for recipient in ("a@example.com", "b@example.com"):
        assert await tester.rcpt_to(recipient) is None
    assert dns.asked(f"7.2.0.192.{ZEN}") == 1


async def test_users_and_postmasters_are_not_asked_about(make: Make, dns: Nameserver) -> None:
    listed(dns, ZEN)
    tester = make(ZEN)
    assert await tester.rcpt_to("Postmaster@example.com") is None
    tester.set_session("192.0.2.7", user="alice")
    assert await tester.rcpt_to("bob@example.com") is None
    assert not dns.asked(f"7.2.0.192.{ZEN}")


@pytest.mark.parametrize(
    "text",
    ["", "a b", "zen.example=127.0.0", "zen.example=127.0.0.[2..300]", "zen.example=127.0.0.x", "zen.example*x", "zen.example=127.0.0.[2..",
     "zen.example=127.0.0.[]", "zen..example", "zen.example*1000"],
)  # fmt: skip
def test_a_list_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"list|pattern"):
        Site.parse(text)


async def test_a_client_without_a_name_waits_or_is_refused(sink_tester: SinkTesters) -> None:
    tester = sink_tester(ReverseDns)
    tester.set_session("192.0.2.7")
    refused = await tester.rcpt_to("bob@example.com")
    assert isinstance(refused, Defer)
    assert refused.reply.enhanced == "4.7.25"
    assert await tester.rcpt_to("postmaster@example.com") is None
    tester.set_session("192.0.2.7", client_name="mail.example.org")
    assert await tester.rcpt_to("bob@example.com") is None
    tester.set_session("192.0.2.7", user="alice")
    assert await tester.rcpt_to("bob@example.com") is None


async def test_a_name_as_all_customers_have_it_is_none(sink_tester: SinkTesters) -> None:
    tester = sink_tester(ReverseDns, action="reject", generic=["*-*-*-*.dyn.Provider.example"])
    tester.set_session("192.0.2.7", client_name="192-0-2-7.DYN.provider.example")
    assert isinstance(await tester.rcpt_to("bob@example.com"), Reject)
    tester.set_session("192.0.2.7", client_name="mail.provider.example")
    assert await tester.rcpt_to("bob@example.com") is None
    for everybody in ("*", "", "*.*"):
        with pytest.raises(ValueError, match="refuse everybody"):
            sink_tester(ReverseDns, generic=[everybody])
