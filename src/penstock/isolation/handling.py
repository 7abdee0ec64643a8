"""How a handler runs in its process: the ordinary event, the ordinary views, and the page that says what runs.

``async def`` runs on the process's loop, ``def`` in one of its threads, and a ``def`` bound with ``blocking=False`` on the loop at once, as
they do in the server."""

from __future__ import annotations

import asyncio
import inspect
import time
import traceback
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from ..errors import SinkError
from ..events.event import Event
from ..events.keeping import keeps
from ..events.sink import Sink, marks_of
from ..events.threads import Raised, Threads
from ..events.work import Scope
from .channel import Channel, close_all
from .events import event_of
from .frames import Call, Done, Failed
from .living import Stands
from .page import Page
from .remote import Questions, RemoteServer, RemoteTalk
from .settled import Before, done

# A thread may be waited for as long as the server waits; it is the server that counts.
_LONG = 365 * 86400.0
_MOST_TEXT = 4096


class _Stepped:
    """A coroutine that says on the page when it has the loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], page: Page, call: int) -> None:
        self._coroutine = coroutine
        self._page = page
        self._call = call
        self._spent = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> _Stepped:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Goes on until it waits again."""
        at = self._page.enter(0, self._call, self._spent)
        try:
            return self._coroutine.send(value)
        finally:
            self._left(at)

    def throw(self, *error: Any) -> Any:
        """Goes on with an exception."""
        at = self._page.enter(0, self._call, self._spent)
        try:
            return self._coroutine.throw(*error)
        finally:
            self._left(at)

    def close(self) -> None:
        """Ends it."""
        self._coroutine.close()

    def _left(self, at: int) -> None:
        self._page.leave(0)
        self._spent += time.thread_time_ns() - at


class Handling:
    """The calls of this process's sink.

    Args:
        sink: the sink.
        threads: calls of plain ``def`` handlers at once.
        names: of the server, and its host.
        page: says what runs.
        channel: where answers go.
    """

    def __init__(self, sink: Sink[Any], threads: int, names: tuple[str, str], page: Page, channel: Channel[Any]) -> None:
        self.questions = Questions()
        self.questions.channel = channel
        self._sink = sink
        self._names = names
        self._page = page
        self._channel = channel
        self._states: dict[str, dict[str, Any]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._threads = Threads(type(sink).__name__, threads, _nothing)
        self._stands = Stands() if keeps(type(sink)) else None
        self._at_once = {name for name, mark in marks_of(type(sink)) if not mark.blocking}

    def begin(self, call: Call, descriptors: list[int]) -> None:
        """Begins a call."""
        task = asyncio.get_running_loop().create_task(self._call(call, descriptors))
        self._tasks[call.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(call.id, None))

    def cancel(self, number: int) -> None:
        """Nobody waits for a call any more."""
        task = self._tasks.get(number)
        if task is not None:
            task.cancel()

    def over(self, keys: list[str]) -> None:
        """These sessions and messages are gone: what the sink keeps for them is closed."""
        if self._stands is not None:
            self._stands.over(keys)

    async def _call(self, call: Call, descriptors: list[int]) -> None:
        out: list[int] = []
        answer: Done | Failed
        try:
            answer = await self._answer(call, descriptors, out)
        except BaseException as error:
            # Whatever it is, the server has to hear of it; also that a handler was cancelled, and has ended.
            close_all(out)
            out = []
            answer = _failure(call, error)
        finally:
            close_all([one for one in descriptors if one >= 0])
        try:
            self._channel.send(answer, out)
        except ValueError as error:
            self._channel.send(_failure(call, error))

    async def _answer(self, call: Call, descriptors: list[int], out: list[int]) -> Done:
        server = RemoteServer(call.id, self._names, call.now, self._states, self.questions)
        event = event_of(call, descriptors, server, RemoteTalk(call.id, self.questions))
        if self._stands is not None:
            event.facts = self._stands.facts(event.facts)
        event.begin(Scope(*call.scope, loop=asyncio.get_running_loop()))
        before = Before.of(event)
        verdict = await self._run(call, event)
        if verdict is not None and not isinstance(verdict, event.admits):
            raise SinkError(call.scope[0], f"{type(event).__name__} cannot be answered with {verdict!r}")
        if verdict is not None and type(verdict) in event.edits:
            event.judge(verdict)
        event.commit()
        return done(call.id, event, before, verdict, out)

    async def _run(self, call: Call, event: Event) -> Any:
        handler = getattr(self._sink, call.method)
        if inspect.iscoroutinefunction(handler):
            return await _Stepped(handler(event), self._page, call.id)
        if call.method in self._at_once:
            self._page.enter(0, call.id, 0)
            try:
                return handler(event)
            finally:
                self._page.leave(0)
        await self._threads.places.take(_LONG)
        running = self._threads.start(partial(self._in_thread, call.id, handler, event))
        try:
            result = await asyncio.shield(running)
        except asyncio.CancelledError:
            # A thread cannot be ended: the call is over when it is, or when the server has enough of that.
            await asyncio.wait((running,))
            raise
        if isinstance(result, Raised):
            raise result.error
        return result

    def _in_thread(self, number: int, handler: Callable[[Event], Any], event: Event) -> Any:
        row = self._page.take_row()
        self._page.enter(row, number, 0)
        try:
            return handler(event)
        finally:
            self._page.give_row(row)


def _nothing() -> None:
    """Nobody has to be told that threads are busy: the server sees how long calls take."""


def _failure(call: Call, error: BaseException) -> Failed:
    """A failed call as the server is told of it."""
    kind = type(error).__name__
    text = error.what if isinstance(error, SinkError) else str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames and kind != "SinkError" else ""
    trace = "".join(traceback.format_exception(error))[-16 * 1024 :]
    return Failed(call.id, kind, f"{' '.join(text.split())[:_MOST_TEXT]}{place}", trace, getattr(error, "penstock_question", -1))
