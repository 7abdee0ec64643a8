"""A thousand destinations that do not work, and one that does: mail for the living one is as quick as if it were alone.

The server finds all of them by DNS, as in life. Of the dead domains most lead to a host that answers no SYN, so that each connection waits
for its whole time, some to one that refuses, and for some no name server answers; together they want far more sessions than there are."""

from __future__ import annotations

import smtplib
import statistics
from pathlib import Path

import pytest

from support.counting import CountingReceiver
from support.load import BackgroundLoad, Plan
from support.nameserver import Fault, Nameserver
from support.remote import BackgroundRemote
from support.script import Connect, Script
from support.server import Server
from support.waiting import wait_until

from .relaying import Watch, logged, queued

SILENT, REFUSING, UNNAMED = 800, 100, 100
MESSAGES = 400
CONNECT = 10  # seconds that a connection may take; 30 by default
EACH = 2  # messages for each dead destination

CONFIG = """\
[limits]
connections_per_client = 1000
[relay]
networks = ["127.0.0.1"]
[dns]
servers = ["{dns}"]
timeout = "2s"
[delivery]
port = {port}
own_addresses = []
connect = "{connect}s"
"""


def _fill(dns: Nameserver) -> list[str]:
    """Makes all domains known; gives the dead ones."""
    for domain in ("live.example", "fresh.example", "later.example"):
        dns.mail_domain(domain, "127.0.0.1")
    silent = [f"silent{number}.example" for number in range(SILENT)]
    for domain in silent:
        dns.mail_domain(domain, "127.0.0.2")
    refusing = [f"refusing{number}.example" for number in range(REFUSING)]
    for domain in refusing:
        dns.mail_domain(domain, "127.0.0.3")
    unnamed = [f"unnamed{number}.example" for number in range(UNNAMED)]
    for domain in unnamed:
        dns.fault(domain, Fault.SILENT)
    return [*silent, *refusing, *unnamed]


def _hand_in(address: tuple[str, int], domains: list[str]) -> None:
    """One message for each domain, in one session."""
    with smtplib.SMTP(*address, local_hostname="client.example") as client:
        for domain in domains:
            client.sendmail("load@client.example", [f"nobody@{domain}"], f"Subject: dead\r\nMessage-ID: <{domain}>\r\n\r\nx\r\n")


def _latencies(address: tuple[str, int], watch: Watch, domain: str, messages: int) -> list[float]:
    """Sends a steady stream to a domain; how long each message took from its 250 to its arrival, in seconds, sorted."""
    plan = Plan(sessions=4, size=2048, rate=60, total=messages, recipient=f"bob@{domain}")
    with BackgroundLoad(plan, address) as load:
        sent = load.wait(60).acknowledged
    assert len(sent) == messages
    wait_until(lambda: sent.keys() <= watch.at.keys(), f"all {messages} for {domain} arrive", 30)
    # It may have arrived before we were told of its acceptance, which is not below nothing.
    return sorted(max(watch.at[token] - one.at, 0.0) for token, one in sent.items())


def _tried(server: Server) -> int:
    """How many destinations were found to be dead."""
    return len({line["queue"] for line in logged(server.folder, "destination rests")})


def _figures(name: str, latencies: list[float]) -> tuple[float, float]:
    """Median and 95th percentile, printed in milliseconds."""
    median, late = statistics.median(latencies), latencies[int(len(latencies) * 0.95)]
    print(f"{name}: median {median * 1000:.1f} ms, 95 % within {late * 1000:.1f} ms, longest {latencies[-1] * 1000:.1f} ms")
    return median, late


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_thousand_dead_destinations_do_not_delay_a_living_one(tmp_path: Path) -> None:
    """Median and 95th percentile of the latency stay where they were; a domain never seen before waits for one round at most."""
    with (
        Nameserver() as dns,
        CountingReceiver(tmp_path / "receiver") as receiver,
        BackgroundRemote(Script(connect=Connect.IGNORE), "127.0.0.2", receiver.port),
        Watch(receiver.ids) as watch,
    ):
        dead = _fill(dns)
        with Server(tmp_path, more=CONFIG.format(connect=CONNECT, dns=dns.address, port=receiver.port)) as server:
            _latencies(server.address, watch, "live.example", 50)
            alone = _figures("alone", _latencies(server.address, watch, "live.example", MESSAGES))
            for _ in range(EACH):
                _hand_in(server.address, dead)
            waiting = len(queued(server))
            beside = _figures("beside 1,000 dead ones", _latencies(server.address, watch, "live.example", MESSAGES))
            fresh = _figures("a new one among them", _latencies(server.address, watch, "fresh.example", 60))
            wait_until(lambda: _tried(server) >= len(dead), "each dead destination was tried", 90, interval=0.5)
            known = _figures("a new one when they are known", _latencies(server.address, watch, "later.example", 60))
            left = len(queued(server))
    print(f"{waiting} messages for dead destinations waited before, {left} after")
    assert waiting == left == EACH * len(dead), "nothing for a dead destination is lost or bounced meanwhile"
    assert fresh[1] < CONNECT + 5, "one that is as unknown as they are waits for one round of connections at most"
    for median, late in (beside, known):
        assert median < 3 * alone[0] + 0.02, "the median stays where it was"
        assert late < 3 * alone[1] + 0.1, "the 95th percentile stays where it was"
