"""Turns every client away; the first sample of the event sinks that Penstock succeeds, and the smallest sink that does something.

Bind it with:

    [[binding]]
    name = "shields-up"
    sink = "shields_up:ShieldsUp"
    listeners = ["mx"]                  # only there; all listeners when left out
"""

from penstock import Sink, on
from penstock.events import Ehlo, Helo
from penstock.verdicts import Disconnect


class ShieldsUp(Sink):
    """Says politely that nobody is at home, whatever the client calls itself."""

    @on(Ehlo, Helo)
    async def refuse(self, event: Ehlo | Helo) -> Disconnect:
        """A verdict is the whole answer: the reply is sent, and the session ends."""
        return Disconnect(421, "4.3.2", "Please try again later.")
