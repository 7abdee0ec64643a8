"""Who may begin the next session, when all destinations together have only so many.

Destinations that want one wait by what is known of them: those known good, those never tried, and those that failed last. The three take
turns; among equals it is the turn of who has the fewest sessions, and of these who has waited longest. So one with a hundred thousand
messages does not keep the others out, and gives back what is beyond its share when others come.

A part of all sessions is for known good ones alone, and those that failed get a part at most: a thousand dead destinations, each of which
holds its session until a connection times out, can then neither keep a live one from its sessions nor a new one from its first.
Rejected: one line with priorities, where somebody is always last.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from .throttle import Standing

if TYPE_CHECKING:
    from .destination import Destination

Line = OrderedDict["Destination", None]


class Turns:
    """Counts sessions, and picks who gets the next one.

    Args:
        sessions: how many there may be in all.
        reserved: the fraction of them that only known good destinations get.
        probing: the fraction of them that destinations get, at most, that failed last.
    """

    __slots__ = ("_counts", "_lines", "_next", "_others", "_probes", "begun", "sessions", "total")

    def __init__(self, sessions: int, reserved: float, probing: float) -> None:
        self.sessions = sessions
        self._others = max(1, sessions - int(sessions * reserved))
        self._probes = max(1, min(self._others, int(sessions * probing)))
        # By standing, and within it by the number of sessions.
        self._lines: tuple[list[Line], ...] = ([OrderedDict()], [OrderedDict()], [OrderedDict()])
        self._counts = [0, 0, 0]
        self._next = 0
        self.total = 0
        self.begun = 0  # since the start

    def add(self, destination: Destination) -> None:
        """Lines up a destination that wants a session; one that waits already keeps its place, unless it belongs elsewhere now."""
        lines = self._lines[destination.throttle.standing]
        while len(lines) <= destination.sessions:
            lines.append(OrderedDict())
        line = lines[destination.sessions]
        if destination.waits_in is not line:
            if destination.waits_in is not None:
                del destination.waits_in[destination]
            destination.waits_in = line
            line[destination] = None

    def next(self) -> Destination | None:
        """The destination whose turn it is to begin a session; None when nobody may."""
        if self.total >= self.sessions:
            return None
        for step in range(3):
            standing = Standing((self._next + step) % 3)
            if (found := self._first(standing)) is not None:
                assert found.waits_in is not None
                del found.waits_in[found]
                found.waits_in = None
                self._next = (standing + 1) % 3
                return found
        return None

    def fewest(self) -> int | None:
        """The fewest sessions that a destination has which waits for one only because all are taken; None when there is no such one."""
        if self.total < self.sessions:
            return None
        waiting = [found.sessions for standing in Standing if (found := self._first(standing)) is not None]
        return min(waiting, default=None)

    def began(self, destination: Destination) -> None:
        """Counts a session more."""
        self._counted(destination, 1)
        self.begun += 1

    def ended(self, destination: Destination) -> None:
        """Counts a session less."""
        self._counted(destination, -1)

    def moved(self, destination: Destination, before: Standing) -> None:
        """Counts the sessions of a destination for what is known of it now."""
        self._counts[before] -= destination.sessions
        self._counts[destination.throttle.standing] += destination.sessions
        if destination.waits_in is not None:
            self.add(destination)

    def _counted(self, destination: Destination, change: int) -> None:
        destination.sessions += change
        self._counts[destination.throttle.standing] += change
        self.total += change
        if destination.waits_in is not None:
            self.add(destination)

    def _first(self, standing: Standing) -> Destination | None:
        """Who is first among those of this standing, when these may have one more as far as the others' parts are concerned."""
        failing = self._counts[Standing.FAILING]
        if standing is Standing.FAILING and failing >= self._probes:
            return None
        if standing is not Standing.GOOD and self._counts[Standing.UNTRIED] + failing >= self._others:
            return None
        return next((next(iter(line)) for line in self._lines[standing] if line), None)
