"""How often something happened of late, by any key: addresses, users, senders, or whatever a sink counts.

One number a key (the generic cell rate algorithm, ITU-T I.371): the time at which all that was taken will have flowed off again. So a key
may use its whole budget at once, and gets it back little by little; there is no window at whose edge twice as much goes through. What
strangers can make us remember is bounded: beyond that the keys that were asked about longest ago are forgotten.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache

# Some 100 octets each.
MOST_KEYS = 100_000
_BUDGET = re.compile(r"\s*([0-9]{1,9})\s*/\s*(?:([0-9]{1,6})\s*)?([a-z]+)\s*")
_SECONDS = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """So many in so long.

    Args:
        count: at most so many, at once or spread; 0 for any number.
        period: seconds in which they flow off.
    """

    count: float
    period: float

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, text: str) -> Budget:
        """From "100/min", "20/10 minutes", "5/s". Raises ValueError with what a budget looks like."""
        found = _BUDGET.fullmatch(text)
        if not found or found[3] not in _SECONDS or found[2] == "0":
            raise ValueError(f"{text[:40]!r} is not a rate, such as '100/min', '20/10 minutes' or '5/s'")
        return cls(float(found[1]), float(int(found[2] or 1) * _SECONDS[found[3]]))


class Meters:
    """What was taken of late, by key.

    Args:
        most: how many keys are remembered.
        clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_free", "_most")

    def __init__(self, most: int = MOST_KEYS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        # When each is free of all that it took; in the order of use.
        self._free: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._free)

    def take(self, key: Hashable, budget: Budget, amount: float = 1) -> bool:
        """Takes from a key's budget, if there is so much left; False, and nothing is taken, if not.

        Args:
            key: anything that tells one counter from another; those of one key share their budget.
            budget: how much there is.
            amount: how much to take; more than the whole budget is never there.
        """
        if not budget.count:
            return True
        now = self._clock()
        before = max(self._free.pop(key, now), now)
        after = before + amount * budget.period / budget.count
        # What adding up leaves behind the last digit must not cost the last one.
        taken = after - now <= budget.period * (1 + 1e-9)
        self._free[key] = after if taken else before
        if len(self._free) > self._most:
            del self._free[next(iter(self._free))]
        return taken

    def left(self, key: Hashable, budget: Budget) -> float:
        """How much a key has left of its budget."""
        now = self._clock()
        return budget.count * (1 - (max(self._free.get(key, now), now) - now) / budget.period) if budget.count else float("inf")
