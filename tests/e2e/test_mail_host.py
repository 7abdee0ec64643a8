"""The example of a whole mail host, started for real: its four listeners, and what a user may do there."""

from __future__ import annotations

import re
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from support.certificates import certificate
from support.server import Server
from support.waiting import wait_until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mail_host.toml"
PASSWORD = "Zx9-correct-horse"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The example with ports and folders of a test's own."""
    folder = Path(tempfile.mkdtemp(prefix="host-"))
    found = Server(folder)
    own = certificate("mx.example.com")
    text = EXAMPLE.read_text("utf-8")
    for old, new in (
        ("/var/spool/penstock", str(found.spool)),
        ("unix:/run/penstock", f"unix:{folder}"),
        ("/run/penstock", str(folder / "run")),
        ("/etc/penstock/mx.example.com.pem", str(own.certificate)),
        ("/etc/penstock/mx.example.com.key", str(own.key)),
        ('stores = ["file:/etc/penstock/users"]', f'stores = ["file:{folder}/users"]'),
        ("/var/mail", str(found.mail)),
        ('user = "penstock"', "workers = 1"),
        ('socket_group = "penstock"', 'socket_group = "0"'),
    ):
        assert old in text, old
        text = text.replace(old, new)
    text = re.sub(r'"0\.0\.0\.0:\d+"', '"127.0.0.1:0"', text)
    found.config.write_text(text + '\n[route."elsewhere.example"]\nnext_hop = "[127.0.0.1]:1"\n')
    command = [sys.executable, "-m", "penstock", "user", "add", "alice", "--file", str(folder / "users")]
    subprocess.run(command, input=f"{PASSWORD}\n".encode(), check=True, capture_output=True, timeout=30)
    try:
        with found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate("mx.example.com").certificate))


class Named(smtplib.SMTP):
    """Connects to this machine, and knows the server by the name in its certificate."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, local_hostname="laptop.client.example", timeout=20)
        self._host = "mx.example.com"


class NamedTls(smtplib.SMTP_SSL):
    """The same with TLS from the first octet."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, local_hostname="laptop.client.example", timeout=20, context=trusting())

    def _get_socket(self, host: str, port: int, timeout: float) -> ssl.SSLSocket:  # type: ignore[override]
        sock = smtplib.SMTP._get_socket(self, host, port, timeout)  # type: ignore[attr-defined]
        return trusting().wrap_socket(sock, server_hostname="mx.example.com")


def user(server: Server, listener: str) -> smtplib.SMTP:
    """A client that has logged in."""
    if listener == "submissions":
        client: smtplib.SMTP = NamedTls(*server.at(listener))
    else:
        client = Named(*server.at(listener))
        client.starttls(context=trusting())
    client.login("alice", PASSWORD)
    return client


def arrived(server: Server, local: str) -> list[bytes]:
    return [path.read_bytes() for path in server.mail.glob(f"example.com/{local}/new/*")]


@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_a_user_sends_and_the_message_is_completed(server: Server, listener: str) -> None:
    to = f"bob-{listener}@example.com"
    with user(server, listener) as client:
        assert (
            client.sendmail(
                "alice@example.com", [to, "secret@example.com"], f"To: {to}\r\nBcc: secret@example.com\r\nSubject: x\r\n\r\nHi\r\n"
            )
            == {}
        )
    (content,) = wait_until(lambda: arrived(server, f"bob-{listener}"), "bob has it")
    head = content.partition(b"\r\n\r\n")[0].decode()
    assert "Bcc" not in head
    assert "secret" not in head
    assert "From: <alice@example.com>" in head
    assert re.search(r"^Message-ID: <\w+@mx\.example\.com>", head, re.MULTILINE)
    assert re.search(r"^Date: ", head, re.MULTILINE)
    assert re.search(r"^Received: by mx\.example\.com with ESMTPSA id ", head, re.MULTILINE)
    assert "laptop" not in head
    assert "127.0.0.1" not in head
    assert wait_until(lambda: arrived(server, "secret"), "and so has who is hidden")


@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_nobody_else_sends(server: Server, listener: str) -> None:
    client: smtplib.SMTP = NamedTls(*server.at(listener)) if listener == "submissions" else Named(*server.at(listener))
    with client:
        client.ehlo()
        assert client.mail("alice@example.com")[0] == 530
        if listener == "submission":
            client.starttls(context=trusting())
            client.ehlo()
            assert client.mail("alice@example.com") == (530, b"5.7.0 Authentication required")


def test_a_user_sends_as_nobody_else(server: Server) -> None:
    with user(server, "submission") as client:
        assert client.mail("bob@example.com")[0] == 550
        assert client.mail("info@example.com")[0] == 250
        assert client.docmd("RSET")[0] == 250
        message = EmailMessage()
        message["From"], message["To"] = "bob@example.com", "carol@example.com"
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.send_message(message, from_addr="alice@example.com")
        assert refused.value.smtp_code == 550
        assert client.mail("alice@sales.example.com")[0] == 250


def test_a_user_who_logs_in_at_port_25_has_the_same_rights_and_no_more(server: Server) -> None:
    with Named(*server.at("mx")) as client:
        client.ehlo()
        assert client.mail("anybody@elsewhere.example")[0] == 250
        assert client.rcpt("someone@elsewhere.example")[0] == 550, "no relay"
        client.docmd("RSET")
        client.starttls(context=trusting())
        client.login("alice", PASSWORD)
        assert client.mail("bob@example.com")[0] == 550


def test_a_program_of_the_machine_delivers_by_lmtp(server: Server) -> None:
    with smtplib.LMTP(str(server.folder / "lmtp")) as client:
        assert client.sendmail("ann@client.example", ["dora@example.com"], "Subject: x\r\n\r\nHi\r\n") == {}
    assert wait_until(lambda: arrived(server, "dora"), "dora has it")
