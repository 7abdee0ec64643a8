"""Programs that users send with, through the server to a remote: swaks, msmtp, and our own ``sendmail``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.relaying import SENDER, literal, outcome, send, settings
from support.messages import Message, MessageMaker
from support.needs import needs, program
from support.remote import BackgroundRemote, Remote, wait_for_copies
from support.script import Face, Script
from support.server import Server

RECIPIENTS = [f"{name}@remote.example" for name in ("alice", "bob")]


@pytest.fixture
def remote() -> Iterator[Remote]:
    """A good server that offers STARTTLS."""
    with BackgroundRemote(Script(face=Face(tls=True))) as running:
        yield running


@pytest.fixture
def server(remote: Remote, tmp_path: Path) -> Iterator[Server]:
    """A server that relays to it."""
    with Server(tmp_path / "server", more=settings(literal(remote.address))) as running:
        yield running


@pytest.fixture
def message() -> Message:
    """Some 8 KiB with lines that start with dots."""
    return MessageMaker(8000).make()


def _check(remote: Remote, server: Server, message: Message) -> None:
    """One transaction for both recipients, in TLS, with the content as it was given to the client."""
    wait_for_copies(remote, len(RECIPIENTS))
    for recipient in RECIPIENTS:
        outcome(server, recipient, "relayed")
    assert remote.copies() == dict.fromkeys(RECIPIENTS, 1)
    (transaction,) = remote.taken()
    assert transaction.sender == SENDER
    assert transaction.tls
    assert transaction.content.endswith(message.content)
    assert remote.faults == []


def _run(tool: str, *arguments: str, content: bytes = b"") -> None:
    done = subprocess.run([program(tool) or tool, *arguments], input=content, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize("options", [(), ("--pipeline",)], ids=["plain", "pipelined"])
def test_swaks_sends_through_us(server: Server, remote: Remote, message: Message, tmp_path: Path, options: tuple[str, ...]) -> None:
    needs("swaks")
    path = tmp_path / "message"
    path.write_bytes(message.content.removesuffix(b"\r\n"))  # swaks ends the last line itself
    where = "{}:{}".format(*server.address)
    _run(
        "swaks",
        *options,
        "--server",
        where,
        "--from",
        SENDER,
        "--to",
        ",".join(RECIPIENTS),
        "--data",
        f"@{path}",
        "--helo",
        "client.example",
    )
    _check(remote, server, message)


def test_msmtp_sends_through_us(server: Server, remote: Remote, message: Message, tmp_path: Path) -> None:
    needs("msmtp")
    host, port = server.address
    path = tmp_path / "msmtprc"
    path.write_text(f"defaults\ntls off\nauth off\naccount default\nhost {host}\nport {port}\ndomain client.example\n")
    _run("msmtp", f"--file={path}", f"--from={SENDER}", *RECIPIENTS, content=message.content.replace(b"\r\n", b"\n"))
    _check(remote, server, message)


def test_our_sendmail_sends_through_the_running_server(server: Server, remote: Remote, message: Message) -> None:
    server.command("sendmail", "-i", "-f", SENDER, *RECIPIENTS, content=message.content.replace(b"\r\n", b"\n"))
    _check(remote, server, message)


def test_a_burst_leaves_over_few_connections(server: Server, remote: Remote) -> None:
    """Two hundred messages, each once; connections are used again."""
    maker = MessageMaker(2000)
    for _ in range(200):
        send(server, ["alice@remote.example"], maker.make().content)
    wait_for_copies(remote, 200, 30)
    assert remote.copies() == {"alice@remote.example": 200}
    assert remote.most_open <= 20
    assert len(remote.sessions) < 100
