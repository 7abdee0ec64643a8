"""One SMTP session of the load generator: a protocol that goes from reply to reply without tasks, to stay cheap.

It is no model of a client: it knows one recipient a message and gives a connection up after a refusal before DATA.
What it is strict about is telling the load what was answered to which message.
"""

from __future__ import annotations

import asyncio
import enum
import time
from typing import Protocol

from .messages import Message


class Waiting(enum.Enum):
    """Which reply comes next."""

    GREETING = enum.auto()
    EHLO = enum.auto()
    NOTHING = enum.auto()
    MAIL = enum.auto()
    RCPT = enum.auto()
    DATA = enum.auto()
    CONTENT = enum.auto()
    QUIT = enum.auto()


class Plan(Protocol):
    """What a session reads of the plan."""

    @property
    def per_session(self) -> int: ...
    @property
    def pipelining(self) -> bool: ...
    @property
    def sender(self) -> str: ...
    @property
    def recipient(self) -> str: ...


class Source(Protocol):
    """Where messages come from, and where what happened is told."""

    @property
    def plan(self) -> Plan: ...
    def next_message(self) -> Message | None: ...
    def pause(self) -> float: ...
    def sending(self, message: Message) -> None: ...
    def answered(self, message: Message, reply: bytes) -> None: ...
    def refused(self, reply: bytes) -> None: ...
    def unsent(self) -> None: ...


class Session(asyncio.Protocol):
    """One connection. ``closed`` becomes True after a good-bye of ours, False when the connection was lost."""

    def __init__(self, source: Source) -> None:
        self.closed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.refused = False
        self._source = source
        self._plan = source.plan
        self._waiting = Waiting.GREETING
        self._buffer = b""
        self._sent = 0
        self._message: Message | None = None
        self._finishing = False
        self._heard = time.monotonic()
        self._transport: asyncio.Transport
        plan = self._plan
        self._commands = {
            Waiting.MAIL: f"MAIL FROM:<{plan.sender}>\r\n".encode(),
            Waiting.RCPT: f"RCPT TO:<{plan.recipient}>\r\n".encode(),
            Waiting.DATA: b"DATA\r\n",
        }
        self._batch = b"".join(self._commands.values())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._message is not None and self._waiting is not Waiting.CONTENT:
            self._source.unsent()
        self._message = None
        if not self.closed.done():
            self.closed.set_result(self._waiting is Waiting.QUIT)

    def data_received(self, data: bytes) -> None:
        self._heard = time.monotonic()
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
            if line[3:4] != b"-":
                self._reply(line)

    def finish(self) -> None:
        """Ends after the message that is under way."""
        self._finishing = True
        if self._waiting is Waiting.NOTHING:
            self._quit()

    def abort(self) -> None:
        """Ends now."""
        self._transport.abort()

    def silent_for(self) -> float:
        """Seconds since the last reply, 0 when none is awaited."""
        return 0.0 if self._waiting is Waiting.NOTHING else time.monotonic() - self._heard

    def _reply(self, line: bytes) -> None:
        """Goes one step; the reply decides which."""
        waiting = self._waiting
        if waiting is Waiting.CONTENT:
            self._content_answered(line)
        elif waiting is Waiting.QUIT:
            self._transport.close()
        elif line[:1] not in b"23":
            self._source.refused(line)
            self.refused = True
            self._quit()
        elif waiting is Waiting.GREETING:
            self._waiting = Waiting.EHLO
            self._transport.write(b"EHLO client.example\r\n")
        elif waiting is Waiting.EHLO:
            self._pause()
        elif waiting is Waiting.MAIL:
            self._expect(Waiting.RCPT)
        elif waiting is Waiting.RCPT:
            self._expect(Waiting.DATA)
        elif waiting is Waiting.DATA:
            self._content()

    def _expect(self, waiting: Waiting) -> None:
        """Waits for the reply to the next command, which has been sent already when pipelining."""
        self._waiting = waiting
        if not self._plan.pipelining:
            self._transport.write(self._commands[waiting])

    def _pause(self) -> None:
        """Starts the next message now or when the rate allows it."""
        self._waiting = Waiting.NOTHING
        delay = self._source.pause()
        if delay:
            asyncio.get_running_loop().call_later(delay, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        if self._transport.is_closing() or self._waiting is not Waiting.NOTHING:
            return
        self._message = None if self._finishing else self._source.next_message()
        if self._message is None:
            self._quit()
            return
        self._heard = time.monotonic()
        self._waiting = Waiting.MAIL
        self._transport.write(self._batch if self._plan.pipelining else self._commands[Waiting.MAIL])

    def _content(self) -> None:
        assert self._message is not None
        self._waiting = Waiting.CONTENT
        self._source.sending(self._message)
        self._transport.write(self._message.wire)

    def _content_answered(self, line: bytes) -> None:
        assert self._message is not None
        self._source.answered(self._message, line)
        self._message = None
        self._sent += 1
        if line.startswith(b"421") or self._sent == self._plan.per_session:
            self._quit()
        else:
            self._pause()

    def _quit(self) -> None:
        if self._message is not None:
            self._source.unsent()
            self._message = None
        self._waiting = Waiting.QUIT
        self._transport.write(b"QUIT\r\n")
