"""An event loop on which time is virtual: when nothing is left to do at an instant, the clock jumps to the next timer.

So five days of retries take milliseconds, and always go the same way. Real things are still waited for in real time: threads that were told
of with ``hold``, and descriptors such as a subprocess's pipes or a real socket. Only when these are silent for ``patience`` seconds does
time go on without them: one that hangs is then met by the deadline that it has in the server.

Rejected: to replace ``time.time`` in the process, which sinks and libraries read for reasons of their own; the server takes its time from
the loop and from its node, and both are this clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime
from typing import Any

# Where virtual time begins: a Monday, at 9 in the morning, UTC.
BEGINNING = datetime(2026, 1, 5, 9, 0, tzinfo=UTC).timestamp()
# Real seconds for which threads and descriptors may be silent before time goes on without them.
PATIENCE = 5.0
# So far time goes by itself, beyond what a test asked for: who waits for what never happens should not wait for ever.
FURTHEST = 30 * 86400.0


class NothingHappensError(RuntimeError):
    """A test waits for something that is never going to happen."""


class Clock:
    """Virtual time: ``elapsed`` seconds since it began.

    Args:
        beginning: when that was, in seconds since 1970.
    """

    def __init__(self, beginning: float = BEGINNING) -> None:
        self.beginning = beginning
        self.elapsed = 0.0
        self.limit = FURTHEST

    def now(self) -> float:
        """Seconds since 1970."""
        return self.beginning + self.elapsed

    def expect(self, seconds: float) -> None:
        """Lets time go at least so far from now, and as far beyond it as it may by itself."""
        self.limit = max(self.limit, self.elapsed + seconds + FURTHEST)


class Owner:
    """What belongs together on a loop and may have to end together: tasks, timers, and what ``at_end`` names."""

    def __init__(self) -> None:
        self.alive = True
        self.tasks: set[asyncio.Task[Any]] = set()
        self.at_end: list[Callable[[], None]] = []

    def end(self) -> None:
        """Cancels its tasks; its timers will do nothing any more."""
        self.alive = False
        for task in list(self.tasks):
            task.cancel()
        for act in self.at_end:
            act()

    def while_alive(self, call: Callable[..., object], *args: object) -> None:
        """Calls, unless it came to its end."""
        if self.alive:
            call(*args)


# Whose code is running; tasks and timers that are made meanwhile are its own.
OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


class _Selector(selectors.BaseSelector):
    """A real selector, which waits for nothing that is only a matter of time."""

    def __init__(self, clock: Clock, patience: float) -> None:
        self.clock = clock
        self.holds = 0
        self.idle: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._patience = patience
        self._real = selectors.DefaultSelector()
        # The loop's own descriptor, by which other threads wake it, is the first one.
        self._quiet: frozenset[int] = frozenset()
        self._gave_up = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; when nothing is, and nothing real is under way, the time of the next timer comes."""
        real = self.holds > 0 or len(self._real.get_map()) > 1
        found = self._real.select(0) if real else []
        if found or (timeout is not None and timeout <= 0):
            return self._heard(found)
        if real and self._is_waiting():
            found = self._real.select(self._patience)
            if found:
                return self._heard(found)
            self._quiet, self._gave_up = self._descriptors(), self.holds
        if self.idle and self._tell_idle():
            return []
        if timeout is None:
            raise NothingHappensError("the test waits for something, and nothing is left to happen")
        self.clock.elapsed += timeout
        if self.clock.elapsed > self.clock.limit:
            raise NothingHappensError(f"the test waits for something that did not happen within {FURTHEST / 86400:g} days")
        return []

    def _tell_idle(self) -> bool:
        """Tells those who wait for an instant at which nothing is left to do, and something is so; whether there were any."""
        told = [future for condition, future in self.idle if future.done() or condition()]
        if told:
            self.idle = [(condition, future) for condition, future in self.idle if future not in told]
            for future in told:
                if not future.done():
                    future.set_result(None)
        return bool(told)

    def _descriptors(self) -> frozenset[int]:
        return frozenset(key.fd for key in self._real.get_map().values())

    def _is_waiting(self) -> bool:
        """Whether a thread, or somebody at the other end of a descriptor, may still have something to say."""
        if self.holds > self._gave_up:
            return True
        self._gave_up = min(self._gave_up, self.holds)
        return len(self._real.get_map()) > 1 and not self._descriptors() <= self._quiet

    def _heard(self, found: list[tuple[selectors.SelectorKey, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        if found:
            self._quiet -= {key.fd for key, _ in found}
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which nobody sets.

    Args:
        patience: real seconds for which threads and descriptors may be silent before time goes on without them.
    """

    # Who looks at the clock from time to time, since clocks may be set, need not do so here.
    steady = True

    def __init__(self, patience: float = PATIENCE) -> None:
        self.clock = Clock()
        self.connector: Callable[..., Awaitable[Any]] | None = None
        self._waits = _Selector(self.clock, patience)
        super().__init__(self._waits)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.clock.elapsed

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
        """Calls at a time of this loop, unless the owner of the timer came to its end before."""
        owner = (context or copy_context()).get(OWNER)
        if owner is not None:
            return super().call_at(when, owner.while_alive, callback, *args, context=context)
        return super().call_at(when, callback, *args, context=context)

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:
        """Makes a task, and notes whose it is."""
        task: asyncio.Task[Any] = super().create_task(coro, name=name, context=context)
        owner = (context or copy_context()).get(OWNER)
        if owner is not None:
            owner.tasks.add(task)
            task.add_done_callback(owner.tasks.discard)
        return task

    def hold(self, future: asyncio.Future[Any]) -> None:
        """Lets time stand still until a future is done that a thread, or another process, is to set."""
        self._waits.holds += 1
        future.add_done_callback(self._release)

    def _release(self, _: asyncio.Future[Any]) -> None:
        self._waits.holds -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Runs a call in a thread; time stands still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self.hold(future)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Ends the threads of the loop; one of its own, which asyncio tells nobody of, waits for them."""
        ended: asyncio.Future[None] = self.create_future()
        self.hold(ended)
        try:
            await super().shutdown_default_executor(*args)
        finally:
            ended.set_result(None)

    async def settled(self, condition: Callable[[], bool] = lambda: True) -> None:
        """Goes on to an instant at which nothing is left to do, and this is so; without a condition that is the present one."""
        future: asyncio.Future[None] = self.create_future()
        self._waits.idle.append((condition, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Lets so much time pass, and all happen that happens within it."""
        self.clock.expect(seconds)
        future: asyncio.Future[None] = self.create_future()
        self.call_at(self.time() + seconds, future.set_result, None)
        await future
        await self.settled()

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """A connection in the network of the test, if it has one; else a real one."""
        if self.connector is not None and host is not None:
            return await self.connector(super().create_connection, protocol_factory, host, port, options)
        return await super().create_connection(protocol_factory, host, port, **options)


def run(main: Callable[[VirtualLoop], Awaitable[None]], patience: float = PATIENCE) -> None:
    """Runs a coroutine function on a loop of its own, gives it that loop, and cleans up after it."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(patience)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)

        async def whole() -> None:
            await main(loop)

        runner.run(whole())
