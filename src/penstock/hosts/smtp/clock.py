"""Which timeout holds for a session at the moment: for its next command, for one that has begun, for content, or none."""

from __future__ import annotations

import asyncio

from .host import SessionLimits

NEVER = float("inf")
# How long a connection may take to close after the farewell, before it is looked at again.
FAREWELL = 60.0


class SessionClock:
    """The deadline of one session, as the time of the loop; the host's sweep looks at it once a second.

    Args:
        limits: how long everything may take.
    """

    __slots__ = ("_data_since", "_limits", "_line_since", "_loop", "deadline")

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._line_since: float | None = None
        self._data_since: float | None = None
        self.deadline = NEVER

    def stop(self) -> None:
        """A decision is open, and has a deadline of its own."""
        self.deadline = NEVER

    def handshake(self, seconds: float) -> None:
        """A TLS handshake has begun, and however slowly its octets drip, it has this long in all."""
        self.deadline = self._loop.time() + seconds

    def closing(self) -> None:
        """The farewell is on its way."""
        self.deadline = self._loop.time() + FAREWELL

    def client_is_asked(self) -> None:
        """It is the client's turn: to say something, or to read."""
        self._line_since = self._data_since = None
        self.deadline = self._loop.time() + self._limits.idle

    def command_has_begun(self) -> None:
        """A part of a command line is here: a slow drip does not put the end off."""
        self._line_since = self._line_since or self._loop.time()
        self.deadline = self._line_since + self._limits.command

    def content_comes(self) -> None:
        """Octets of content came: the next ones may take so long, and all of them so long."""
        now = self._loop.time()
        self._line_since = None
        self._data_since = self._data_since or now
        self.deadline = min(now + self._limits.data, self._data_since + self._limits.message)
