"""Looks at what remote servers answer, and decides what it means: here, a refusal of our sender is not taken for the last word.

Bind it with:

    [[binding]]
    name = "trap-501"
    sink = "trap_501:Trap501"
    match = { destination = "example.net" }
"""

from datetime import timedelta

from penstock import Match, Sink, on
from penstock.events import ServerResponse
from penstock.verdicts import Defer


class Trap501(Sink):
    """Some servers say 501 to a sender whom they only cannot look up at present. Without this sink the message would bounce."""

    @on(ServerResponse, match=Match(verb="MAIL", code="501"))
    async def trap(self, event: ServerResponse) -> Defer:
        """Instead of Defer it could be Bounce, TreatAs(250), Retry with another line, or Reroute to another server."""
        self.log.warning("sender refused", remote=event.remote.name, command=event.command, reply=str(event.reply))
        return Defer(after=timedelta(hours=1))
