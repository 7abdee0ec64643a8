"""The questions of a session in which we are the client, each as a method; ``set_remote`` says who the server is and what it answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from ..events import outbound as events
from ..events import verdict as v
from ..events import verdict_transit as t
from ..events.work import Facts
from ..mail.envelope import Recipient
from .asking import Asking, as_recipient
from .stand_in import ReplyLike, as_reply

# Replies to these are about no message.
_NO_MESSAGE = frozenset({"BANNER", "EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "QUIT"})
Response = t.TreatAs | v.Defer | v.Bounce | t.Reroute | t.Retry | v.Disconnect


class AskOutbound(Asking):
    """From the choice of an address to QUIT."""

    async def connecting(
        self, address: str = "192.0.2.25", port: int = 25, source: str = "", tls: events.TlsLevel = "may"
    ) -> v.Defer | v.Bounce | t.Reroute | None:
        """An address was chosen; ``tester.event`` has what would be connected to."""
        event = events.Connecting(self._facts(message=False), address, port, source, tls)
        return cast(v.Defer | v.Bounce | t.Reroute | None, await self.put(event))

    async def session_start(self) -> v.Defer | v.Disconnect | t.Reroute | None:
        """EHLO is exchanged; no message was sent yet."""
        event = events.SessionStart(self._facts(message=False), self.remote)
        return cast(v.Defer | v.Disconnect | t.Reroute | None, await self.put(event))

    async def message_start(self, command: str | None = None) -> v.Defer | v.Bounce | v.Drop | t.Skip | None:
        """MAIL is next; ``tester.event.command`` is what would be sent."""
        facts = self._facts()
        event = events.MessageStart(facts, self.remote, command or f"MAIL FROM:<{self._the_message().record.envelope.sender}>")
        return cast(v.Defer | v.Bounce | v.Drop | t.Skip | None, await self.put(event))

    async def per_recipient(
        self, recipient: str | Recipient | None = None, command: str | None = None
    ) -> v.Defer | v.Bounce | v.Drop | None:
        """RCPT is next, for one recipient: the first of the message where none is given."""
        facts, asked = self._facts(), self._asked(recipient)
        event = events.PerRecipient(facts, self.remote, asked, command or f"RCPT TO:<{asked.address}>")
        return cast(v.Defer | v.Bounce | v.Drop | None, await self.put(event))

    async def before_data(self, accepted: Iterable[str | Recipient] | None = None) -> v.Defer | v.Bounce | v.Drop | None:
        """DATA or BDAT is next; the server took these recipients, or all of the message."""
        facts = self._facts()
        taken = self._the_message().record.envelope.recipients if accepted is None else accepted
        event = events.BeforeData(facts, self.remote, tuple(as_recipient(r).copy() for r in taken))
        return cast(v.Defer | v.Bounce | v.Drop | None, await self.put(event))

    async def server_response(
        self, verb: str, reply: ReplyLike, *, command: str = "", recipient: str | Recipient | None = None
    ) -> Response | None:
        """The server answered.

        Args:
            verb: what it answers, such as "MAIL", or "BANNER", or "CONTENT" for the end of data.
            reply: what it says, such as "501 5.5.4 Syntax error".
            command: the line as it was sent; "" for one that fits.
            recipient: whom a reply to RCPT is about; None for the first of the message.
        """
        word = verb.upper()
        facts = self._facts(message=word not in _NO_MESSAGE)
        asked = self._asked(recipient) if word == "RCPT" or recipient is not None else None
        event = events.ServerResponse(facts, word, command or self._line(word, asked), as_reply(reply), asked)
        return cast(Response | None, await self.put(event))

    async def session_end(self, messages: int = 1, recipients: int = 1) -> None:
        """QUIT is next; the server took so many messages and recipients."""
        await self.put(events.SessionEnd(self._facts(message=False), self.remote, messages, recipients))

    def _facts(self, message: bool = True) -> Facts:
        return self.facts(session=False, message=message, outbound=True)

    def _asked(self, recipient: str | Recipient | None) -> Recipient:
        listed = self._the_message().record.envelope.recipients
        return as_recipient(recipient) if recipient is not None else listed[0]

    def _line(self, verb: str, recipient: Recipient | None) -> str:
        if verb == "MAIL":
            return f"MAIL FROM:<{self._the_message().record.envelope.sender}>"
        return f"RCPT TO:<{recipient.address}>" if verb == "RCPT" and recipient is not None else "" if verb == "BANNER" else verb
