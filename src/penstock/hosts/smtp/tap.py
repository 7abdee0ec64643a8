"""Where somebody may listen to a session: what the machine read, what it led to, and what was answered.

Only Protocols: who listens is the composition root's to say. A host without a tap pays one look at None for each read,
happening and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...events.work import Facts
from ...wire.smtp.happening import Happening


class SessionTap(Protocol):
    """Listens to one session; must not raise, and must not wait."""

    def received(self, data: bytes) -> None:
        """Octets came from the client, and are not parsed yet."""

    def happened(self, happening: Happening, unread: int) -> None:
        """The machine read something, and the session has not dealt with it yet.

        Args:
            happening: what.
            unread: octets that were received and are not parsed yet.
        """

    def sent(self, data: bytes) -> None:
        """Octets go to the client."""

    def ended(self, reason: str) -> None:
        """The session is over: why, as ``SessionEnded`` says it."""


# Who listens to the session that just began, or None.
Tap = Callable[[Callable[[], Facts]], SessionTap | None]
