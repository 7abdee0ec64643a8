"""One timer of the loop that follows a clock which may be set."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

# How long to look the other way, at most: clocks may be set.
LONGEST_WAIT = 60.0


class Alarm:
    """Calls when a time has come; of all that it was set to, the first.

    Args:
        now: the present time in seconds since 1970.
        ring: called on the loop; too early when the time is far away, so it has to look at the clock.
    """

    __slots__ = ("_at", "_handle", "_now", "_ring")

    def __init__(self, now: Callable[[], float], ring: Callable[[], None]) -> None:
        self._now = now
        self._ring = ring
        self._handle: asyncio.Handle | None = None
        # The time is kept here: uvloop's handle for a time that is past does not know it.
        self._at = 0.0

    def set(self, when: float) -> None:
        """Sees to it that it rings at this time, or earlier.

        Args:
            when: in seconds since 1970; what is past rings at once.
        """
        loop = asyncio.get_running_loop()
        longest = math.inf if getattr(loop, "steady", False) else LONGEST_WAIT  # a test's clock is never set
        at = loop.time() + min(max(when - self._now(), 0.0), longest)
        if self._handle is None or at < self._at:
            self.cancel()
            self._at = at
            self._handle = loop.call_at(at, self._rings)

    def cancel(self) -> None:
        """Forgets what it was set to."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def is_set(self) -> bool:
        """True when it is going to ring."""
        return self._handle is not None

    def _rings(self) -> None:
        self._handle = None
        self._ring()
