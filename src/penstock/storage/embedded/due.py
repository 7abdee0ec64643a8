"""Which young entry is due first, in each queue and in all: heaps that are never searched.

An entry that was changed or removed leaves its old place in a heap behind; whoever meets that asks whether it is still the present state,
and drops it. One heap for all and one a queue: to merge the queues' heaps for the order of all would cost a look at each queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from ..base import Entry
from .items import Slot, Where

_Item = tuple[float, str, int]


class DueOrder:
    """The young entries in order of their due times, and of their ids where these are the same.

    Args:
        slots: the present states, by entry id.
    """

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self._slots = slots
        self._all: list[_Item] = []
        self._queues: dict[str, list[_Item]] = {}

    def add(self, entry: Entry, where: Where) -> None:
        """Notes a new state of an entry."""
        if not entry.held:
            item = (entry.due, entry.id, where.number)
            heapq.heappush(self._all, item)
            heap = self._queues.get(entry.queue)
            if heap is None:
                self._queues[entry.queue] = [item]
            else:
                heapq.heappush(heap, item)

    def compact(self) -> None:
        """Forgets what was left behind, when that is most of it."""
        if len(self._all) > 2 * len(self._slots) + 1000:
            self._all.clear()
            self._queues.clear()
            for slot in self._slots.values():
                if slot.entry is not None:
                    self.add(slot.entry, slot.where)

    def first(self, queue: str | None) -> float | None:
        """The least due time of the young in a queue, or in all."""
        heap = self._heap(queue)
        while heap and not self._is_present(heap[0], queue):
            heapq.heappop(heap)
        if heap:
            return heap[0][0]
        if queue is not None:
            self._queues.pop(queue, None)
        return None

    def queues(self) -> dict[str, float]:
        """The queues with a young entry that is not held, and the least due time of these."""
        times = {queue: self.first(queue) for queue in list(self._queues)}
        return {queue: due for queue, due in times.items() if due is not None}

    def until(self, now: float, limit: int, queue: str | None) -> list[Entry]:
        """The young entries that are due, the earliest first; what was left behind among them is dropped on the way."""
        heap = self._heap(queue)
        present: list[_Item] = []
        while heap and heap[0][0] <= now and len(present) < limit:
            item = heapq.heappop(heap)
            if self._is_present(item, queue) and (not present or item != present[-1]):
                present.append(item)
        for item in present:
            heapq.heappush(heap, item)
        return [entry for _, key, _ in present if (entry := self._slots[key].entry) is not None]

    def _heap(self, queue: str | None) -> list[_Item]:
        return self._all if queue is None else self._queues.get(queue, [])

    def _is_present(self, item: _Item, queue: str | None) -> bool:
        """True when this is the present state of its entry, and in this queue: one call may put an entry twice."""
        slot = self._slots.get(item[1])
        if slot is None or slot.where.number != item[2] or slot.entry is None:
            return False
        entry = slot.entry
        return entry.due == item[0] and not entry.held and queue in (None, entry.queue)
