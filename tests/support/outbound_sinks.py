"""Sinks of outbound events that tests bind to a real server: the golden examples, word for word where they can be, and their kin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from penstock import Match, Sink, on
from penstock.events import MessageStart, PerRecipient, ServerResponse, SessionEnd, SessionStart, Verb
from penstock.verdicts import Defer, Drop, Reroute, Respond, TreatAs


class QueueDepth(Sink):
    """A verb of our own, on both sides."""

    @on(Verb, keyword="XQDEPTH", advertise="XQDEPTH")
    async def answer(self, event: Verb) -> Respond:
        """We are the server."""
        return Respond(250, "2.0.0", f"{await event.server.queue.depth()} messages queued")

    @on(SessionStart)
    async def ask(self, event: SessionStart) -> None:
        """We are the client, before MAIL."""
        if "XQDEPTH" in event.remote.extensions:
            reply = await event.send("XQDEPTH")
            event.session.state["depth"] = reply.text

    @on(SessionEnd)
    async def tell(self, event: SessionEnd) -> None:
        """What was remembered at the start is known at the end."""
        self.log.info("remote depth", depth=event.session.state.get("depth"), messages=event.messages)


class Trap501(Sink):
    """Takes a remote's 501 for something that passes."""

    @on(ServerResponse, match=Match(verb="MAIL", code="501"))
    async def trap(self, event: ServerResponse) -> Defer:
        """Another try in an hour."""
        self.log.warning("sender refused", remote=event.remote.name, reply=str(event.reply))
        return Defer(after=timedelta(hours=1))


class Hold(Sink):
    """Does not send what asks for it."""

    @on(MessageStart)
    async def hold(self, event: MessageStart) -> Defer | None:
        """A day later."""
        return Defer(after=timedelta(days=1)) if "X-Hold" in event.message.header else None


@dataclass(frozen=True, slots=True)
class ElsewhereSettings:
    """The next hop for whom the first does not want."""

    next_hop: str


class Elsewhere(Sink[ElsewhereSettings]):
    """Sends a recipient that a server refuses to another one."""

    @on(ServerResponse, match=Match(verb="RCPT", code="5xx"))
    async def reroute(self, event: ServerResponse) -> Reroute:
        """This recipient alone."""
        return Reroute(self.settings.next_hop)


@dataclass(frozen=True, slots=True)
class TreatSettings:
    """The code that takes the place of a refusal of MAIL."""

    code: int


class Treat(Sink[TreatSettings]):
    """Reads a remote's refusal as something else."""

    @on(ServerResponse, match=Match(verb="MAIL", code="550"))
    async def treat(self, event: ServerResponse) -> TreatAs:
        """One code in the place of another."""
        return TreatAs(self.settings.code, f"{self.settings.code // 100}.7.1", "as we see it")


class Forget(Sink):
    """Drops who is called nobody, whoever asked for it."""

    @on(PerRecipient)
    async def forget(self, event: PerRecipient) -> Drop | None:
        """Without a report."""
        return Drop("nobody wants it") if event.recipient.address.local == "nobody" else None


class Look(Sink):
    """Sees every reply of another server and leaves it alone."""

    @on(ServerResponse)
    async def look(self, event: ServerResponse) -> None:
        """So that each is in the trace."""
