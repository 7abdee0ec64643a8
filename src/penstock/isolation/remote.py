"""The server as a handler in a sink process sees it: what is known here is answered here, all else is asked for over the socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from ..events.work import MessageWork
from ..mail.message import encode_record
from ..mail.reply import Reply
from ..storage.identity import Identities
from . import values
from .channel import Channel
from .contents import give_blocking
from .frames import Answer, Ask, MessageFrame
from .serving import as_raised

_identities = Identities(time.time)


class Questions:
    """Questions to the server that are not answered yet; belongs to the loop."""

    def __init__(self) -> None:
        self.channel: Channel[Any] | None = None
        self._number = 0
        self._open: dict[int, asyncio.Future[Any]] = {}

    async def ask(self, call: int, what: str, value: Any, message: MessageWork | None = None) -> Any:
        """What the server answers. Raises what it raised there, as far as it is known here."""
        assert self.channel is not None
        self._number += 1
        number, descriptors = self._number, list[int]()
        frame = None if message is None else _given(message, descriptors)
        future = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            self.channel.send(Ask(number, call, what, values.encode(value), frame), descriptors)
            return await future
        finally:
            del self._open[number]

    def answered(self, answer: Answer) -> None:
        """Takes an answer."""
        future = self._open.get(answer.number)
        if future is None or future.done():
            return
        if answer.error is None:
            future.set_result(values.decode(answer.value))
            return
        error = as_raised(*answer.error)
        # So that the server raises the very same exception, when the handler lets this one through.
        error.penstock_question = answer.number  # type: ignore[attr-defined]
        future.set_exception(error)


def _given(work: MessageWork, descriptors: list[int]) -> MessageFrame:
    assert work.content is not None
    return MessageFrame(encode_record(work.record), "", True, give_blocking(work.content, descriptors))


class RemoteServer:
    """What the server does for one call of a handler.

    Args:
        call: its id.
        names: of the server, and its host.
        now: the server's time when the call began, which may be a test's.
        states: what sinks remember in this process.
        questions: to the server.
    """

    def __init__(self, call: int, names: tuple[str, str], now: float, states: dict[str, dict[str, Any]], questions: Questions) -> None:
        self.name, self.hostname = names
        self.states = states
        self._call = call
        self._ahead = now - time.time()
        self._questions = questions

    def new_id(self) -> str:
        """A fresh queue id."""
        return _identities.new()

    def now(self) -> float:
        """Seconds since 1970, by the server's clock."""
        return time.time() + self._ahead

    async def submit(self, work: MessageWork) -> str:
        """Takes a message into transport."""
        return str(await self._questions.ask(self._call, "submit", None, work))

    def queue_depth(self, queue: str = "") -> Awaitable[int]:
        """How many messages the spool keeps."""
        return self._questions.ask(self._call, "depth", [queue])

    def release_queue(self, queue: str) -> Awaitable[int]:
        """Releases what is held in a queue."""
        return self._questions.ask(self._call, "release", [queue])

    async def reset_routes(self) -> int:
        """Asks for the next hop of what is queued again."""
        return int(await self._questions.ask(self._call, "reset", []))


class RemoteTalk:
    """The client, or the remote server, that a handler may talk to: ``Dialogue``, ``Exchange`` and ``Wire`` in one."""

    def __init__(self, call: int, questions: Questions) -> None:
        self._call = call
        self._questions = questions

    async def line(self, prompt: Reply | None) -> bytes:
        """The client's next line."""
        return bytes(await self._questions.ask(self._call, "line", prompt))

    async def block(self, size: int) -> bytes:
        """The client's next octets."""
        return bytes(await self._questions.ask(self._call, "block", size))

    async def response(self, challenge: bytes) -> bytes:
        """The client's response to a challenge."""
        return bytes(await self._questions.ask(self._call, "response", challenge))

    async def send(self, line: str) -> Reply:
        """The remote server's reply to a line."""
        reply = await self._questions.ask(self._call, "send", line)
        assert isinstance(reply, Reply)
        return reply
