"""Which messages are in memory, for all destinations together: how many, how large, whose, and how more come from the spool.

A message is in memory at most once: an entry that a look into the spool finds, and that waits or is worked on already, is passed over, and
when it is released, the spool is looked at again, since what is there may be its next state.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ..storage.base import Entry, Query, Spool
from .job import Job, id_of, size_of
from .throttle import Standing

if TYPE_CHECKING:
    from .destination import Destination

# What a destination may have in memory whatever the others have, so that all get on; bounded by the number of sessions.
LEAST = 10
# How many destinations are remembered as known good after they went out of memory.
REMEMBERED = 20_000


class Stock:
    """Keeps the bounds of what waits in memory.

    Args:
        spool: where all messages are.
        ready: how many messages may wait in memory, in all.
        ready_each: how many of one destination.
        octets: how many octets of content and envelopes, in all.
    """

    __slots__ = ("_contested", "_each", "_most", "_most_octets", "_octets", "_owners", "_ready", "_spool", "_windows")

    def __init__(self, spool: Spool, ready: int, ready_each: int, octets: int) -> None:
        self._spool = spool
        self._most = ready
        self._each = ready_each
        self._most_octets = octets
        self._ready = 0
        self._octets = 0
        # None for what no destination may take for the present.
        self._owners: dict[str, Destination | None] = {}
        self._contested: dict[str, str] = {}
        self._windows: OrderedDict[str, float] = OrderedDict()

    @property
    def ready(self) -> int:
        """How many messages wait in memory."""
        return self._ready

    @property
    def is_full(self) -> bool:
        """True when no more may wait, or more does than may."""
        return self._ready >= self._most or self._octets >= self._most_octets

    @property
    def octets(self) -> int:
        """How many octets these take."""
        return self._octets

    def add(self, destination: Destination, job: Job) -> bool:
        """Keeps a message of a destination in memory; False when there is no room, or it waits or is worked on already."""
        message_id, size = id_of(job), size_of(job)
        if message_id in self._owners:
            self._contested[message_id] = destination.name
            return False
        if self._ready >= self._most or len(destination.ready) >= self._each or self._octets + size > self._most_octets:
            destination.more = True
            return False
        self._keep(destination, message_id, job, size)
        return True

    def _keep(self, destination: Destination, message_id: str, job: Job, size: int) -> None:
        self._owners[message_id] = destination
        destination.ready[message_id] = (job, size)
        self._ready += 1
        self._octets += size

    def came(self, size: int) -> None:
        """Counts a message that waits again."""
        self._ready += 1
        self._octets += size

    def left(self, size: int) -> None:
        """Counts a message that waits no more, but is worked on."""
        self._ready -= 1
        self._octets -= size

    def release(self, message_id: str) -> str | None:
        """Forgets a message; the queue that has to be looked at now, if any, since the spool's entry was passed over."""
        self._owners.pop(message_id, None)
        return self._contested.pop(message_id, None) if self._contested else None

    def drop(self, destination: Destination) -> list[str]:
        """Forgets what waits in memory of a destination, which the spool has as well; the queues to be looked at now."""
        if not destination.ready:
            return []
        destination.more = True
        released = {self.release(message_id) for message_id in destination.ready}
        self._ready -= len(destination.ready)
        self._octets -= sum(size for _, size in destination.ready.values())
        destination.ready.clear()
        return [queue for queue in released if queue is not None and queue != destination.name]

    def reserve(self, message_id: str) -> None:
        """Keeps all destinations from taking a message, until it is released."""
        self._owners.setdefault(message_id, None)

    def free(self, message_id: str) -> str | None:
        """Undoes ``reserve``; as ``release`` else."""
        return self.release(message_id) if self._owners.get(message_id, self) is None else None

    def is_active(self, message_id: str) -> bool:
        """True when a message is worked on just now, or reserved."""
        owner = self._owners.get(message_id)
        return message_id in owner.active if owner is not None else message_id in self._owners

    def withdraw(self, message_id: str) -> bool:
        """Takes a message out of memory; False when it is worked on just now, and so must not be changed."""
        owner = self._owners.get(message_id)
        if owner is None:
            return message_id not in self._owners
        found = owner.ready.pop(message_id, None)
        if found is None:
            return False
        self.left(found[1])
        self.release(message_id)
        return True

    def refill(self, destination: Destination, now: float) -> float | None:
        """Brings what is due from the spool, as far as there is room; when to look again, None when nothing is known of that.

        Raises: SpoolDamaged.
        """
        limit = len(destination.ready) + len(destination.active) + self._room(destination)
        found = self._spool.due(now, limit, destination.name)
        self._load(destination, found)
        destination.more = len(found) == limit
        if destination.more:
            return None
        if not found:
            return self._spool.next_due(destination.name)
        following = self._spool.due(float("inf"), len(found) + 1, destination.name)
        return following[-1].due if len(following) > len(found) else None

    def walk(self, destination: Destination) -> None:
        """Brings what waits whatever its time, in order of id, each once: nothing that is tried in vain comes twice.

        Raises: SpoolDamaged.
        """
        while not destination.ready and destination.cursor is not None:
            page = self._spool.select(Query(queue=destination.name, held=False), destination.cursor, self._room(destination))
            self._load(destination, page.entries)
            destination.cursor = page.cursor or None

    def _load(self, destination: Destination, found: list[Entry]) -> None:
        for entry in found:
            if entry.id in self._owners:
                if entry.id not in destination.ready:
                    self._contested[entry.id] = destination.name
            else:
                self._keep(destination, entry.id, entry, size_of(entry))

    def _room(self, destination: Destination) -> int:
        """How many may come from the spool now; one at least."""
        if destination.throttle.standing is Standing.FAILING:
            return 1
        room = min(self._each, self._most - self._ready) if self._octets < self._most_octets else 0
        return max(room, min(LEAST, self._each))

    def window_of(self, name: str) -> float:
        """The window of a destination that was known good when it went out of memory; 0 for any other."""
        return self._windows.pop(name, 0.0)

    def remember(self, destination: Destination) -> None:
        """Remembers of a destination that goes out of memory whether it is known good; the longest known is forgotten for it."""
        if destination.throttle.standing is Standing.GOOD:
            self._windows[destination.name] = destination.window
            if len(self._windows) > REMEMBERED:
                self._windows.popitem(last=False)
