"""A new command of the protocol: XQDEPTH, which EHLO offers, tells how many messages are queued.

Bind it with:

    [[binding]]
    name = "queue-depth"
    sink = "queue_depth:QueueDepth"
    match = { client = ["127.0.0.1", "::1"] }

Try it with: penstock send -v, which shows the EHLO reply; or by hand with telnet or nc.
"""

from penstock import Sink, on
from penstock.events import Verb
from penstock.verdicts import Reject, Respond


class QueueDepth(Sink):
    """Answers a verb that SMTP does not have."""

    @on(Verb, keyword="XQDEPTH", advertise="XQDEPTH")
    async def answer(self, event: Verb) -> Respond | Reject:
        """The line was not understood by the server itself, so checking the argument is up to us."""
        if event.argument:
            return Reject(501, "5.5.4", "XQDEPTH takes no argument")
        depth = await event.server.queue.depth()
        return Respond(250, "2.0.0", f"{depth} messages queued")
