"""A worker that dies takes only its own sessions with it; the supervisor starts it again, and its mail goes on."""

from __future__ import annotations

import os
import signal
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.messages import Message, MessageMaker
from support.processes import wait_gone
from support.server import Server
from support.sinks import STALL
from support.sockets import owner
from support.waiting import wait_until

LIMITS = "[limits]\nconnections_per_client = 1000\n"


@contextmanager
def _session_with_each(server: Server) -> Iterator[list[smtplib.SMTP]]:
    """One open session with each worker, in the order of ``server.workers``."""
    with ExitStack() as stack:
        found: dict[int, smtplib.SMTP] = {}
        for _ in range(100):
            client = smtplib.SMTP(*server.address, timeout=20)
            stack.callback(client.close)
            client.ehlo("client.example")
            assert client.sock is not None
            found.setdefault(owner(client.sock, server.workers), client)
            if len(found) == len(server.workers):
                break
        yield [found[pid] for pid in server.workers]


def _send(client: smtplib.SMTP, message: Message) -> None:
    client.sendmail("load@client.example", ["alice@example.com"], message.content)


def test_sessions_of_other_workers_go_on_when_one_is_killed(tmp_path: Path) -> None:
    """The session of the killed worker ends; the other one sends mail as if nothing had happened; the worker comes back."""
    maker = MessageMaker(2000)
    with Server(tmp_path, workers=2, more=LIMITS) as server, _session_with_each(server) as (lost, kept):
        other = server.workers[1]
        killed = server.kill_worker(0)
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            _send(lost, maker.make())
        message = maker.make()
        _send(kept, message)
        server.mailboxes.wait_for({message.token})
        server.wait_for_workers()
        assert killed not in server.workers
        assert other in server.workers
        kept.quit()


def test_mail_in_the_spool_of_a_killed_worker_is_delivered_by_its_successor(tmp_path: Path) -> None:
    """Mail that a worker had accepted and not delivered when it was killed is delivered after its restart."""
    gate = tmp_path / "gate"
    maker = MessageMaker(2000)
    messages = [maker.make() for _ in range(10)]
    more = LIMITS + STALL.format(until=gate)
    with Server(tmp_path / "server", workers=2, more=more) as server, _session_with_each(server) as (mine, _other):
        for message in messages:
            _send(mine, message)
        server.kill_worker(0)
        server.wait_for_workers()
        gate.touch()
        server.mailboxes.wait_for({message.token for message in messages})
        found = server.mailboxes.compare({message.token: message.digest for message in messages})
        assert not found.corrupt
        assert not found.duplicates, "nothing was being delivered when the worker was killed"


def test_a_restarted_worker_takes_new_sessions(tmp_path: Path) -> None:
    """After the restart there is a session to be had with each of the two workers again."""
    with Server(tmp_path, workers=2, more=LIMITS) as server:
        server.kill_worker(1)
        server.wait_for_workers()
        wait_until(lambda: _reachable(server), "both workers take sessions", 20)


def _reachable(server: Server) -> bool:
    try:
        with _session_with_each(server):
            return True
    except (KeyError, OSError, AssertionError):  # the last: the server closed before we saw who had it
        return False


def test_workers_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed leaves no worker behind that would hold the spool and the port."""
    with Server(tmp_path, workers=2) as server:
        workers = list(server.workers)
        os.kill(server.supervisor, signal.SIGKILL)
        wait_gone(workers)
