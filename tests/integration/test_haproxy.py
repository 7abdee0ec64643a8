"""A real HAProxy before a real Penstock, with both versions of its header."""

from __future__ import annotations

import smtplib
import socket
from pathlib import Path

import pytest

from support.messages import MessageMaker
from support.needs import needs, program
from support.processes import end, spawn
from support.server import Server
from support.waiting import wait_until

CONFIG = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s

frontend mail
    bind 127.0.0.1:{port}
    default_backend penstock

backend penstock
    server one {address}:{target} {how}
"""


BEHIND = """
[[listener]]
name = "behind"
address = "127.0.0.1:0"
proxy = ["127.0.0.1"]
"""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"])
def test_mail_through_haproxy_is_its_clients(tmp_path: Path, how: str) -> None:
    """The client has another address of this machine; the trace field names it."""
    needs("haproxy")
    maker = MessageMaker(2000)
    with Server(tmp_path / "server", more=BEHIND) as server:
        host, target = server.at("behind")
        port = _free_port()
        config = tmp_path / "haproxy.cfg"
        config.write_text(CONFIG.format(port=port, address=host, target=target, how=how))
        haproxy = spawn([str(program("haproxy")), "-db", "-f", str(config)])
        try:
            wait_until(lambda: _answers(port), "HAProxy listens")
            message = maker.make()
            with smtplib.SMTP("127.0.0.1", port, timeout=20, source_address=("127.0.0.9", 0)) as client:
                client.sendmail("a@client.example", ["bob@example.com"], message.content)
            server.mailboxes.wait_for({message.token})
            (kept,) = (path for path in server.mail.rglob("new/*") if message.token.encode() in path.read_bytes())
            assert b"[127.0.0.9]" in kept.read_bytes().split(b"\r\n\r\n")[0]
        finally:
            end(haproxy)
