"""A new command of the protocol, in both directions: XQDEPTH, which EHLO offers, tells how many messages are queued.

Bind it with:

    [[binding]]
    name = "queue-depth"
    sink = "queue_depth:QueueDepth"

Try it with: penstock send -v, which shows the EHLO reply; or by hand with telnet or nc.
"""

from penstock import Sink, on
from penstock.events import SessionEnd, SessionStart, Verb
from penstock.verdicts import Reject, Respond


class QueueDepth(Sink):
    """Answers a verb that SMTP does not have, and asks it of other servers that offer it."""

    @on(Verb, keyword="XQDEPTH", advertise="XQDEPTH")
    async def answer(self, event: Verb) -> Respond | Reject:
        """We are the server. The line was not understood by it, so checking the argument is up to us."""
        if event.argument:
            return Reject(501, "5.5.4", "XQDEPTH takes no argument")
        depth = await event.server.queue.depth()
        return Respond(250, "2.0.0", f"{depth} messages queued")

    @on(SessionStart)
    async def ask(self, event: SessionStart) -> None:
        """We are the client, before MAIL. What is remembered with the session is there at its end."""
        if "XQDEPTH" in event.remote.extensions:
            reply = await event.send("XQDEPTH")
            if reply.code == 250:
                event.session.state["depth"] = reply.text

    @on(SessionEnd)
    async def tell(self, event: SessionEnd) -> None:
        """QUIT is next."""
        if "depth" in event.session.state:
            self.log.info("remote queue", remote=event.remote.name, depth=event.session.state["depth"], messages=event.messages)
