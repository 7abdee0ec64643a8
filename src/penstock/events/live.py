"""Who still works with a generation of bindings: sessions, messages and tasks under way, counted, so that its sinks can be stopped.

A reload puts other bindings in force; what began before keeps those that it began with. Rejected: weak references, which would tell of the
last use only when the garbage collector came by, and never where a traceback or a cycle kept one alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Uses:
    """Counts what is under way with one generation; belongs to the loop."""

    __slots__ = ("_waiting", "count")

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        """One more works with it."""
        self.count += 1

    def end(self) -> None:
        """One less does."""
        self.count -= 1
        if not self.count:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def during(self, step: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        """The same step, counted from now until it is over."""
        self.count += 1
        return self._during(step)

    async def over(self, seconds: float) -> bool:
        """Waits at most so long until nobody works with it; whether that is so."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.count:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await asyncio.wait((future,), timeout=left)
            if not future.done():
                self._waiting.remove(future)
        return True

    async def _during(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        finally:
            self.end()
