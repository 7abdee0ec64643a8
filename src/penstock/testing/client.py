"""A client of the server under test: it says exactly what a test wants, and hears every reply."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..mail.reply import Reply
from .network import MemoryTransport
from .stand_in import ContentLike, as_octets, as_reply

# RFC 5321 §4.5.2: a period at the begin of a line is doubled.
_STUFFED = (b"\r\n.", b"\r\n..")


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending a message.

    Args:
        reply: the last one: that to the content, or the one that ended the transaction before.
        id: the queue id that the server gave, "" when it took nothing.
        refused: the replies to recipients that it did not take, by address.
    """

    reply: Reply
    id: str = ""
    refused: dict[str, Reply] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the server took responsibility for the message, for one recipient at least."""
        return bool(self.id)


class Client(asyncio.Protocol):
    """One session with the server under test. ``banner`` is what it was greeted with; ``closed`` whether the connection is gone."""

    def __init__(self) -> None:
        self.banner = Reply(200)
        self.closed = False
        self.extensions: list[str] = []
        self._transport: MemoryTransport | None = None
        self._buffer = b""
        self._waiter: asyncio.Future[None] | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, MemoryTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._wake()

    def eof_received(self) -> bool:
        self.closed = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._wake()

    # What a test calls.

    async def reply(self) -> Reply:
        """The next reply. Raises ConnectionError when the connection ends instead."""
        lines: list[str] = []
        while True:
            line = (await self._line()).decode("utf-8", "replace")
            lines.append(line)
            if line[3:4] != "-":
                break
        first = as_reply(lines[0])
        rest = [as_reply(line).text for line in lines[1:]]
        return Reply(first.code, first.enhanced, "\n".join([first.text, *rest]))

    async def say(self, *lines: str | bytes) -> Reply:
        """Sends command lines, one after the other; the reply to the last. Raises ConnectionError."""
        reply = self.banner
        for line in lines:
            self.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
            reply = await self.reply()
        return reply

    async def ehlo(self, name: str = "client.example") -> Reply:
        """EHLO; ``extensions`` is what was offered."""
        reply = await self.say(f"EHLO {name}")
        self.extensions = list(reply.lines[1:])
        return reply

    async def authenticate(self, mechanism: str, *responses: bytes | str) -> Reply:
        """AUTH with a mechanism; each response, in plain octets, answers one challenge. The last reply."""
        reply = await self.say(f"AUTH {mechanism}")
        for response in responses:
            if reply.code != 334:
                break
            octets = response.encode() if isinstance(response, str) else response
            reply = await self.say(base64.b64encode(octets))
        return reply

    async def send(self, message: ContentLike, sender: str, recipients: Iterable[str], parameters: str = "") -> Sent:
        """One transaction.

        Args:
            message: header and body.
            sender: the reverse-path, "" for the null path.
            recipients: addresses, each with RCPT parameters behind it if wanted, as in ``"bob@example.com NOTIFY=SUCCESS"``.
            parameters: of MAIL, such as ``"SIZE=1000 RET=HDRS"``.
        """
        reply = await self.say(f"MAIL FROM:<{sender}> {parameters}".rstrip())
        if not reply.is_positive:
            return Sent(reply)
        refused: dict[str, Reply] = {}
        taken = 0
        for recipient in recipients:
            address, _, more = recipient.partition(" ")
            reply = await self.say(f"RCPT TO:<{address}> {more}".rstrip())
            if reply.is_positive:
                taken += 1
            else:
                refused[address] = reply
        if not taken:
            if not self.closed:
                await self.say("RSET")
            return Sent(reply, refused=refused)
        reply = await self.say("DATA")
        if reply.code != 354:
            return Sent(reply, refused=refused)
        octets = as_octets(message)
        stuffed = (b"." if octets.startswith(b".") else b"") + octets.replace(*_STUFFED)
        self.write(stuffed + (b"" if octets.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        reply = await self.reply()
        words = reply.text.split()
        return Sent(reply, words[-1] if reply.is_positive and words else "", refused)

    async def quit(self) -> Reply:
        """QUIT, and the goodbye to it."""
        reply = await self.say("QUIT")
        self.close()
        return reply

    def write(self, octets: bytes) -> None:
        """Sends octets as they are. Raises ConnectionError when the connection is gone."""
        if self._transport is None or self.closed:
            raise ConnectionResetError("the server closed the connection")
        self._transport.write(octets)

    def close(self) -> None:
        """Closes the connection, without QUIT."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Vanishes: the server gets a reset."""
        if self._transport is not None:
            self._transport.abort()

    async def until_closed(self) -> bytes:
        """Waits until the server closes the connection; what it sent until then and nobody read."""
        while not self.closed:
            await self._heard()
        left, self._buffer = self._buffer, b""
        return left

    async def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if self.closed:
                raise ConnectionResetError("the server closed the connection")
            await self._heard()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    async def _heard(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
