"""How much of what a destination, and all of them together, may have; each limit with its precedent."""

from __future__ import annotations

from dataclasses import dataclass, field

from .policy import RetryPolicy
from .schedule import ALWAYS, Schedule

# Whole tokens are taken, and their fractions do not always add up to one exactly.
_NEARLY = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class DestinationLimits:
    """What one destination is given, in one worker.

    Args:
        connections: sessions at the same time, at most (Postfix default_destination_concurrency_limit: 20).
        messages_per_connection: messages after which whoever serves it closes the connection (Exim connection_max_messages: 500).
        recipients: recipients of one transaction (Postfix default_destination_recipient_limit: 50; RFC 5321 §4.5.3.1.8 grants 100).
        rate: messages a second, on average, with bursts of what one second brings; 0 for no limit.
        schedule: when it is worked on.
        retry: how long it rests when it cannot be reached.
        window: sessions at the same time before anything is known of it (Postfix initial_destination_concurrency: 5).
    """

    connections: int = 20
    messages_per_connection: int = 100
    recipients: int = 100
    rate: float = 0.0
    schedule: Schedule = ALWAYS
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    window: int = 5

    def __post_init__(self) -> None:
        if min(self.connections, self.messages_per_connection, self.recipients, self.window) < 1:
            raise ValueError("a destination needs at least one connection, message, recipient and session at a time")
        if not 0 <= self.rate < float("inf"):
            raise ValueError(f"{self.rate} messages a second is no rate")


class TokenBucket:
    """Lets so much through a second, and at once what one second brings, but one at least.

    Args:
        rate: tokens a second, more than 0.
        now: the present time in seconds since 1970.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate)
        self._tokens = self._burst
        self._at = now

    def wait(self, now: float, count: int = 1) -> float:
        """For how many seconds there are not so many tokens; 0 when there are."""
        # A clock that was set back adds nothing, and takes nothing.
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        return 0.0 if self._tokens >= count * _NEARLY else (count - self._tokens) / self._rate

    def take(self) -> None:
        """Takes the token that ``wait`` found."""
        self._tokens -= 1

    def put_back(self) -> None:
        """Gives back one that was not used."""
        self._tokens = min(self._burst, self._tokens + 1)

    def is_full(self, now: float) -> bool:
        """True when nothing would be different with a new bucket."""
        self.wait(now)
        return self._tokens >= self._burst * _NEARLY
