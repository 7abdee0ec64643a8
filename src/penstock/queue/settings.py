"""Who serves destinations, and how much of them is served at once; filled in by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .destination import Carrier, Destination
from .limits import DestinationLimits


class NoCarrier:
    """Serves nobody: what is queued waits."""

    def attend(self, destination: Destination) -> None:
        """Begins nothing."""

    async def stop(self, seconds: float) -> None:
        """Has nothing to end."""


NOBODY = NoCarrier()


def no_carrier(queue: str) -> Carrier:
    """The carrier of every queue as long as none was given."""
    return NOBODY


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    """How destinations are served.

    Args:
        carrier_for: who serves a queue, by its name; asked when it comes into memory.
        limits_for: what a queue is given, by its name; asked at the same time.
        sessions: sessions at the same time, of all destinations.
        reserved: the fraction of these that only destinations get which are known good.
        probing: the fraction of these that destinations get, at most, that could not be reached last time.
        ready: messages that wait in memory, of all destinations; a few more for each that is being served when this is used up.
        ready_each: messages that wait in memory, of one destination.
        ready_octets: octets that these take.
    """

    carrier_for: Callable[[str], Carrier] = no_carrier
    limits_for: Callable[[str], DestinationLimits] = lambda queue: DestinationLimits()
    sessions: int = 500
    reserved: float = 0.25
    probing: float = 0.25
    ready: int = 5000
    ready_each: int = 200
    ready_octets: int = 64 * 1024 * 1024
