"""What stands in for the server while one sink is asked: ids that count up, submitted mail in a list, a client and a remote server that
say what a test wrote down for them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from email.message import EmailMessage
from typing import Any

from ..errors import ClientGone, RemoteProtocolError
from ..events.message import as_content
from ..events.work import MessageWork
from ..mail.reply import Reply

HOSTNAME = "mx.example.com"
# A reply as a test may write it: itself, its code, or its line such as "550 5.1.1 No such user".
ReplyLike = Reply | int | str
ContentLike = bytes | str | EmailMessage
_LINE = re.compile(r"([2-5][0-9]{2})(?:[ -]([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?:[ -](.*))?", re.DOTALL)


class StandIn:
    """What the server does for sinks, without a server.

    ``submitted`` is what sinks submitted; ``depths`` the queue depths that a test wants, by queue ("" for all); ``released`` the queues
    that were released; ``resets`` how often routes were reset.
    """

    def __init__(self, hostname: str = HOSTNAME) -> None:
        self.name = "test"
        self.hostname = hostname
        self.states: dict[str, dict[str, Any]] = {}
        self.submitted: list[MessageWork] = []
        self.depths: dict[str, int] = {}
        self.released: list[str] = []
        self.resets = 0
        self._ids = 0

    def new_id(self) -> str:
        """A fresh queue id."""
        self._ids += 1
        return f"m{self._ids}"

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def submit(self, work: MessageWork) -> str:
        """Keeps a message that a sink submits."""
        self.submitted.append(work)
        return work.record.id

    def queue_depth(self, queue: str = "") -> int:
        """What the test said."""
        return self.depths.get(queue, 0)

    def release_queue(self, queue: str) -> int:
        """Notes that a queue was released."""
        self.released.append(queue)
        return self.queue_depth(queue)

    async def reset_routes(self) -> int:
        """Notes that routes were reset."""
        self.resets += 1
        return self.queue_depth()


class ScriptedClient:
    """A client in the middle of a verb or of an authentication: it sends what was written down for it.

    Args:
        lines: what it answers, one line after the other.
        octets: what it sends where octets are read.

    ``prompts`` are the replies that it was sent meanwhile, ``challenges`` those of an authentication, in plain octets.
    """

    def __init__(self, lines: Iterable[bytes | str] = (), octets: bytes = b"") -> None:
        self.prompts: list[Reply] = []
        self.challenges: list[bytes] = []
        self._lines = [line.encode() if isinstance(line, str) else line for line in lines]
        self._octets = octets

    async def line(self, prompt: Reply | None) -> bytes:
        """The next line. Raises ClientGone when the client has no more to say."""
        if prompt is not None:
            self.prompts.append(prompt)
        if not self._lines:
            raise ClientGone("the client of this test has no more lines")
        return self._lines.pop(0)

    async def response(self, challenge: bytes) -> bytes:
        """The next line as the response to a challenge. Raises ClientGone; RemoteProtocolError when it is "*", which cancels."""
        self.challenges.append(challenge)
        line = await self.line(None)
        if line == b"*":
            raise RemoteProtocolError("cancelled", 501, "5.7.0", "Authentication cancelled")
        return line

    async def block(self, size: int) -> bytes:
        """The next octets. Raises ClientGone when there are not so many."""
        if len(self._octets) < size:
            raise ClientGone("the client of this test has no more octets")
        block, self._octets = self._octets[:size], self._octets[size:]
        return block


class ScriptedRemote:
    """A remote server that answers the lines that a sink sends; ``sent`` are those lines.

    A verb without a reply of its own gets ``250 2.0.0 Ok``; an exception among the replies is raised.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._replies: dict[str, Reply | Exception] = {}

    def says(self, replies: Mapping[str, ReplyLike | Exception]) -> None:
        """Writes down what it answers, by verb."""
        for verb, reply in replies.items():
            self._replies[verb.upper()] = reply if isinstance(reply, Exception) else as_reply(reply)

    async def send(self, line: str) -> Reply:
        """Answers a line. Raises ValueError for what is no line, as the server does."""
        if not line.strip() or any(c in line for c in "\r\n\0"):
            raise ValueError(f"send takes one command line, not {line!r}")
        self.sent.append(line)
        reply = self._replies.get(line.split()[0].upper(), Reply(250, "2.0.0", "Ok"))
        if isinstance(reply, Exception):
            raise reply
        return reply


def as_reply(value: ReplyLike) -> Reply:
    """The reply itself, or made from its code or its line. Raises ValueError for text that is no reply."""
    if isinstance(value, Reply):
        return value
    if isinstance(value, int):
        return Reply(value, f"{value // 100}.0.0" if value >= 400 or value < 300 else "", "said by a test")
    match = _LINE.fullmatch(value)
    if match is None:
        raise ValueError(f"a reply is a line such as '550 5.1.1 No such user', not {value!r}")
    return Reply(int(match[1]), match[2] or "", match[3] or "")


def as_octets(content: ContentLike) -> bytes:
    """A content as octets with CRLF line ends; text is encoded in UTF-8."""
    return as_content(content.encode() if isinstance(content, str) else content)
