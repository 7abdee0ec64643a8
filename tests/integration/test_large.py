"""Large mail: content goes through the server in pieces, and its memory does not grow with the message."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from support.messages import MessageMaker
from support.processes import peak_kib
from support.server import Server

SIZE = 50 << 20
LIMITS = '[limits]\nmessage_size = "60 MiB"\n'


@pytest.mark.slow
def test_a_message_of_50_mib_does_not_grow_the_server_by_as_much(tmp_path: Path) -> None:
    """50 MiB arrive exact to the byte while the worker's memory stays well below twice the size of what it may keep in memory."""
    small, large = MessageMaker(4000).make(), MessageMaker(SIZE).make()
    with Server(tmp_path, more=LIMITS) as server:
        with smtplib.SMTP(*server.address, timeout=60) as client:
            client.sendmail("load@client.example", ["alice@example.com"], small.content)
            server.mailboxes.wait_for({small.token})
            before = peak_kib(server.workers[0])
            client.sendmail("load@client.example", ["alice@example.com"], large.content)
        server.mailboxes.wait_for({large.token}, 60)
        grown = peak_kib(server.workers[0]) - before
        assert not server.mailboxes.compare({large.token: large.digest}).corrupt
    print(f"before {before / 1024:.0f} MiB, grown by {grown / 1024:.1f} MiB")
    assert grown < 20 * 1024, f"grew by {grown} KiB for one message of {SIZE >> 10} KiB"


def test_a_message_over_the_limit_is_refused_before_and_after_it_was_sent(tmp_path: Path) -> None:
    """552 5.3.4 to MAIL with a SIZE too large (RFC 1870 §6.1), and to the end of data without one; the session goes on."""
    message, small = MessageMaker(300_000).make(), MessageMaker(1000).make()
    with Server(tmp_path, more='[limits]\nmessage_size = "200 KiB"\n') as server:
        with smtplib.SMTP(*server.address, timeout=20) as client:
            client.ehlo("client.example")
            code, text = client.mail("load@client.example", [f"SIZE={len(message.content)}"])
            assert (code, text[:5]) == (552, b"5.3.4")
            assert client.mail("load@client.example")[0] == 250
            assert client.rcpt("alice@example.com")[0] == 250
            code, text = client.data(message.content)
            assert (code, text[:5]) == (552, b"5.3.4")
            client.sendmail("load@client.example", ["alice@example.com"], small.content)
        server.mailboxes.wait_for({small.token})
        assert message.token not in server.mailboxes.copies
