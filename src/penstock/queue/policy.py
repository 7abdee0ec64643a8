"""When to try again, when to tell the sender of a delay, and when to give up.

The defaults are what administrators know: after 15, 30 and 60 minutes, then every 4 hours, for 5 days. RFC 5321 §4.5.4.1: "the give-up time
generally needs to be at least 4-5 days", and "the retry interval SHOULD be at least 30 minutes; however, more sophisticated and variable
strategies will be beneficial". A server that cannot be reached is first tried again after short rests, the glitch intervals: most such
failures are over within minutes, and nothing but one connection is spent on finding out.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retry schedule.

    Args:
        intervals: seconds before the first, second ... next try; the last one repeats.
        expire: seconds after which a message is given up, counted from when it was received.
        jitter: how much each interval may be longer or shorter, as a fraction, so that what failed together does not come back together.
        glitch: seconds for which a destination rests after its first, second ... failure in a row; after these, ``intervals`` hold.
        notices: how many seconds old a message is when its sender is told of the delay, each time once; none for never.

    Raises: ValueError for a schedule without intervals, or with one that would spin.
    """

    intervals: tuple[float, ...] = (15 * MINUTE, 30 * MINUTE, 60 * MINUTE, 4 * HOUR)
    expire: float = 5 * DAY
    jitter: float = 0.1
    glitch: tuple[float, ...] = (MINUTE, MINUTE, MINUTE)
    notices: tuple[float, ...] = (4 * HOUR,)

    def __post_init__(self) -> None:
        if not self.intervals:
            raise ValueError("a retry schedule needs at least one interval")
        if any(not 0 < seconds < float("inf") for seconds in (*self.intervals, *self.glitch, *self.notices, self.expire)):
            raise ValueError("the times of a retry schedule must be greater than 0, and finite")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"the jitter is a fraction from 0 to less than 1, not {self.jitter}")

    def next_due(self, key: str, deferrals: int, received: float, now: float) -> float | None:
        """When to try a message next, in seconds since 1970; None to give up.

        Args:
            key: what the jitter is drawn from; the same key gives the same time.
            deferrals: how often it was put off before, 0 for the first time.
            received: when the message was received.
            now: the present time.
        """
        if now - received >= self.expire:
            return None
        interval = self.intervals[min(deferrals, len(self.intervals) - 1)]
        return min(now + self._jittered(interval, key, deferrals), received + self.expire)

    def back_off(self, key: str, failures: int) -> float:
        """For how many seconds a destination rests that cannot be reached.

        Args:
            key: what the jitter is drawn from: the destination and something that differs each time.
            failures: how many rests in a row came before this one.
        """
        beyond = failures - len(self.glitch)
        interval = self.glitch[failures] if beyond < 0 else self.intervals[min(beyond, len(self.intervals) - 1)]
        return self._jittered(interval, key, failures)

    def next_notice(self, received: float, told: float) -> float | None:
        """When the sender is to be told of a delay, in seconds since 1970; None for never (again).

        Args:
            received: when the message was received.
            told: when the sender was told last, 0 for never.
        """
        times = [received + age for age in self.notices if received + age > told and age < self.expire]
        return min(times, default=None)

    def _jittered(self, interval: float, key: str, number: int) -> float:
        draw = zlib.crc32(f"{key}/{number}".encode()) / 0xFFFFFFFF * 2 - 1
        return interval * (1 + self.jitter * draw)


@dataclass(frozen=True, slots=True)
class Policies:
    """The retry schedule of each domain.

    Args:
        default: for a domain that no pattern matches.
        domains: by pattern: ``example.org``, ``.example.org`` for it and all below it, ``*`` for all.

    Raises: ValueError for a pattern that could never match.
    """

    default: RetryPolicy = field(default_factory=RetryPolicy)
    domains: Mapping[str, RetryPolicy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for pattern in self.domains:
            name = pattern.removeprefix(".")
            if pattern != "*" and (not name or name != name.lower().strip(".") or any(c in name for c in "*@ ")):
                raise ValueError(f"{pattern!r} should be 'example.org', '.example.org' with all below it, or '*', in lower case")

    def of(self, domain: str) -> RetryPolicy:
        """The schedule for a domain in lower case; an exact pattern wins over one with a dot, a longer one over a shorter one."""
        if not self.domains:
            return self.default
        found = self.domains.get(domain)
        while found is None and domain:
            found = self.domains.get("." + domain)
            domain = domain.partition(".")[2]
        return found or self.domains.get("*") or self.default
