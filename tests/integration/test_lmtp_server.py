"""Clients of LMTP and PRDR that others wrote, and Unix sockets: Postfix, Exim, swaks and Python's own library before a real Penstock."""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mailservers import Exim
from support.needs import needs
from support.postfix import Postfix
from support.server import Server, ServerFailedError
from support.waiting import wait_until

SINK = """
[[binding]]
name = "full"
sink = "support.each_sinks:FullAndBusy"
run_in = "{run_in}"
"""
LMTP = """
[[listener]]
name = "lmtp"
address = "unix:{path}"
service = "lmtp"
socket_mode = "0666"
"""
CONTENT = "From: ann@client.example\r\nSubject: hello\r\n\r\nHello.\r\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users may enter, with a short name: a socket's path has at most 107 octets."""
    made = Path(tempfile.mkdtemp(prefix="lmtp-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def serving(folder: Path, more: str = "", run_in: str = "loop", workers: int = 1) -> Server:
    return Server(folder / "server", workers=workers, more=LMTP.format(path=folder / "lmtp") + SINK.format(run_in=run_in) + more)


def delivered(server: Server) -> list[Path]:
    """All that is in a mailbox."""
    return sorted(server.mail.rglob("new/*"))


@pytest.mark.parametrize("run_in", ["loop", "process"])
def test_a_client_at_a_unix_socket_hears_of_each_recipient(folder: Path, run_in: str) -> None:
    with serving(folder, run_in=run_in) as server, smtplib.LMTP(str(folder / "lmtp")) as client:
        to = [f"{name}@example.com" for name in ("bob", "full", "carol", "busy")]
        client.ehlo("client.example")
        client.mail("ann@client.example")
        for name in to:
            assert client.rcpt(name)[0] == 250
        first = client.data(CONTENT)
        assert [first[0], *(client.getreply()[0] for _ in to[1:])] == [250, 552, 250, 450]
        wait_until(lambda: len(delivered(server)) == 2, "bob and carol have it")
        content = delivered(server)[0].read_bytes()
        assert b"Received: from client.example (local)" in content
        assert b"with LMTP id" in content
        assert server.log_text().count('"accepted"') == 1


def test_workers_share_a_socket_whose_file_has_the_rights_that_were_said(folder: Path) -> None:
    path = folder / "lmtp"
    with serving(folder, workers=2) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        for _ in range(6):
            with smtplib.LMTP(str(path)) as client:
                client.sendmail("ann@client.example", ["bob@example.com"], CONTENT)
        wait_until(lambda: len(delivered(server)) == 6, "all arrived")
        assert f"unix:{path}" in server.command("status")
        assert server.stop() == 0
    assert not path.exists(), "who stops takes the file away"


def test_a_killed_server_leaves_a_file_that_the_next_takes_over_and_a_living_one_keeps_its_own(folder: Path) -> None:
    path = folder / "lmtp"
    with serving(folder) as server:
        server.kill()
        assert path.exists()
        server.start()
        other = Server(folder / "other", more=LMTP.format(path=path))
        with pytest.raises(ServerFailedError, match="another server listens there"):
            other.start()
        with smtplib.LMTP(str(path)) as client:
            assert client.noop()[0] == 250


def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    (folder / "lmtp").write_text("precious")
    with pytest.raises(ServerFailedError, match="no socket"):
        serving(folder).start()
    assert (folder / "lmtp").read_text() == "precious"


def test_a_group_that_there_is_not_is_said(folder: Path) -> None:
    with pytest.raises(ServerFailedError, match=r"listener\.lmtp\.socket_group: there is no group 'penguins'"):
        Server(folder / "server", more=LMTP.format(path=folder / "lmtp") + 'socket_group = "penguins"\n').start()
    assert not (folder / "lmtp").exists()


def test_postfix_delivers_by_lmtp_and_bounces_only_who_was_refused(folder: Path) -> None:
    needs("postfix")
    with (
        serving(folder) as server,
        Postfix(f"default_transport = lmtp:unix:{folder}/lmtp\nlmtp_destination_recipient_limit = 10\n") as postfix,
    ):
        with smtplib.SMTP(*postfix.address) as client:
            client.sendmail("ann@client.example", [f"{name}@example.com" for name in ("bob", "full", "carol")], CONTENT)
        wait_until(lambda: len(delivered(server)) == 2, "bob and carol have it", 20)
        wait_until(lambda: "Mailbox full" in postfix.log(), "Postfix knows why", 20)
        assert postfix.log().count("status=sent (250 2.0.0 Ok: queued as") == 2
        assert "status=bounced" in postfix.log()


def test_exim_asks_for_prdr_and_knows_who_was_refused(folder: Path) -> None:
    with serving(folder) as server, Exim(relay_to=server.address) as exim:
        with smtplib.SMTP(*exim.address) as client:
            client.sendmail("ann@client.example", [f"{name}@example.com" for name in ("bob", "full", "carol")], CONTENT)
        wait_until(lambda: len(delivered(server)) == 2, "bob and carol have it", 20)
        wait_until(lambda: "Mailbox full" in exim.log(), "Exim knows why", 20)
        assert "PRDR" in exim.log()
        rejected = [line for line in server.log() if line["event"] == "rejected"]
        assert rejected[0]["command"] == "end of data for <full@example.com>"
        assert not [line for line in server.log() if line["event"] == "accepted" and line.get("sender") == "<>"]


def test_swaks_speaks_lmtp_with_us(folder: Path) -> None:
    if shutil.which("swaks") is None:
        pytest.skip("swaks is not installed")
    with serving(folder) as server:
        command = ["swaks", "--protocol", "LMTP", "--socket", str(folder / "lmtp"), "--to", "bob@example.com,full@example.com"]
        done = subprocess.run([*command, "--from", "ann@client.example"], capture_output=True, text=True, check=False, timeout=30)
        assert "552 5.2.2 Mailbox full" in done.stdout, done.stdout + done.stderr
        wait_until(lambda: len(delivered(server)) == 1, "bob has it")


def test_clients_beyond_the_limit_of_one_address_are_taken_at_a_unix_socket(folder: Path) -> None:
    more = "\n[limits]\nconnections_per_client = 2\n"
    with serving(folder, more):
        clients = []
        for _ in range(5):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(10)
            client.connect(str(folder / "lmtp"))
            assert client.recv(4096).startswith(b"220")
            clients.append(client)
        for client in clients:
            client.close()


def test_it_is_our_user_who_owns_the_socket(folder: Path) -> None:
    with serving(folder):
        assert (folder / "lmtp").stat().st_uid == os.geteuid()
