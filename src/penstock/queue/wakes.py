"""Which queue is to be looked at when: one time a queue, however many messages it has, and one timer for all of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from .alarm import Alarm

# What was left behind in the heap is cleared away when there is more of it than of what counts, and more than this.
_LEFT_BEHIND = 1000


class Wakes:
    """The least time that was told of each queue.

    Args:
        now: the present time in seconds since 1970.
        ring: called when the first of the times has come, or earlier.
    """

    __slots__ = ("_alarm", "_heap", "_times")

    def __init__(self, now: Callable[[], float], ring: Callable[[], None]) -> None:
        self._times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._alarm = Alarm(now, ring)

    def __len__(self) -> int:
        return len(self._times)

    def at(self, name: str, when: float) -> None:
        """Notes that a queue is to be looked at then; a later time than one that is known changes nothing."""
        known = self._times.get(name)
        if known is not None and known <= when:
            return
        self._times[name] = when
        heapq.heappush(self._heap, (when, name))
        if self._heap[0][1] == name:
            self._alarm.set(when)
        if len(self._heap) > 2 * len(self._times) + _LEFT_BEHIND:
            self._heap = [(due, queue) for queue, due in self._times.items()]
            heapq.heapify(self._heap)

    def due(self, now: float, limit: int) -> list[str]:
        """The queues whose time has come, the earliest first, at most so many; they are forgotten here."""
        names: list[str] = []
        while self._heap and len(names) < limit:
            when, name = self._heap[0]
            if self._times.get(name) != when:
                heapq.heappop(self._heap)
            elif when <= now:
                heapq.heappop(self._heap)
                del self._times[name]
                names.append(name)
            else:
                break
        return names

    def arm(self) -> None:
        """Sets the timer for the first of the times that are left."""
        self._alarm.cancel()
        if self._heap:
            self._alarm.set(self._heap[0][0])

    def stop(self) -> None:
        """Never rings again."""
        self._times.clear()
        self._heap.clear()
        self._alarm.cancel()
