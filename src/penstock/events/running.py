"""Runs one handler that has to be waited for: as a task on the loop, or in a thread of its binding, and never longer than its deadline.

A handler cannot be forced to end: a thread cannot be stopped, and a coroutine may swallow its cancellation. So nobody waits for it after
its deadline; it is counted and named in the log while it runs on."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, Protocol

from ..errors import SinkError, SinkTimeout
from ..observe.log import Log
from .binding import Binding
from .event import Event
from .places import Places
from .plug import Plug
from .threads import Raised, Threads
from .verdict import Verdict

# How long after its deadline a handler may take to end before the log says that it has not.
GRACE = 1.0


class Remote(Protocol):
    """Runs the handlers of one plug in a process of their own."""

    async def call(self, binding: Binding, event: Event) -> Verdict | None:
        """What the handler answers there; its drafts are those of the event then.

        Raises: SinkError; SinkTimeout when there was no answer in time.
        """


class Seldom:
    """Lets through one of many, so that the log is not filled with what goes on and on.

    Args:
        seconds: how far apart.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._last: dict[tuple[str, str], float] = {}

    def __call__(self, what: str, which: str) -> bool:
        """Whether it is time to say this about that."""
        now = time.monotonic()
        if now - self._last.get((what, which), -self._seconds) < self._seconds:
            return False
        self._last[what, which] = now
        return True


class Runner:
    """Runs handlers under their deadlines.

    Args:
        log: where it is said that a handler does not end.
        seldom: keeps that from being said too often.
    """

    def __init__(self, log: Log, seldom: Seldom) -> None:
        self._log = log
        self._seldom = seldom
        self._threads: dict[str, Threads] = {}
        self._places: dict[str, Places] = {}
        # The loop itself holds on to tasks only weakly.
        self._late: set[asyncio.Future[Any]] = set()

    async def run(self, binding: Binding, event: Event) -> Any:
        """What the handler answers. Raises what it raises; SinkTimeout; SinkError when it ended as if it had been cancelled."""
        if binding.plug.concurrency == 0:
            if binding.mode == "process":
                return await self._remote(binding, event)
            return await self._wait(binding, await self._start(binding, event))
        places = await self._place(binding.plug)
        if binding.mode == "process":
            try:
                return await self._remote(binding, event)
            finally:
                places.free()
        try:
            running = await self._start(binding, event)
        except BaseException:
            places.free()
            raise
        # The place is kept as long as the handler runs, whether anybody still waits for it or not.
        running.add_done_callback(lambda _: places.free())
        return await self._wait(binding, running)

    async def _wait(self, binding: Binding, running: asyncio.Future[Any]) -> Any:
        seconds = binding.plug.timeout
        try:
            await asyncio.wait((running,), timeout=seconds)
        except asyncio.CancelledError:
            self._leave(binding, running)
            raise
        if not running.done():
            self._leave(binding, running)
            raise SinkTimeout(binding.name, f"no answer within {seconds:g} s")
        if running.cancelled():
            raise SinkError(binding.name, "the handler was cancelled, and not by the server")
        result = running.result()
        if not isinstance(result, Raised):
            return result
        if isinstance(result.error, Exception | SystemExit):
            raise result.error
        raise SinkError(binding.name, f"the handler raised {type(result.error).__name__}") from result.error

    async def _place(self, plug: Plug) -> Places:
        """A place among the calls of all handlers of a plug; the wait for one may take as long as a call."""
        places = self._places.get(plug.name)
        if places is None:
            places = self._places[plug.name] = Places(plug.concurrency, partial(self._all_taken, plug.name))
        if places.most != plug.concurrency:
            places.resize(plug.concurrency)
        if not await places.take(plug.timeout):
            raise SinkTimeout(plug.name, f"{places.most} of its calls run, and none ended within {plug.timeout:g} s")
        return places

    async def _remote(self, binding: Binding, event: Event) -> Verdict | None:
        """The handler's call in its process, which has deadlines of its own and can, other than a thread, be ended."""
        if binding.plug.remote is None:
            raise SinkError(binding.name, "its process was not started")
        return await binding.plug.remote.call(binding, event)

    async def _start(self, binding: Binding, event: Event) -> asyncio.Future[Any]:
        if binding.mode == "loop":
            return asyncio.get_running_loop().create_task(answer(binding, event))
        return await self._thread(binding, event)

    async def _thread(self, binding: Binding, event: Event) -> asyncio.Future[Any]:
        """The handler's call in a thread; its deadline begins when it does, so the wait for a thread has one of the same length."""
        plug, threads = binding.plug, self._threads.get(binding.name)
        if threads is None:
            threads = self._threads[plug.name] = Threads(plug.name, plug.threads, partial(self._full, plug.name))
        places = threads.places
        if places.most != plug.threads:
            places.resize(plug.threads)
        if not await places.take(plug.timeout):
            raise SinkTimeout(binding.name, f"none of its {places.most} threads was free within {plug.timeout:g} s")
        binding.scope.loop = asyncio.get_running_loop()
        return threads.start(partial(binding.handler, event))

    def _leave(self, binding: Binding, running: asyncio.Future[Any]) -> None:
        """Waits no longer for a handler, which is asked to end if it can be."""

        def ended(_: asyncio.Future[Any]) -> None:
            binding.counted.late -= 1
            self._late.discard(running)
            if not running.cancelled():
                running.exception()  # looked at, so that asyncio does not complain that nobody did

        binding.counted.late += 1
        self._late.add(running)
        running.add_done_callback(ended)
        if isinstance(running, asyncio.Task):
            running.cancel()
        asyncio.get_running_loop().call_later(GRACE, self._say_late, binding, running)

    def _say_late(self, binding: Binding, running: asyncio.Future[Any]) -> None:
        if not running.done() and self._seldom("late", binding.key):
            self._log.warning("sink still runs after its deadline", binding=binding.name, method=binding.method, calls=binding.counted.late)

    def _full(self, name: str) -> None:
        if self._seldom("full", name):
            self._log.warning("binding holds all its threads", binding=name, threads=self._threads[name].places.most)

    def _all_taken(self, name: str) -> None:
        if self._seldom("taken", name):
            self._log.warning("calls wait for others of their binding", binding=name, concurrency=self._places[name].most)


async def answer(binding: Binding, event: Event) -> Any:
    """What a coroutine answers, or ``Raised``: as an exception of a task, SystemExit would end the loop."""
    try:
        return await binding.handler(event)
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise
    except BaseException as error:  # see above
        return Raised(error)
