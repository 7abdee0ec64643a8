"""The block lists, with a real name server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from examples.block_list import BlockList

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Delay, Disconnect
from support.nameserver import Fault, Nameserver

ONE, TWO = "bl.example.org", "dnsbl.example.net"


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


@pytest.fixture
def tester(sink_tester: SinkTesters, dns: Nameserver) -> SinkTester:
    host, _, port = dns.address.rpartition(":")
    made = sink_tester(BlockList, zones=[ONE, TWO], servers=[host], port=int(port), seconds=1.0)
    made.set_session("8.8.4.4")
    return made


async def test_who_is_on_no_list_passes_and_on_one_waits_and_on_two_goes(tester: SinkTester, dns: Nameserver) -> None:
    assert await tester.connected() is None
    dns.add(f"4.4.8.8.{ONE}", "A", "127.0.0.2")
    assert await tester.connected() == Delay(timedelta(seconds=10))
    dns.add(f"4.4.8.8.{TWO}", "A", "127.0.0.4")
    assert await tester.connected() == Disconnect(554, "5.7.1", "8.8.4.4 is on 2 block lists")


async def test_ipv6_is_asked_digit_by_digit(tester: SinkTester, dns: Nameserver) -> None:
    tester.set_session("2a00:1450::1")
    digits = ".".join(reversed("2a001450" + "0" * 23 + "1"))
    dns.add(f"{digits}.{ONE}", "A", "127.0.0.2")
    assert isinstance(await tester.connected(), Delay)


async def test_a_list_that_lists_the_whole_world_is_not_believed(tester: SinkTester, dns: Nameserver) -> None:
    for zone in (ONE, TWO):
        dns.add(f"4.4.8.8.{zone}", "A", "203.0.113.80")
    assert await tester.connected() is None


async def test_a_list_that_does_not_answer_says_nothing_about_anybody(tester: SinkTester, dns: Nameserver) -> None:
    dns.fault(f"4.4.8.8.{ONE}", Fault.SILENT)
    dns.fault(f"4.4.8.8.{TWO}", Fault.SERVFAIL)
    assert await tester.connected() is None
    assert len(tester.log.named("block list does not answer")) == 2


async def test_our_own_networks_are_not_asked_about(tester: SinkTester, dns: Nameserver) -> None:
    dns.add(f"1.2.0.10.{ONE}", "A", "127.0.0.2")
    for address in ("10.0.2.1", "127.0.0.1", "::1", "fd00::1"):
        tester.set_session(address)
        assert await tester.connected() is None
