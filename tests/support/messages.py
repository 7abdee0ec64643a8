"""Messages that can be told apart and checked: a unique token, and a digest of the bytes that follow.

A copy found anywhere later proves by itself whether it is whole, so corruption is seen even in mail that nobody
acknowledged. Bodies are cut from one prepared text at different places: making one costs a copy and a hash, so that
the client stays cheap beside the server it measures.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

TOKEN = b"X-Load-Token: "
DIGEST = b"X-Load-Digest: "
LINE = 78  # with CRLF, as RFC 5322 §2.1.1 recommends


def digest(data: bytes) -> str:
    """The short hash that tokens are remembered with."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Message:
    """One message to send.

    Args:
        token: unique in all runs.
        content: the exact bytes, before dot-stuffing; starts with the token's header field.
        digest: of the content.
    """

    token: str
    content: bytes
    digest: str

    @property
    def wire(self) -> bytes:
        """The content as it follows 354: dots doubled (RFC 5321 §4.5.2), with the line that ends it."""
        return self.content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class MessageMaker:
    """Makes messages of one size, all different."""

    def __init__(self, size: int, sender: str = "load@client.example", recipient: str = "alice@example.com") -> None:
        self._run = secrets.token_hex(4)
        self._count = itertools.count(1)
        self._lines = max(size // LINE, 1)
        self._pool = _text(self._lines + 509)
        date = format_datetime(datetime.now(UTC))
        self._rest = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: load\r\nDate: {date}\r\n".encode()

    def make(self) -> Message:
        """The next message."""
        number = next(self._count)
        token = f"{self._run}-{number}"
        start = number * 101 % 509 * LINE
        body = self._pool[start : start + self._lines * LINE]
        body = b"%b %d\r\n" % (token.encode(), number) + body
        head = TOKEN + token.encode() + b"\r\n" + DIGEST + digest(body).encode() + b"\r\n"
        content = head + self._rest + b"Message-ID: <%b@client.example>\r\n\r\n" % token.encode() + body
        return Message(token, content, digest(content))


def _text(lines: int) -> bytes:
    """Lines of letters; every seventh starts with a dot, which the wire must double and the server undo."""
    source = random.Random(20261123)
    letters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789"
    made = []
    for number in range(lines):
        text = "".join(source.choices(letters, k=LINE - 3))
        made.append(("." if number % 7 == 0 else "x") + text + "\r\n")
    return "".join(made).encode()


def inspect(data: bytes) -> tuple[str, str, bool] | None:
    """Token, digest of the content, and whether its body is whole; None when there is no token in it.

    What stands before the token's field was prepended on the way (Return-Path, Delivered-To, Received).
    """
    start = data.find(TOKEN)
    if start < 0 or (start and data[start - 1 : start] != b"\n"):
        return None
    content = data[start:]
    head, _, body = content.partition(b"\r\n\r\n")
    fields = head.split(b"\r\n")
    token = fields[0].removeprefix(TOKEN).decode(errors="replace")
    told = next((field.removeprefix(DIGEST).decode() for field in fields if field.startswith(DIGEST)), "")
    return token, digest(content), digest(body) == told
