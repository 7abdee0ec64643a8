"""SIGTERM is polite: a transaction under way is finished, nothing new is begun, and the exit code is 0."""

from __future__ import annotations

import select
import smtplib
import socket
from pathlib import Path

from support.messages import MessageMaker
from support.processes import wait_gone
from support.server import Server
from support.waiting import wait_until


def _begin(client: smtplib.SMTP) -> None:
    """A transaction up to 354."""
    client.ehlo("client.example")
    assert client.mail("load@client.example")[0] == 250
    assert client.rcpt("alice@example.com")[0] == 250
    assert client.docmd("DATA")[0] == 354


def _turned_away(address: tuple[str, int]) -> bool:
    """Whether a new session gets 421, or no connection at all."""
    try:
        with socket.create_connection(address, 2) as probe:
            return probe.recv(1000)[:3] in (b"421", b"")
    except ConnectionError:
        return True
    except TimeoutError:  # taken by the kernel and then left alone, which is the worst for the client
        return False


def test_a_transaction_under_way_is_finished_before_the_server_ends(tmp_path: Path) -> None:
    """The message gets its 250 after SIGTERM, what comes after it 421, and the server ends with 0; the message is not lost."""
    message = MessageMaker(5000).make()
    with Server(tmp_path) as server:
        pids = server.pids()
        with smtplib.SMTP(*server.address, timeout=20) as client:
            _begin(client)
            client.send(message.wire[:1000])
            server.terminate()
            wait_until(lambda: _turned_away(server.address), "new sessions are turned away")
            client.send(message.wire[1000:])
            assert client.getreply()[0] == 250
            assert client.docmd("MAIL FROM:<load@client.example>")[0] == 421
        assert server.wait() == 0
        wait_gone(pids)
        server.start()  # what was accepted at the last moment is delivered now at the latest
        server.mailboxes.wait_for({message.token})
        assert not server.mailboxes.compare({message.token: message.digest}).corrupt


def test_an_idle_session_is_sent_away_with_421(tmp_path: Path) -> None:
    """A session without a transaction does not hold up the end: it is told 421, at once or at its next command."""
    with Server(tmp_path) as server, smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        server.terminate()
        wait_until(lambda: _turned_away(server.address), "new sessions are turned away")
        assert client.sock is not None
        told = select.select([client.sock], [], [], 1)[0]  # a command sent into a closed connection could lose the reply
        assert (client.getreply() if told else client.noop())[0] == 421
        assert server.wait() == 0


def test_a_server_without_sessions_ends_at_once(tmp_path: Path) -> None:
    """With nothing to wait for, SIGTERM ends the server within seconds, with 0."""
    with Server(tmp_path) as server:
        assert server.stop(timeout=10) == 0
