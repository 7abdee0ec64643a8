"""Places: how many calls of one binding run at once; who comes when all are taken waits its turn, and no longer than it may."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

# How long a call waits for a place before somebody is told.
PATIENCE = 1.0


class Places:
    """So many places, first come, first served; all methods belong to the loop.

    Args:
        most: how many calls run at once; one that hangs keeps its place.
        full: told when a call has waited for a place for a while.
    """

    def __init__(self, most: int, full: Callable[[], None]) -> None:
        self.most = most
        self._full = full
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def resize(self, most: int) -> None:
        """From now on there are so many; calls under way go on."""
        self.most = most
        while self._waiting and self._busy < self.most:
            self._busy += 1
            self._waiting.popleft().set_result(None)

    async def take(self, seconds: float) -> bool:
        """Waits so long for a place; False when there was none. Who has one has to ``free`` it."""
        if self._busy < self.most:
            self._busy += 1
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        early = min(PATIENCE, seconds)
        try:
            await asyncio.wait((waiter,), timeout=early)
            if not waiter.done():
                self._full()
                await asyncio.wait((waiter,), timeout=seconds - early)
        except asyncio.CancelledError:
            if waiter.done():
                self.free()
            else:
                self._waiting.remove(waiter)
            raise
        if not waiter.done():
            self._waiting.remove(waiter)
        return waiter.done()

    def free(self) -> None:
        """Hands a place to who waits the longest, if anybody does."""
        if self._waiting and self._busy <= self.most:
            self._waiting.popleft().set_result(None)
        else:
            self._busy -= 1
