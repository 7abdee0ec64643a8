"""When to try again, and when to give up.

The defaults are what administrators know: after 15, 30 and 60 minutes, then every 4 hours, for 5 days. RFC 5321 §4.5.4.1: "the give-up time
generally needs to be at least 4-5 days", and "the retry interval SHOULD be at least 30 minutes; however, more sophisticated and variable
strategies will be beneficial".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retry schedule.

    Args:
        intervals: seconds before the first, second ... next try; the last one repeats.
        expire: seconds after which a message is given up, counted from when it was received.
        jitter: how much each interval may be longer or shorter, as a fraction, so that what failed together does not come back together.
    """

    intervals: tuple[float, ...] = (15 * MINUTE, 30 * MINUTE, 60 * MINUTE, 4 * HOUR)
    expire: float = 5 * DAY
    jitter: float = 0.1

    def next_due(self, key: str, deferrals: int, received: float, now: float) -> float | None:
        """When to try next, in seconds since 1970; None to give up.

        Args:
            key: what the jitter is drawn from; the same key gives the same time.
            deferrals: how often it was put off before, 0 for the first time.
            received: when the message was received.
            now: the present time.
        """
        if now - received >= self.expire:
            return None
        interval = self.intervals[min(deferrals, len(self.intervals) - 1)]
        draw = zlib.crc32(f"{key}/{deferrals}".encode()) / 0xFFFFFFFF * 2 - 1
        return min(now + interval * (1 + self.jitter * draw), received + self.expire)
