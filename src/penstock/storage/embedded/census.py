"""How many entries each queue has, counted as they come and go.

Rejected: to ask the index when somebody wants to know. That reads a row for each entry, for a million of them a tenth of a second in which
the loop does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable


class Census:
    """The number of entries, and of the held among them, of each queue and in all.

    Args:
        counts: queue, entries and held entries of each queue at the start.
    """

    def __init__(self, counts: Iterable[tuple[str, int, int]]) -> None:
        self.queues: dict[str, list[int]] = {queue: [entries, held] for queue, entries, held in counts}
        self.total = sum(entries for entries, _ in self.queues.values())

    def add(self, queue: str, held: str) -> None:
        """Counts an entry that came."""
        self.total += 1
        counts = self.queues.get(queue)
        if counts is None:
            self.queues[queue] = [1, 1 if held else 0]
            return
        counts[0] += 1
        if held:
            counts[1] += 1

    def remove(self, queue: str, held: str) -> None:
        """Counts an entry that went; of a queue that nobody counted it does nothing, as after an index that could not be read."""
        self.total -= 1
        counts = self.queues.get(queue)
        if counts is None:
            return
        counts[0] -= 1
        if held:
            counts[1] -= 1
        if not counts[0]:
            del self.queues[queue]
