"""Exim and OpenSMTPD on either side: what they take and refuse from us, and what they hand to us."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.relaying import SENDER, literal, outcome, outcomes, reports, send, settings, told, wait_exact
from support.mailservers import Exim, MailServer, OpenSmtpd
from support.messages import MessageMaker
from support.server import Server
from support.waiting import wait_until

pytestmark = pytest.mark.root
KINDS: dict[str, type[MailServer]] = {"exim": Exim, "opensmtpd": OpenSmtpd}
HEAD = b"From: sender@client.example\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@client.example>\r\n"
CONTENT = HEAD + b"Subject: one\r\nMIME-Version: 1.0\r\n\r\n.\r\n..dots\r\n" + b"x" * 998 + b"\r\ncaf\xe9\r\n\r\nend\r\n"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[MailServer]:
    """Which of the two."""
    return KINDS[request.param]


@pytest.fixture
def receiver(kind: type[MailServer]) -> Iterator[MailServer]:
    """One that takes mail for any domain."""
    with kind() as running:
        yield running


def test_content_arrives_to_the_byte(receiver: MailServer, tmp_path: Path) -> None:
    with Server(tmp_path, more=settings(literal(receiver.address))) as server:
        send(server, ["alice@remote.example"], CONTENT, "BODY=8BITMIME")
        assert outcome(server, "alice@remote.example", "relayed")["reply"].startswith("250")
        wait_exact(receiver.mail, CONTENT)
        assert outcomes(server)["alice@remote.example"] == ["relayed"]


def test_a_burst_arrives_whole(receiver: MailServer, tmp_path: Path) -> None:
    """Fifty messages over connections that are used again; each arrives once."""
    maker = MessageMaker(4000)
    messages = [maker.make() for _ in range(50)]
    everything = {message.token: message.digest for message in messages}
    with Server(tmp_path, more=settings(literal(receiver.address))) as server:
        with smtplib.SMTP(*server.address, timeout=20) as client:
            for message in messages:
                client.sendmail(SENDER, ["alice@remote.example"], message.content)
        receiver.mailboxes.wait_for(everything, 60)
        wait_until(lambda: not server.queue(), "the queue is empty")
    found = receiver.mailboxes.compare(everything)
    assert not found.duplicates


def test_a_refused_recipient_is_reported_and_the_other_delivered(receiver: MailServer, tmp_path: Path) -> None:
    with Server(tmp_path, more=settings(literal(receiver.address))) as server:
        send(server, ["alice@remote.example", "unknown@remote.example"], CONTENT, "BODY=8BITMIME")
        failed = outcome(server, "unknown@remote.example", "failed")
        assert failed["reply"].startswith("550")
        assert told(reports(tmp_path / "reports", 1)) == {"unknown@remote.example": ("failed", failed["status"])}
        wait_exact(receiver.mail, CONTENT)
        assert outcomes(server)["alice@remote.example"] == ["relayed"]


def test_a_busy_recipient_is_tried_again_until_it_is_given_up(tmp_path: Path) -> None:
    """Exim defers ``busy`` with 451."""
    with Exim() as receiver, Server(tmp_path, more=settings(literal(receiver.address), expire="2s")) as server:
        send(server, ["busy@remote.example"], CONTENT, "BODY=8BITMIME")
        assert outcome(server, "busy@remote.example", "deferred")["reply"].startswith("451")
        outcome(server, "busy@remote.example", "expired")
        assert told(reports(tmp_path / "reports", 1))["busy@remote.example"][0] == "failed"


@pytest.mark.parametrize("chunking", [True, False], ids=["bdat", "data"])
def test_exim_answers_for_each_recipient_by_prdr(tmp_path: Path, chunking: bool) -> None:
    """Without PRDR a message that one of them does not want would come back from nobody, or from all."""
    with Exim() as receiver:
        more = settings(literal(receiver.address)) + f"\n[delivery]\nchunking = {str(chunking).lower()}\n"
        with Server(tmp_path, more=more) as server:
            people = [f"{name}@remote.example" for name in ("alice", "full", "later", "bob")]
            send(server, people, CONTENT, "BODY=8BITMIME")
            assert outcome(server, people[0], "relayed")["reply"].startswith("250")
            assert outcome(server, people[3], "relayed")["reply"].startswith("250")
            assert "mailbox full" in outcome(server, people[1], "failed")["reply"]
            assert "mailbox busy" in outcome(server, people[2], "deferred")["reply"]
            wait_exact(receiver.mail, CONTENT)


def test_what_they_relay_to_us_is_taken(kind: type[MailServer], tmp_path: Path) -> None:
    """Twenty messages and one of a megabyte, through the other server to a Maildir here."""
    maker = MessageMaker(3000)
    messages = [*(maker.make() for _ in range(20)), MessageMaker(1_000_000).make()]
    everything = {message.token: message.digest for message in messages}
    with Server(tmp_path) as server, kind(relay_to=server.address) as sender:
        with smtplib.SMTP(*sender.address, timeout=20) as client:
            for message in messages:
                client.sendmail(SENDER, ["alice@example.com"], message.content)
        server.mailboxes.wait_for(everything, 60)
        assert not any(line["event"] == "rejected" for line in server.log())
    found = server.mailboxes.compare(everything)
    assert not found.corrupt
    assert not found.duplicates


def test_we_stand_between_the_two(tmp_path: Path) -> None:
    """Exim to us to OpenSMTPD: what the first sent is what the last has."""
    content = CONTENT.replace(b"<1@", b"<between@")
    with OpenSmtpd() as last, Server(tmp_path, more=settings(literal(last.address))) as server, Exim(relay_to=server.address) as first:
        with smtplib.SMTP(*first.address, timeout=20) as client:
            client.sendmail(SENDER, ["alice@remote.example"], content, ["BODY=8BITMIME"])
        outcome(server, "alice@remote.example", "relayed")
        wait_exact(last.mail, content)
