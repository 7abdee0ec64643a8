"""The breaker of a binding: after so many failures in a row its handlers are left alone for a while, and then tried with one call.

What that spares is time: of a sink that hangs, each question would cost its whole deadline. A question that is not put follows
``on_error``, as one whose handler failed; a report is not told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..observe.log import Log

if TYPE_CHECKING:
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

    def holds(self, plug: Plug) -> bool:
        """Whether a handler must not be called now. After False it must be: that call is the trial for which the others wait."""
        standing = plug.standing
        if not standing.open_until:
            return False
        if standing.probing or self._clock() < standing.open_until:
            return True
        standing.probing = True
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
        was_open, probed = bool(standing.open_until), standing.probing
        standing.probing = False
        if not settings.failures or (was_open and not probed) or (not was_open and standing.failures < settings.failures):
            return
        standing.rest = min(standing.rest * 2 if was_open else settings.rest, settings.longest)
        standing.open_until = self._clock() + standing.rest
        self._log.warning("breaker opens", binding=plug.name, failures=standing.failures, rest=standing.rest, error=error)

    def fine(self, plug: Plug) -> None:
        """A handler did what it should."""
        standing = plug.standing
        if standing.open_until:
            self._log.info("breaker closes", binding=plug.name, failures=standing.failures)
        standing.failures, standing.open_until, standing.rest, standing.probing = 0, 0.0, 0.0, False

    def gave_up(self, plug: Plug) -> None:
        """A call ended without saying anything of the sink; the next one may be the trial."""
        plug.standing.probing = False
