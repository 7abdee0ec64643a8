"""The breaker of a binding: after so many failures in a row its handlers are left alone for a while, and then tried with one call.

What that spares is time: of a sink that hangs, each question would cost its whole deadline. A question that is not put follows
``on_error``, as one whose handler failed; a report is not told.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..observe.log import Log
from .plug import Plug


class Breakers:
    """Opens and closes breakers; their state is in the plugs' ``standing``.

    Args:
        log: where it is said.
        clock: monotonic seconds.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock

    def is_open(self, plug: Plug) -> bool:
        """Whether its handlers are left alone now."""
        return plug.standing.open_until > self._clock() if plug.standing.open_until else False

    def holds(self, plug: Plug) -> bool:
        """Whether a handler must not be called now. After False it must be: where the breaker is open, that call is the trial."""
        standing = plug.standing
        if not standing.open_until:
            return False
        now = self._clock()
        if now < standing.open_until:
            return True
        # The others wait for what comes of it; but no longer than it can take, so that a trial that is lost does not cost the binding.
        standing.probing, standing.open_until = True, now + 3 * plug.timeout
        return False

    def failed(self, plug: Plug, error: str) -> None:
        """A handler failed.

        Args:
            plug: whose.
            error: what went wrong, for administrators.
        """
        standing, settings = plug.standing, plug.breaker
        standing.failures += 1
        standing.last_error = error
        now, was_open, probed = self._clock(), bool(standing.open_until), standing.probing
        standing.probing = False
        if was_open and not probed and now < standing.open_until:
            return  # it was called before the breaker opened
        if not settings.failures or (not was_open and standing.failures < settings.failures):
            return
        standing.rest = min(standing.rest * 2 if was_open else settings.rest, settings.longest)
        standing.open_until = now + standing.rest
        self._log.warning("breaker opens", binding=plug.name, failures=standing.failures, rest=standing.rest, error=error)

    def fine(self, plug: Plug) -> None:
        """A handler did what it should."""
        standing = plug.standing
        if standing.open_until:
            self._log.info("breaker closes", binding=plug.name, failures=standing.failures)
        standing.failures, standing.open_until, standing.rest, standing.probing = 0, 0.0, 0.0, False

    def gave_up(self, plug: Plug) -> None:
        """A call ended without telling anything of the sink; the next one may be the trial."""
        standing = plug.standing
        if standing.probing:
            standing.probing, standing.open_until = False, self._clock()
