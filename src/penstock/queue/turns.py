"""Who may begin the next session, when all destinations together have only so many.

Destinations that want one wait in three rings: those known good, those never tried, and those that failed last. The rings take turns, and
so do the members of each. A part of all sessions is for known good ones alone, and those that failed get a part at most: a thousand dead
destinations, each of which holds its session until a connection times out, can then neither keep a live one from its sessions nor a new
one from its first. Rejected: one ring with priorities, where somebody is always last.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .throttle import Standing

if TYPE_CHECKING:
    from .destination import Destination


class Turns:
    """Counts sessions, and picks who gets the next one.

    Args:
        sessions: how many there may be in all.
        reserved: the fraction of them that only known good destinations get.
        probing: the fraction of them that destinations get, at most, that failed last.
    """

    __slots__ = ("_counts", "_next", "_others", "_probes", "_rings", "begun", "serving", "sessions", "total")

    def __init__(self, sessions: int, reserved: float, probing: float) -> None:
        self.sessions = sessions
        self._others = max(1, sessions - int(sessions * reserved))
        self._probes = max(1, min(self._others, int(sessions * probing)))
        self._rings: tuple[deque[Destination], ...] = (deque(), deque(), deque())
        self._counts = [0, 0, 0]
        self._next = 0
        self.total = 0
        self.begun = 0  # since the start
        self.serving = 0  # destinations that have a session

    def add(self, destination: Destination) -> None:
        """Lines up a destination that wants a session, unless it waits already."""
        standing = destination.throttle.standing
        if destination.waits_in is not standing:
            # Where it waited before, it is met as one that waits elsewhere.
            destination.waits_in = standing
            self._rings[standing].append(destination)

    def next(self) -> Destination | None:
        """The destination whose turn it is to begin a session; None when nobody may."""
        if self.total >= self.sessions:
            return None
        for step in range(3):
            standing = Standing((self._next + step) % 3)
            if self._may(standing) and (found := self._first(standing)) is not None:
                self._rings[standing].popleft()
                found.waits_in = None
                self._next = (standing + 1) % 3
                return found
        return None

    def is_crowded(self) -> bool:
        """True when somebody waits for a session only because all are taken."""
        return self.total >= self.sessions and any(self._may(standing) and self._first(standing) is not None for standing in Standing)

    def share(self) -> int:
        """How many sessions each destination may keep while others wait."""
        waiting = sum(len(ring) for standing, ring in zip(Standing, self._rings, strict=True) if self._may(standing))
        return max(1, self.sessions // max(1, self.serving + waiting))

    def began(self, destination: Destination) -> None:
        """Counts a session more."""
        destination.sessions += 1
        self._counts[destination.throttle.standing] += 1
        self.total += 1
        self.begun += 1
        self.serving += destination.sessions == 1

    def ended(self, destination: Destination) -> None:
        """Counts a session less."""
        destination.sessions -= 1
        self._counts[destination.throttle.standing] -= 1
        self.total -= 1
        self.serving -= destination.sessions == 0

    def moved(self, destination: Destination, before: Standing) -> None:
        """Counts the sessions of a destination for what is known of it now."""
        standing = destination.throttle.standing
        self._counts[before] -= destination.sessions
        self._counts[standing] += destination.sessions
        if destination.waits_in is not None:
            self.add(destination)

    def _may(self, standing: Standing) -> bool:
        """True when a destination of this standing may have one more, as far as the others' parts are concerned."""
        if standing is Standing.GOOD:
            return True
        failing = self._counts[Standing.FAILING]
        if standing is Standing.FAILING and failing >= self._probes:
            return False
        return self._counts[Standing.UNTRIED] + failing < self._others

    def _first(self, standing: Standing) -> Destination | None:
        """The first in a ring that still waits there."""
        ring = self._rings[standing]
        while ring and ring[0].waits_in is not standing:
            ring.popleft()
        return ring[0] if ring else None
