"""The smallest sink that does something: it refuses all mail, as the first sample of the original did."""

from __future__ import annotations

from penstock import Sink, on
from penstock.events import Ehlo, Helo
from penstock.verdicts import Disconnect


class ShieldsUp(Sink):
    """Turns every client away, politely."""

    @on(Ehlo, Helo)
    async def refuse(self, event: Ehlo | Helo) -> Disconnect:
        """Says so and hangs up."""
        return Disconnect(421, "4.3.2", "Please try again later.")
