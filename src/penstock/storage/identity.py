"""Queue ids: short, sortable by time, unique in a cluster.

Sixteen characters of an alphabet in order of its codes and without look-alikes: nine for the time in milliseconds (until the year
3084), five that tell who made it (drawn anew by each process), two that count within the millisecond. More than 1,024 in one
millisecond borrow from the next, so ids of one process never repeat, and stay in order."""

from __future__ import annotations

import secrets
from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)
_COUNTS = 32 * 32


def text(number: int, length: int) -> str:
    """A number in this alphabet, most significant character first."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


class Identities:
    """Makes ids.

    Args:
        now: the present time, in seconds since 1970.
    """

    __slots__ = ("_count", "_maker", "_milliseconds", "_now", "_prefix")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._maker = text(secrets.randbits(25), 5)
        self._milliseconds = 0
        self._count = _COUNTS
        self._prefix = ""

    def new(self) -> str:
        """A fresh id, greater than all that this object made before."""
        milliseconds = int(self._now() * 1000)
        if milliseconds <= self._milliseconds and self._count < _COUNTS:
            count = self._count
        else:
            self._milliseconds = max(milliseconds, self._milliseconds + 1)
            self._prefix = text(self._milliseconds, 9) + self._maker
            count = 0
        self._count = count + 1
        return self._prefix + _PAIRS[count]
