"""Which young entry is due first: a heap that is never searched.

An entry that was changed or removed leaves its old place in the heap behind; whoever meets that asks whether it is still the present state.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from ..base import Entry
from .items import Slot, Where


class DueOrder:
    """The young entries in order of their due times.

    Args:
        slots: the present states, by entry id.
    """

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self._slots = slots
        self._heap: list[tuple[float, int, str]] = []

    def add(self, entry: Entry, where: Where) -> None:
        """Notes a new state of an entry."""
        if not entry.held:
            heapq.heappush(self._heap, (entry.due, where.number, entry.id))

    def compact(self) -> None:
        """Forgets what was left behind, when that is most of it."""
        if len(self._heap) > 2 * len(self._slots) + 1000:
            self._heap = [item for item in self._heap if self._is_present(*item)]
            heapq.heapify(self._heap)

    def first(self) -> float | None:
        """The least due time of the young."""
        heap = self._heap
        while heap and not self._is_present(*heap[0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def until(self, now: float) -> Iterator[Entry]:
        """The young entries that are due, the earliest first; walks down the heap without changing it."""
        heap = self._heap
        frontier = [(heap[0], 0)] if heap else []
        previous = None
        while frontier:
            item, at = heapq.heappop(frontier)
            if item[0] > now:
                return
            if item != previous and self._is_present(*item):
                entry = self._slots[item[2]].entry
                assert entry is not None
                yield entry
            previous = item
            for child in (2 * at + 1, 2 * at + 2):
                if child < len(heap):
                    heapq.heappush(frontier, (heap[child], child))

    def _is_present(self, due: float, number: int, key: str) -> bool:
        slot = self._slots.get(key)
        if slot is None or slot.where.number != number or slot.entry is None:
            return False
        return slot.entry.due == due and not slot.entry.held
