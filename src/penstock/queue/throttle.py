"""How many sessions a destination bears, and how long it rests when it cannot be reached.

A window of sessions grows by one for each window of successes and is halved by each failure, as Postfix's queue manager does it (and TCP
before it): a destination is neither flooded when it is weak nor held back when it is strong, and nobody has to know a number beforehand.
When as many sessions failed in a row as there are, nothing of it is alive: it rests, and afterwards one session finds out. The first
answer ends all of this.
"""

from __future__ import annotations

from enum import IntEnum

from .limits import DestinationLimits


class Standing(IntEnum):
    """What is known of a destination; sessions are shared out by it."""

    GOOD = 0  # it answered last time
    UNTRIED = 1
    FAILING = 2  # it could not be reached last time


class Throttle:
    """What one destination's answers and failures made of its window.

    Args:
        limits: how large the window is at first, and at most.
        key: what the jitter of the rests is drawn from.
        window: how large it is at first, when that is known from before; 0 when it is not.
    """

    __slots__ = ("_key", "_limits", "_rests", "failures", "standing", "until", "window")

    def __init__(self, limits: DestinationLimits, key: str, window: float = 0.0) -> None:
        self._limits = limits
        self._key = key
        self._rests = 0
        self.failures = 0
        self.until = 0.0
        self.standing = Standing.GOOD if window else Standing.UNTRIED
        self.window = min(window or float(limits.window), float(limits.connections))

    @property
    def allowed(self) -> int:
        """How many sessions it may have; one while it is found out whether it is back."""
        return 1 if self.standing is Standing.FAILING else int(self.window)

    def succeeded(self, sessions: int) -> bool:
        """Counts an answer; True when it is the first one, or the first after a failure.

        Args:
            sessions: how many there are; a window that is not used up says nothing about a larger one.
        """
        if self.standing is Standing.GOOD and not self.failures:
            if sessions >= int(self.window):
                self.window = min(self.window + 1 / self.window, float(self._limits.connections))
            return False
        if self.standing is Standing.FAILING:
            self.window = float(min(self._limits.window, self._limits.connections))
        self.failures = self._rests = 0
        self.until = 0.0
        self.standing = Standing.GOOD
        return True

    def failed(self, now: float, sessions: int) -> bool:
        """Counts a failure to reach it; True when a rest begins with it.

        Args:
            now: the present time in seconds since 1970.
            sessions: how many there are, the one that failed among them.
        """
        self.failures += 1
        self.window = max(1.0, self.window / 2)
        if now < self.until or self.failures < sessions:
            return False
        # The time is part of the key: a destination that fails each day would draw the same lot for ever.
        self.until = now + self._limits.retry.back_off(f"{self._key}@{now:.0f}", self._rests)
        self._rests += 1
        self.standing = Standing.FAILING
        return True

    def end_rest(self) -> None:
        """Lets it be tried at once; what is known of its failures stays."""
        self.until = 0.0
