"""What the guide promises of sinks that fail: the table of ``on_error``, in the session and in transport, with a real server."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from support.server import Server
from support.waiting import wait_until

FAULTY = '''
"""Sinks that edit and then fail."""
from penstock import Sink, on
from penstock.events import RcptTo, Submission

class Early(Sink):
    @on(RcptTo)
    async def fail(self, event):
        event.recipient.address = event.recipient.address.with_local("edited")
        raise RuntimeError("the secret reason")

class Late(Sink):
    @on(Submission)
    def fail(self, event):
        event.message.header.add("X-Edited", "yes")
        raise RuntimeError("the secret reason")
'''
BINDING = '[[binding]]\nname = "{0}-{1}"\nsink = "faulty:{0}"\non_error = "{1}"\nmatch = {{ recipient = "{0}-{1}@example.com" }}\n'
POLICIES = ("defer", "reject", "continue")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose sinks fail for some recipients."""
    folder = tmp_path_factory.mktemp("promises")
    (folder / "faulty.py").write_text(FAULTY)
    more = "".join(BINDING.format(name, policy) for name in ("Early", "Late") for policy in POLICIES)
    with Server(folder, more=more) as running:
        yield running


def _mail(server: Server, local: str) -> list[Path]:
    return list(server.mail.glob(f"example.com/{local}/new/*"))


@pytest.mark.parametrize(("policy", "code"), [("defer", 451), ("reject", 554), ("continue", 250)])
def test_a_failure_in_the_session_gets_the_reply_of_its_policy(server: Server, policy: str, code: int) -> None:
    """And the client never reads why."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo()
        client.mail("carol@client.example")
        got, text = client.rcpt(f"Early-{policy}@example.com")
    assert got == code
    assert b"secret" not in text


def test_a_failure_at_submission_defers_bounces_or_is_passed_over(server: Server) -> None:
    """What the failed handler edited is not there."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        for policy in POLICIES:
            client.sendmail(f"sender-{policy}@example.com", [f"Late-{policy}@example.com"], "Subject: x\r\n\r\ny\r\n")
    passed = wait_until(lambda: _mail(server, "late-continue"), "the message that goes on is delivered")
    assert b"X-Edited" not in passed[0].read_bytes()
    report = wait_until(lambda: _mail(server, "sender-reject"), "the sender is told")[0].read_bytes()
    assert message_from_bytes(report).get_content_type() == "multipart/report"
    assert b"Late-reject@example.com" in report
    assert b"secret" not in report
    server.wait_for_log(lambda line: line["event"] == "deferred" and line.get("by") == "Late-defer", "deferred")
    assert not _mail(server, "late-defer")
    assert not _mail(server, "late-reject")
    assert not _mail(server, "sender-defer")


def test_the_log_has_what_the_client_does_not(server: Server) -> None:
    """Binding, event and reason."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.sendmail("carol@client.example", ["Late-continue@example.com"], "Subject: z\r\n\r\ny\r\n")
    line = server.wait_for_log(lambda line: line["event"] == "sink failed" and line["binding"] == "Late-continue", "the failure")
    assert (line["event_name"], line["on_error"], line["error"]) == ("Submission", "continue", "RuntimeError: the secret reason")
