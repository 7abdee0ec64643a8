"""One call of a handler in a sink process, from the server's side: what is waited for, and what the handler asked meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import SinkError
from ..events.binding import Binding
from ..events.event import Event
from ..events.verdict import Verdict
from ..events.work import Backplane
from . import values
from .channel import close_all
from .events import interface
from .frames import Answer, Ask, Done, Failed
from .serving import as_told, serve
from .settled import settle

# A handler that asks so much at once is out of its mind.
MOST_QUESTIONS = 256
_TALK = frozenset({"line", "block", "response", "send"})


class AgainError(Exception):
    """The process ended, and this call was not to blame."""


class ThereError(Exception):
    """The traceback of an exception in a sink process, as the cause of the one that the server raises."""


@dataclass(slots=True, eq=False)
class Flight:
    """A call under way.

    Args:
        id: of the call.
        binding: whose handler.
        event: about what; the dispatcher's clone.
        future: what comes of it.
        timer: its deadline.
        left: True when nobody waits for it any more.
        talked: True when it talked to a client or a remote server, so that it cannot be done again.
        tasks: its questions under way.
        errors: of its questions.
    """

    id: int
    binding: Binding
    event: Event
    future: asyncio.Future[Verdict | None]
    timer: asyncio.TimerHandle | None = None
    left: bool = False
    talked: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    errors: dict[int, Exception] = field(default_factory=dict)

    def done(self, answer: Done, descriptors: list[int]) -> None:
        """The handler returned. Raises nothing: what it cannot have made is its error."""
        if not self._end():
            return
        try:
            self.future.set_result(settle(self.event, answer, descriptors))
        except Exception as error:  # whatever comes is as good as a stranger's
            self.future.set_exception(SinkError(self.binding.name, f"its process answered what cannot be: {error}"))

    def failed(self, answer: Failed) -> None:
        """The handler did not return."""
        if not self._end():
            return
        known = self.errors.get(answer.number)
        if known is not None:
            self.future.set_exception(known)
            return
        error = SinkError(self.binding.name, f"{answer.kind}: {answer.text}" if answer.kind != "SinkError" else answer.text)
        error.__cause__ = ThereError(answer.trace) if answer.trace else None
        self.future.set_exception(error)

    def fail(self, error: Exception) -> None:
        """It will not be answered."""
        if self._end():
            self.future.set_exception(error)

    def leave(self) -> None:
        """Nobody waits for it any more; its questions end."""
        self.left = True
        self._end()

    def _end(self) -> bool:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for task in self.tasks:
            task.cancel()
        # Looked at, so that asyncio does not complain that nobody did: who waited may be gone.
        return not self.left and not self.future.done()


class Questions:
    """Answers what handlers ask of the server.

    Args:
        server: what answers when the call is over already.
        send: gives an answer to the process.
    """

    def __init__(self, server: Backplane | None, send: Callable[[Answer], None]) -> None:
        self._server = server
        self._send = send
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, ask: Ask, flight: Flight | None, binding: str, descriptors: list[int]) -> bool:
        """Begins to answer; False when there are too many questions."""
        if len(self._tasks) >= MOST_QUESTIONS:
            return False
        task = asyncio.get_running_loop().create_task(self._answer(ask, flight, binding, descriptors))
        for tasks in (self._tasks, flight.tasks if flight else set()):
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if flight is not None and ask.what in _TALK:
            flight.talked = True
        return True

    def close(self) -> None:
        """Ends all."""
        for task in self._tasks:
            task.cancel()

    async def _answer(self, ask: Ask, flight: Flight | None, binding: str, descriptors: list[int]) -> None:
        event = flight.event if flight is not None and not flight.left else None
        server = event.facts.server if event is not None else self._server
        message = event.facts.message if event is not None else None
        generation = message.record.generation if message is not None else 0
        try:
            if server is None:
                raise RuntimeError("the call is over")
            value = await serve(ask, descriptors, server, interface(event) if event else None, (binding, generation))
            answer = Answer(ask.number, values.encode(value))
        except Exception as error:  # the handler is told
            if flight is not None:
                flight.errors[ask.number] = error
            answer = Answer(ask.number, b"", as_told(error))
        finally:
            close_all([one for one in descriptors if one >= 0])
        with contextlib.suppress(ValueError):
            self._send(answer)
