"""What a look-up comes to, and where that is kept.

An answer is a value, a failure included: that a name does not exist is as much of a result as its addresses are, and both are kept until
their time is over. Rejected: dnspython's cache, which keeps whole responses (64 KiB each if a hostile server likes), knows no bound on time
to live, and forgets failures, so that a dead server of names is waited for by each message anew.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Outcome(Enum):
    """How a look-up ended."""

    FOUND = "found"
    NO_SUCH_NAME = "no such name"
    NO_RECORDS = "no records"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Mx:
    """One MX record: the lower preference is tried first; the host is "" for the null MX (RFC 7505 §3)."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """The result of a look-up.

    Args:
        outcome: FAILED is temporary, and the name may exist; the others are for certain.
        records: what was found, at most as many as the resolver keeps; may be empty where all that was found is malformed.
        text: what happened, in words for a queue listing; "" when found.
        fixed: True when the order of the records is an administrator's, and not to be changed.
    """

    outcome: Outcome
    records: tuple[R, ...] = ()
    text: str = ""
    fixed: bool = False


class AnswerCache:
    """Answers by name and type, each until its time is over; what was not used for longest goes first.

    Args:
        capacity: how many records are kept in all, where an answer without records counts as one.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        # The values are answers of the type that the key asks for; Any stays within this class and the resolver.
        self._kept: OrderedDict[tuple[str, str], tuple[float, Answer[Any]]] = OrderedDict()

    def get(self, key: tuple[str, str], now: float) -> Answer[Any] | None:
        """The answer that is kept, None when there is none or its time is over."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept[0] <= now:
            self._remove(key)
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def put(self, key: tuple[str, str], answer: Answer[Any], until: float) -> None:
        """Keeps an answer until that time, in place of the one before."""
        if key in self._kept:
            self._remove(key)
        self._kept[key] = (until, answer)
        self._size += _cost(answer)
        while self._size > self._capacity:
            self._remove(next(iter(self._kept)))

    def clear(self) -> None:
        """Forgets everything."""
        self._kept.clear()
        self._size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def _remove(self, key: tuple[str, str]) -> None:
        self._size -= _cost(self._kept.pop(key)[1])


def _cost(answer: Answer[Any]) -> int:
    return max(1, len(answer.records))
