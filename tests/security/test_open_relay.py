"""Nobody whom the administrator did not name sends mail through this server to somewhere else, however he writes the address."""

from __future__ import annotations

import smtplib
from pathlib import Path

from support.server import Server

MORE = """
[domain."backup.example"]
kind = "relay"
"""
ELSEWHERE = [
    "x@evil.example",
    '"x"@evil.example',
    "@example.com:x@evil.example",
    "@example.com,@backup.example:x@evil.example",
    "x@example.com@evil.example",
    "x@evil.example@example.com",
    "x@example.com.evil.example",
    "x@xn--example.com",
    "x@[127.0.0.1]",
    "x@[127.0.0.1].example.com",
    "x@[IPv6:::1]",
    "postmaster@evil.example",
    "x",
]
# What stands before the last @ of an address here is a local name, and is not taken apart.
HERE = ["x%evil.example@example.com", "evil.example!x@example.com", '"x@evil.example"@example.com', '"|/bin/id"@example.com']


def test_a_stranger_reaches_nobody_elsewhere(tmp_path: Path) -> None:
    """Neither by routes, nor by quotes, nor by names that look like ours."""
    with Server(tmp_path, more=MORE) as server, smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        for address in ELSEWHERE:
            client.docmd("RSET")
            client.docmd("MAIL FROM:<alice@client.example>")
            code, text = client.docmd(f"RCPT TO:<{address}>")
            assert code in (501, 550), (address, code, text)


def test_what_looks_like_a_route_or_a_command_is_a_mailbox(tmp_path: Path) -> None:
    """Each message ends in a folder below that of the domain, and in no queue."""
    with Server(tmp_path) as server:
        with smtplib.SMTP(*server.address, timeout=20) as client:
            for address in HERE:
                client.ehlo("client.example")
                assert client.docmd("MAIL FROM:<alice@client.example>")[0] == 250
                assert client.docmd(f"RCPT TO:<{address}>")[0] == 250, address
                assert client.data(b"Subject: x\r\n\r\nhello\r\n")[0] == 250
        server.stop()
        found = [path for path in (server.mail / "example.com").glob("*/new/*") if path.is_file()]
        assert len(found) == len(HERE)
