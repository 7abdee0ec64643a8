"""Penstock hands mail to a real Dovecot by LMTP, over TCP and over a Unix socket: each recipient of one message has its own end."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.relaying import exact, outcome, outcomes, reports, send, settings, told
from support.dovecot import Dovecot
from support.server import Server
from support.waiting import wait_until

pytestmark = pytest.mark.root
USERS = {"good": "good", "alice": "good", "full": "full", "broken": "broken"}
EVERYBODY = [f"{name}@example.com" for name in ("good", "full", "broken", "unknown")]
CONTENT = b"From: sender@client.example\r\nSubject: to four\r\n\r\n.\r\n.dots\r\ncaf\xe9\r\n"


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    """One that knows the users above."""
    with Dovecot({f"{name}@example.com": kind for name, kind in USERS.items()}) as running:
        yield running


@pytest.fixture(params=["tcp", "unix"])
def where(dovecot: Dovecot, request: pytest.FixtureRequest) -> str:
    """Dovecot as ``deliver`` names it."""
    return f"lmtp:[127.0.0.1]:{dovecot.port}" if request.param == "tcp" else f"lmtp:{dovecot.socket}"


def _has(dovecot: Dovecot, user: str, content: bytes) -> bool:
    paths = [path for part in ("new", "cur") for path in (dovecot.mail / user / part).glob("*")]
    return any(exact([path], content) for path in paths)


def test_each_recipient_of_one_message_has_its_own_end(dovecot: Dovecot, where: str, tmp_path: Path) -> None:
    """Taken, over quota, broken for now, unknown: four recipients in one transaction."""
    content = CONTENT + f"{where}\r\n".encode()
    with Server(tmp_path, deliver=where, more=settings(expire="3s")) as server:
        with smtplib.SMTP(*server.address, timeout=20) as client:
            client.sendmail("sender@client.example", EVERYBODY, content, ["BODY=8BITMIME"])
        assert outcome(server, "full@example.com", "failed")["status"] == "5.2.2"
        assert outcome(server, "unknown@example.com", "failed")["status"] == "5.1.1"
        assert outcome(server, "broken@example.com", "deferred")["status"].startswith("4.")
        outcome(server, "broken@example.com", "expired")
        assert outcomes(server)["good@example.com"] == ["delivered"], "what is tried again is tried for who is left"
        assert told(reports(tmp_path / "reports", 2)) == {
            "full@example.com": ("failed", "5.2.2"),
            "unknown@example.com": ("failed", "5.1.1"),
            "broken@example.com": ("failed", "4.4.7"),
        }
        assert server.queue() == []
    wait_until(lambda: _has(dovecot, "good@example.com", content), "Dovecot has the message as it was sent")


def test_mail_waits_while_dovecot_is_away_and_goes_in_when_it_is_back(tmp_path: Path) -> None:
    """Nothing listens at first: deferred, and delivered once it does."""
    dovecot = Dovecot({"alice@example.com": "good"})
    where = f"lmtp:{dovecot.socket}"
    with Server(tmp_path, deliver=where, more=settings()) as server:
        send(server, ["alice@example.com"], CONTENT, "BODY=8BITMIME")
        assert outcome(server, "alice@example.com", "deferred")["reason"]
        (entry,) = server.queue()
        assert entry["queue_name"]
        with dovecot:
            outcome(server, "alice@example.com", "delivered")
            wait_until(lambda: _has(dovecot, "alice@example.com", CONTENT), "Dovecot has the message as it was sent")
            assert len(dovecot.delivered_to("alice@example.com")) == 1


def test_a_burst_goes_in_whole(dovecot: Dovecot, where: str, tmp_path: Path) -> None:
    """A hundred messages, all there and each once."""
    before = len(dovecot.delivered_to("alice@example.com"))
    with Server(tmp_path, deliver=where, more=settings()) as server:
        with smtplib.SMTP(*server.address, timeout=20) as client:
            for number in range(100):
                client.sendmail("sender@client.example", ["alice@example.com"], b"Subject: %d\r\n\r\nbody\r\n" % number)
        wait_until(lambda: outcomes(server).get("alice@example.com", []) == ["delivered"] * 100, "all are delivered", 30)
    assert len(dovecot.delivered_to("alice@example.com")) - before == 100
