"""One message at one hop: the commands that carry it, as sinks leave them, and what of it cannot be said to this server.

Sinks edit a copy: what they change of header, content, sender or a recipient's address is for this server alone.
"""

from __future__ import annotations

import asyncio

import msgspec

from ..errors import LocalProtocolError
from ..events.outbound import BeforeData, MessageStart, PerRecipient
from ..events.verdict_transit import Skip
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from ..mail.message import began
from ..wire.smtp.client_parameters import Built, Needs, mail_command, rcpt_command
from ..wire.smtp.outgoing import Mail, Rcpt, edited
from .attempt import Attempt
from .downgrade import converted
from .exchange import SinkWire
from .parcel import Parcel, examine
from .session import Session

# Needs that end a message here, with the status and the reason that its sender reads.
_FAILURES = (
    (Needs.UTF8, "5.6.7", "the message needs SMTPUTF8, which the server does not offer"),
    (Needs.SIZE, "5.3.4", "the message is larger than the server takes"),
    (Needs.TLS, "5.7.30", "the message requires TLS all the way (REQUIRETLS), which the server does not promise"),
    (Needs.DELIVER_BY, "5.3.3", "the message is to be returned rather than late (DELIVERBY), and the server does not know how"),
    (Needs.LATE, "5.4.7", "the message could not be delivered in the time that its sender set (DELIVERBY)"),
)


class Passage:
    """One message over one session.

    Args:
        session: the session.
        attempt: the message, and what became of its recipients so far.
    """

    __slots__ = ("_addressed", "_line_is_a_sinks", "_rcpts", "attempt", "hop", "mail", "parcel", "session")

    mail: Mail
    parcel: Parcel

    def __init__(self, session: Session, attempt: Attempt) -> None:
        self.session = session
        self.attempt = attempt
        work = attempt.work
        self.hop = _copy(work) if session.context.hooks.sees_message else work
        self._rcpts: dict[int, Rcpt] = {}
        # Recipients as a sink addressed them for this hop.
        self._addressed: dict[int, Recipient] = {}
        self._line_is_a_sinks = False

    async def prepare(self) -> bool:
        """Makes the MAIL command, after MessageStart; False when there is nothing to send, and the attempt knows why.

        Raises: StorageDamaged, OSError.
        """
        attempt, chain = self.attempt, self.session.context.hooks.message_start
        self.parcel = attempt.parcel = attempt.parcel or await examine(attempt.work)
        built = self._build()
        if built is None:
            return False
        if chain:
            built = await self._ask_start(built)
            if built is None:
                return False
        return await self._meet_needs(built)

    async def rcpt(self, recipient: Recipient) -> Rcpt | None:
        """The RCPT command for a recipient, after PerRecipient; None when there is none, and the attempt knows why."""
        known = self._rcpts.get(id(recipient))
        if known is not None:
            return known
        command = self._build_rcpt(recipient, self._addressed.get(id(recipient), recipient))
        if command is not None and self.session.context.hooks.per_recipient:
            command = await self._ask_recipient(recipient, command)
        if command is not None:
            self._rcpts[id(recipient)] = command
        return command

    async def before_data(self, accepted: list[Recipient]) -> bool:
        """Asks BeforeData; False when the content is not to be sent. Raises StorageDamaged, OSError."""
        session = self.session
        chain = session.context.hooks.before_data
        if not chain:
            return True
        record, content = self.hop.record, self.hop.content
        wire = SinkWire(session)
        event = BeforeData(session.facts(self.hop), wire, tuple(r.copy() for r in accepted))
        outcome = await session.context.hooks.ask(event, chain)
        await wire.end()
        if outcome.verdict is not None:
            self.attempt.decide(list(accepted), outcome)
            return False
        if self.hop.record is not record or self.hop.content is not content:
            self.parcel = await examine(self.hop)
            if self.parcel.eight_bit and "8BITMIME" not in self.session.machine.offered and not await self._convert(list(accepted)):
                return False
        return not session.over

    async def _ask_start(self, built: Built[Mail]) -> Built[Mail] | None:
        session, attempt, hop = self.session, self.attempt, self.hop
        record, content = hop.record, hop.content
        wire, line = SinkWire(session), built.command.line
        event = MessageStart(session.facts(hop), wire, line)
        outcome = await session.context.hooks.ask(event, session.context.hooks.message_start)
        event.restore()
        await wire.end()
        if isinstance(outcome.verdict, Skip) and attempt.untouched:
            attempt.skipped = True
            return None
        if outcome.verdict is not None:
            attempt.decide(list(attempt.left), outcome)
            return None
        if session.over:
            return None
        if hop.record is not record or hop.content is not content:
            self.parcel = await examine(hop)
            self._note_addresses()
            rebuilt = self._build()
            if rebuilt is None:
                return None
            built = rebuilt
        if event.command == line:
            return built
        self._line_is_a_sinks = True
        return msgspec.structs.replace(built, command=edited(built.command, event.command))

    def _note_addresses(self) -> None:
        """Takes over what a sink changed about recipients; who they are stays as it is."""
        own, shown = self.attempt.work.record.envelope.recipients, self.hop.record.envelope.recipients
        if len(own) == len(shown):
            self._addressed = {id(a): b for a, b in zip(own, shown, strict=True) if a != b}
        else:
            log = self.session.context.log
            log.warning("recipients cannot be added or removed for one hop", message=self.attempt.work.record.id)

    async def _ask_recipient(self, recipient: Recipient, command: Rcpt) -> Rcpt | None:
        session = self.session
        shown = self._addressed.get(id(recipient), recipient)
        wire = SinkWire(session)
        event = PerRecipient(session.facts(self.hop), wire, shown, command.line)
        outcome = await session.context.hooks.ask(event, session.context.hooks.per_recipient)
        event.restore()
        await wire.end()
        if outcome.verdict is not None:
            self.attempt.decide([recipient], outcome)
            return None
        if event.command != command.line:
            return edited(command, event.command)
        return command if event.work is shown else self._build_rcpt(recipient, event.work)

    def _build(self) -> Built[Mail] | None:
        """MAIL for what is to be sent now; None when it cannot be written."""
        envelope, offered = self.hop.record.envelope, self.session.machine.offered
        # One recipient beyond ASCII makes the whole an internationalized message, where that can be said (RFC 6531 §3.4).
        wide = "SMTPUTF8" in offered and not all(r.address.is_ascii for r in self.attempt.left)
        try:
            age = self.session.context.server.now() - began(self.hop.record)
            facts = msgspec.structs.replace(self.parcel.facts(wide, age), several=len(self.attempt.left) > 1)
            return mail_command(envelope.sender, envelope.parameters, facts, offered)
        except LocalProtocolError as error:
            self.attempt.fail(list(self.attempt.left), "5.1.7", str(error))
            return None

    def _build_rcpt(self, recipient: Recipient, shown: Recipient) -> Rcpt | None:
        try:
            built = rcpt_command(shown, self.session.machine.offered)
        except LocalProtocolError as error:
            self.attempt.fail([recipient], "5.1.3", str(error))
            return None
        if Needs.UTF8 in built.unmet:
            self.attempt.fail([recipient], "5.6.7", "the address needs SMTPUTF8, which the server does not offer")
            return None
        return built.command if shown is recipient else Rcpt(built.command.line, recipient)

    async def _meet_needs(self, built: Built[Mail]) -> bool:
        """Looks at what the server does not offer; False when that ends the message here."""
        attempt, session = self.attempt, self.session
        if Needs.BINARY in built.unmet or (Needs.EIGHT_BIT in built.unmet and session.settings.eight_bit != "send"):
            if not await self._convert(list(attempt.left)):
                return False
            rebuilt = self._build()
            if rebuilt is None:
                return False
            # A line that a sink wrote stays, as nothing in it says how large or how wide the content is that the sink did not put there.
            built = msgspec.structs.replace(rebuilt, command=built.command) if self._line_is_a_sinks else rebuilt
        for need, status, text in _FAILURES:
            if need in built.unmet:
                attempt.fail(list(attempt.left), status, text)
                return False
        if self.hop.record.envelope.parameters.requiretls and not (session.remote.tls is not None and session.remote.tls.verified):
            # RFC 8689 §4.2.1; a connection that was made for it has one, unless a sink wanted it otherwise.
            attempt.fail(list(attempt.left), "5.7.30", "the message requires TLS whose certificate holds (REQUIRETLS)")
            return False
        if session.settings.bare_newlines == "refuse" and not self.parcel.clean and not self.parcel.binary:
            attempt.fail(list(attempt.left), "5.6.0", "the content has a CR or LF that is not part of a line end")
            return False
        self.mail = built.command
        return True

    async def _convert(self, recipients: list[Recipient]) -> bool:
        """Converts the content to 7 bits; False when that cannot be done, and the recipients' mail is returned (RFC 6152 §3)."""
        binary = self.parcel.binary
        if self.session.settings.eight_bit == "send" and not binary:
            return True
        content = None
        if self.session.settings.eight_bit != "bounce":
            content = await asyncio.to_thread(converted, self.parcel.content, binary)
        if content is None:
            text = "the content is binary" if binary else "the content has octets above 127"
            self.attempt.fail(recipients, "5.6.3", f"{text}, and the server does not offer {'BINARYMIME' if binary else '8BITMIME'}")
            return False
        self.parcel = await examine(self.hop, content)
        return True


def _copy(work: MessageWork) -> MessageWork:
    """The same message for one hop: sinks' edits replace the record and the content of a work, they never change them in place."""
    return MessageWork(work.record, work.content, work.content_id)
