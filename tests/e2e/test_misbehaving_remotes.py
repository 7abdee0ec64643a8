"""The whole server against every misbehaviour there is, all at once: one domain, one route and one message for each.

Couriers alone are tried against the same catalogue in ``tests/delivery``; here real destinations, retries, expiry and reports are part of
it, and what the log says is held against what each remote saw: nothing is lost, and nothing sent twice but where the log owns up to it.
"""

from __future__ import annotations

import smtplib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from typing import Any

import pytest

from support.certificates import certificate
from support.misbehaviour import Behaviour, Outcome, Security
from support.misbehaviours import ALL, OUT_OF_TURN
from support.remote import BackgroundRemotes, Remote
from support.server import Server
from support.waiting import wait_until

LEVELS = {Security.OPPORTUNISTIC: "may", Security.REQUIRED: "encrypt", Security.VERIFIED: "verify"}
TAKEN = {"relayed", "delivered"}  # by SMTP, and by LMTP
FINAL = {*TAKEN, "failed", "expired"}
OUTCOMES = {
    "relayed": Outcome.DELIVERED,
    "delivered": Outcome.DELIVERED,
    "deferred": Outcome.DEFERRED,
    "failed": Outcome.BOUNCED,
    "expired": Outcome.BOUNCED,
}
# With BDAT the whole message has left when the connection is lost; who sends DATA has not been asked for it yet.
GONE_WITH_BDAT = {"rcpt-reset-after-550"}
# Timeouts are short enough to be met several times, and much longer than what a slow remote of the catalogue needs.
SETTINGS = """
[domain."client.example"]
deliver = "maildir:reports"

[relay]
networks = ["127.0.0.0/8"]

[delivery]
connect = "2s"
greeting = "3s"
data = "3s"
block = "3s"
content = "3s"
ca_file = "{authority}"

[retry]
intervals = ["1s"]
glitch = ["1s"]
jitter = 0.0
expire = "8s"
delay_notice = 0
"""
ROUTE = """
[route."{domain}"]
next_hop = "{lmtp}[127.0.0.1]:{port}"
tls = "{tls}"
"""
LOGIN = """user = "{}"
password = "{}"
auth_without_tls = true
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One behaviour with its remote, and where its mail is addressed to."""

    behaviour: Behaviour
    remote: Remote
    domain: str

    @property
    def recipients(self) -> list[str]:
        """The addresses, in order."""
        return [address.replace("remote.example", self.domain) for address in self.behaviour.mail.addresses]

    @property
    def route(self) -> str:
        """The table of the configuration that leads there."""
        behaviour = self.behaviour
        text = ROUTE.format(domain=self.domain, lmtp="lmtp:" * behaviour.lmtp, port=self.remote.port, tls=LEVELS[behaviour.security])
        return text + (LOGIN.format(*behaviour.mail.login) if behaviour.mail.login else "")

    def submit(self, client: smtplib.SMTP) -> None:
        """Hands the mail to the server."""
        mail = self.behaviour.mail
        options = ["BODY=8BITMIME"] + ["SMTPUTF8"] * (not mail.sender.isascii())
        assert client.sendmail(mail.sender, self.recipients, mail.content, options) == {}


@dataclass(frozen=True, slots=True)
class Story:
    """All that came of the whole catalogue.

    Args:
        lines: the log's lines about attempts, for each recipient in order.
        reported: how many reports name each recipient as failed.
    """

    lines: dict[str, list[dict[str, Any]]]
    reported: Counter[str]
    log: str


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """All behaviours, each with a remote that is not started yet."""
    return [Case(behaviour, Remote(behaviour.script), f"b{number:03}.example") for number, behaviour in enumerate(ALL)]


@pytest.fixture(scope="module")
def story(cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One server sends all mail until each recipient has an end."""
    settings = SETTINGS.format(authority=certificate("trusted.example").certificate)
    server = Server(tmp_path_factory.mktemp("server"), more=settings + "".join(case.route for case in cases))
    everybody = {address for case in cases for address in case.recipients}
    with BackgroundRemotes([case.remote for case in cases]), server:
        with smtplib.SMTP(*server.address, timeout=20) as client:
            for case in cases:
                case.submit(client)
        try:
            wait_until(lambda: everybody <= _ended(server), "each recipient has an end", 50, 0.25)
        except AssertionError as late:
            raise AssertionError(f"{late}\nwithout an end: {sorted(everybody - _ended(server))}") from None
        wait_until(lambda: not server.queue(), "the queue is empty", 10, 0.25)
        assert server.stop() == 0
        yield Story(_attempts(server), _reported(server), server.log_text())


def _attempts(server: Server) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in server.log():
        if line["event"] in OUTCOMES:
            found.setdefault(line["to"], []).append(line)
    return found


def _ended(server: Server) -> set[str]:
    return {line["to"] for line in server.log() if line["event"] in FINAL}


def _reported(server: Server) -> Counter[str]:
    """The recipients that reports in the senders' mailboxes name as failed, as RFC 3464 has them."""
    found: Counter[str] = Counter()
    for path in (server.folder / "reports" / "new").glob("*"):
        status: Any = message_from_bytes(path.read_bytes()).get_payload(1)
        for block in status.get_payload()[1:]:
            assert block["Action"] == "failed", path.read_text()
            found[block["Final-Recipient"].partition(";")[2].strip()] += 1
    return found


def _first(line: dict[str, Any]) -> Outcome:
    return Outcome.UNCERTAIN if line.get("uncertain") else OUTCOMES[line["event"]]


def _each(cases: list[Case], wrong: list[str]) -> None:
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong)


def test_the_first_attempt_ends_as_it_should_for_each_recipient(cases: list[Case], story: Story) -> None:
    wrong = []
    for case in cases:
        lost = Outcome.UNCERTAIN if case.behaviour.name in GONE_WITH_BDAT else Outcome(0)
        for address, expected in zip(case.recipients, case.behaviour.expected, strict=True):
            first = story.lines[address][0]
            if not _first(first) & (expected | lost):
                wrong.append(f"{case.behaviour.name} {address}: expected {expected}, got {first}")
    _each(cases, wrong)


def test_each_recipient_has_one_end(cases: list[Case], story: Story) -> None:
    wrong = []
    for case in cases:
        for address in case.recipients:
            ends = [line["event"] for line in story.lines[address] if line["event"] in FINAL]
            if len(ends) != 1 or story.lines[address][-1]["event"] not in FINAL:
                wrong.append(f"{case.behaviour.name} {address}: {ends}")
    _each(cases, wrong)


def test_what_comes_back_to_life_is_delivered(cases: list[Case], story: Story) -> None:
    later = [case for case in cases if case.behaviour.later]
    assert len(later) == 2
    for case in later:
        assert all(story.lines[address][-1]["event"] in TAKEN for address in case.recipients), case.behaviour.name


def test_nothing_is_sent_twice_but_where_the_log_says_that_it_may_be(cases: list[Case], story: Story) -> None:
    wrong = []
    for case in cases:
        copies = case.remote.copies()
        for address in case.recipients:
            lines = story.lines[address]
            allowed = sum(line["event"] in TAKEN or bool(line.get("uncertain")) for line in lines)
            if copies[address] > allowed:
                wrong.append(f"{case.behaviour.name} {address}: {copies[address]} copies, {allowed} owned up to")
            if lines[-1]["event"] in TAKEN and not copies[address]:
                wrong.append(f"{case.behaviour.name} {address}: relayed, and no copy")
    _each(cases, wrong)


def test_the_sender_is_told_of_each_failure_once(cases: list[Case], story: Story) -> None:
    wrong = []
    for case in cases:
        for address in case.recipients:
            expected = int(story.lines[address][-1]["event"] not in TAKEN)
            if story.reported[address] != expected:
                wrong.append(f"{case.behaviour.name} {address}: {story.reported[address]} reports in the place of {expected}")
    _each(cases, wrong)
    assert sum(story.reported.values()) == sum(story.reported[address] for case in cases for address in case.recipients)


def test_what_arrives_is_what_was_sent(cases: list[Case], story: Story) -> None:
    for case in cases:
        for transaction in case.remote.taken():
            content = case.behaviour.mail.content
            if case.behaviour.name != "no-8bitmime":  # may be converted
                assert transaction.content.endswith(content), case.behaviour.name
                assert transaction.content.startswith(b"Received: from "), case.behaviour.name


def test_the_client_does_nothing_that_it_should_not(cases: list[Case], story: Story) -> None:
    wrong = [f"{c.behaviour.name}: {c.remote.faults[:3]}" for c in cases if c.remote.faults and c.behaviour.name not in OUT_OF_TURN]
    _each(cases, wrong)


def test_no_error_of_the_server_itself_is_in_the_log(story: Story) -> None:
    assert not [line for line in story.log.splitlines() if '"level":"error"' in line or "Traceback" in line][:5]
