"""Who guesses passwords is slowed down: failures are counted by address and by user, and each costs more time than the last.

Only failures wait, so that nobody who knows the password feels it; each waits by itself, so that nobody else does. What strangers can make
us remember, and how many of them may wait, is bounded. Too many failures of one user refuse further tries, but not from an address from
which that user got in before: else anybody could lock anybody out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

# Addresses and users of whom failures are remembered, and pairs of both that got in; the oldest are forgotten for new ones.
MOST_REMEMBERED = 20_000
# What counts as one user, however the name is written; a name that is longer than any that can exist is cut.
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """What failed logins cost; each worker counts for itself.

    Args:
        delay: seconds that the first one waits for its answer; each further one in the window waits twice as long.
        longest_delay: seconds that it waits at most.
        window: seconds for which a failure counts.
        session: failures that end a session; Postfix ends it by its limit of errors, Dovecot after a time.
        client: failures in the window after which an address is refused; 0 for no limit.
        user: failures in the window after which a user is refused, but where that user got in before; 0 for no limit.
        waiting: sessions that may wait at the same time; those above are ended at once.
    """

    delay: float = 1.0
    longest_delay: float = 10.0
    window: float = 600.0
    session: int = 5
    client: int = 30
    user: int = 100
    waiting: int = 1000


class _Count:
    """Failures in a sliding window: those of the present one, and the share of the last that still counts."""

    __slots__ = ("before", "now", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.now = self.before = 0

    def value(self, now: float, window: float) -> float:
        passed = now - self.since
        if passed >= 2 * window:
            return 0.0
        if passed >= window:
            return self.now * (2 - passed / window)
        return self.now + self.before * (1 - passed / window)

    def add(self, now: float, window: float) -> float:
        passed = now - self.since
        if passed >= window:
            self.before, self.now = self.now if passed < 2 * window else 0, 0
            self.since += passed // window * window
        self.now += 1
        return self.value(now, window)


class Guesses:
    """The failures of late, of a whole worker.

    ``waiting`` is how many sessions wait for the answer to a failure now.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting = 0
        self._clock = clock
        self._clients: dict[str, _Count] = {}
        self._users: dict[str, _Count] = {}
        self._let_in: dict[tuple[str, str], None] = {}

    def failed(self, client: str, user: str, limits: GuessLimits) -> float:
        """Counts a failure; how many seconds its answer waits.

        Args:
            client: the address.
            user: whom it wanted to be, "" when that was not said.
            limits: what it costs.
        """
        now = self._clock()
        most = _kept(self._clients, client, now).add(now, limits.window)
        if user:
            most = max(most, _kept(self._users, _name(user), now).add(now, limits.window))
        # Beyond some 60 doublings there is no number any more; the longest is reached long before.
        return float(min(limits.delay * 2 ** min(max(most - 1, 0), 30), limits.longest_delay))

    def succeeded(self, client: str, user: str) -> None:
        """Remembers that a user got in from an address."""
        pair = (client, _name(user))
        self._let_in.pop(pair, None)
        _make_room(self._let_in)
        self._let_in[pair] = None

    def refuses_client(self, client: str, limits: GuessLimits) -> bool:
        """Whether an address failed too often to be heard."""
        return self._is_over(self._clients, client, limits.client, limits.window)

    def refuses_user(self, client: str, user: str, limits: GuessLimits) -> bool:
        """Whether a user failed too often for strangers to try further."""
        return self._is_over(self._users, _name(user), limits.user, limits.window) and (client, _name(user)) not in self._let_in

    def _is_over(self, counts: dict[str, _Count], key: str, most: int, window: float) -> bool:
        found = counts.get(key)
        # A share of the last window counts; what is a little below the limit only because time goes by, is at it.
        return most > 0 and found is not None and found.value(self._clock(), window) >= most - 0.5


def _name(user: str) -> str:
    return user[:_LONGEST_NAME].casefold()


def _kept(counts: dict[str, _Count], key: str, now: float) -> _Count:
    """The count of a key, which is the youngest from now on."""
    count = counts.pop(key, None)
    if count is None:
        _make_room(counts)
        count = _Count(now)
    counts[key] = count
    return count


def _make_room(remembered: dict[str, _Count] | dict[tuple[str, str], None]) -> None:
    if len(remembered) >= MOST_REMEMBERED:
        oldest: Hashable = next(iter(remembered))
        del remembered[oldest]  # type: ignore[arg-type]
