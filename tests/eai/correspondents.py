"""A real server whose own name is internationalized, its users, and the servers it hands mail to: with SMTPUTF8, without, and by LMTP."""

from __future__ import annotations

import contextlib
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from penstock.sinks.maildir import safe_name
from support.certificates import certificate
from support.login import connect, log_in
from support.remote import BackgroundRemotes, Remote
from support.remote_session import Transaction
from support.script import BASE_EXTENSIONS, Face, Script
from support.server import Server
from support.waiting import wait_until

NAME, WRITTEN = "mx.xn--bcher-kva.example", "mx.bücher.example"
USER, PASSWORD = "grün@example.com", "Zx9-correct-horse"
WITHOUT = tuple(keyword for keyword in BASE_EXTENSIONS if keyword != "SMTPUTF8")
MORE = """
[domain."bücher.example"]
kind = "local"
deliver = "maildir:{mail}/{{domain}}/{{local}}"

[domain."lmtp.example"]
kind = "local"
deliver = "lmtp:[127.0.0.1]:{lmtp}"

[route."wide.example"]
next_hop = "[127.0.0.1]:{wide}"

[route."straße.example"]
next_hop = "[127.0.0.1]:{wide}"

[route."narrow.example"]
next_hop = "[127.0.0.1]:{narrow}"

[route."räume.example"]
next_hop = "[127.0.0.1]:{narrow}"

[relay]
networks = ["127.0.0.1"]

[auth]
stores = ["file:{folder}/users"]

[submission]
senders = {{ "{user}" = ["*@example.com", "*@bücher.example"] }}

[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]

[limits]
connections_per_client = 1000

[[listener]]
name = "submission"
address = "127.0.0.1:0"
service = "submission"
"""


@dataclass
class Correspondents:
    """The server and those it talks to."""

    server: Server
    wide: Remote
    narrow: Remote
    lmtp: Remote

    @contextlib.contextmanager
    def client(self, way: str) -> Iterator[smtplib.SMTP]:
        """A session at the listener for servers ("relay"), or one of a user who has logged in ("submission")."""
        if way == "relay":
            client = connect(self.server.address)
        else:
            client = connect(self.server.at(way), certificate("mx.example.com").certificate)
            assert log_in(client, "PLAIN", USER, PASSWORD)[0] == 235
        with client:
            client.ehlo("client.example")
            yield client

    def send(self, way: str, sender: str, to: str, *fields: str, utf8: bool = True, body: str = "Hello.\r\n") -> None:
        """Hands over a message with these fields in its header."""
        own = () if any(field.startswith("From:") for field in fields) else (f"From: <{sender}>",)
        content = "".join(f"{field}\r\n" for field in (*own, *fields)) + f"\r\n{body}"
        with self.client(way) as client:
            options = ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []
            assert client.mail(sender, options)[0] == 250
            assert client.rcpt(to)[0] == 250
            assert client.data(content.encode())[0] == 250

    def delivered(self, domain: str, local: str, token: str) -> bytes:
        """The message with this text that was put into a Maildir."""

        folder = self.server.mail / safe_name(domain) / safe_name(local)

        def found() -> bytes | None:
            for path in folder.glob("new/*"):
                if token.encode() in (data := path.read_bytes()):
                    return data
            return None

        return wait_until(found, f"{token} is delivered to {local}@{domain}", 20) or b""

    def report(self, local: str, token: str) -> EmailMessage:
        """The report about the message with this text in its Message-ID to a mailbox at example.com."""
        found = message_from_bytes(self.delivered("example.com", local, token), policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found


def handed(remote: Remote, token: str) -> Transaction:
    """The transaction whose content has this text."""

    def found() -> Transaction | None:
        return next((one for one in remote.transactions if one.acknowledged and token.encode() in one.content), None)

    taken = wait_until(found, f"{token} is relayed", 20)
    assert taken is not None
    return taken


@contextlib.contextmanager
def correspondents(folder: Path) -> Iterator[Correspondents]:
    """All of them, running."""
    remotes = [Remote(), Remote(Script(face=Face(extensions=WITHOUT))), Remote(Script(face=Face(lmtp=True)))]
    with BackgroundRemotes(remotes) as (wide, narrow, lmtp):
        server = Server(folder)
        own = certificate("mx.example.com")
        ports = {"wide": wide.port, "narrow": narrow.port, "lmtp": lmtp.port}
        files = {"mail": server.mail, "folder": folder, "certificate": own.certificate, "key": own.key, "user": USER}
        server.configure(MORE.format(**ports, **files))
        server.config.write_text(server.config.read_text().replace("mx.example.com", NAME, 1))
        command = [sys.executable, "-m", "penstock", "user", "add", USER, "--file", str(folder / "users")]
        subprocess.run(command, input=f"{PASSWORD}\n".encode(), check=True, capture_output=True, timeout=30)
        with server:
            yield Correspondents(server, wide, narrow, lmtp)
