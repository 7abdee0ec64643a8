"""The events: each declared once, with what it carries and which verdicts it admits.

A *question* may be answered with one of its verdicts; a *report* only tells, and shows an immutable snapshot. What a handler edits
through an event is a draft of its own: ``begin`` starts it, ``commit`` makes it count. Names follow the command or the moment; what a
sink may do with them is the table in the event reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..mail.address import Address
from ..mail.envelope import MailParameters, Recipient
from ..mail.message import Direction, Origin
from ..mail.reply import Reply
from . import verdict as v
from .message import Message
from .recipients import as_address, as_recipient
from .views import MessageSnapshot, Server, Session, ShownRecipient
from .work import Dialogue, Facts, Scope

_NOBODY = Scope("", "")
Admitted = tuple[type[v.Verdict], ...]


class Event:
    """What every event carries: ``server``, ``origin``, ``direction``, ``attempt`` and ``matched_recipients``.

    ``attempt`` says which time this moment is told of, from 1. ``matched`` and all that is not documented here is the dispatcher's.
    """

    admits: ClassVar[Admitted] = ()
    report: ClassVar[bool] = False
    # A stage of transport is recorded when it is over, and remembers which bindings it asked.
    stage: ClassVar[bool] = False
    __slots__ = ("_message", "_scope", "_session", "attempt", "facts", "matched")

    _every_slot: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._every_slot = tuple(slot for base in cls.__mro__ for slot in getattr(base, "__slots__", ()))

    def __init__(self, facts: Facts, attempt: int = 1) -> None:
        self.facts = facts
        self.attempt = attempt
        self.matched: tuple[int, ...] = ()
        self._scope = _NOBODY
        self._session: Session | None = None
        self._message: Message | None = None

    @property
    def server(self) -> Server:
        """This virtual server."""
        work = self.facts.message
        return Server(self.facts.server, self._scope, work.record.generation if work else 0)

    @property
    def origin(self) -> Origin:
        """How the message, or the session, came here."""
        return self.facts.message.record.origin if self.facts.message else "smtp"

    @property
    def direction(self) -> Direction:
        """ "in" from outside, "out" to outside, or "internal"."""
        return self.facts.message.record.direction if self.facts.message else "in"

    @property
    def matched_recipients(self) -> tuple[Recipient, ...]:
        """The recipients that met the binding's recipient condition, to be edited or forked like others; () without a condition."""
        shown = self._shown_recipients() if self.matched else ()
        return tuple(shown[index] for index in self.matched)

    def recipients_now(self) -> Sequence[Recipient]:
        """The recipients as the server has them; for conditions, which look and do not touch."""
        return self.facts.message.record.envelope.recipients if self.facts.message else ()

    def _shown_recipients(self) -> Sequence[Recipient]:
        """The recipients as the present handler sees them, in the order of ``recipients_now``."""
        message = self._message_view()
        return message.shown_recipients() if message else ()

    def begin(self, scope: Scope) -> None:
        """Starts the drafts of one handler."""
        self._scope = scope
        self._session = None
        self._message = None

    def commit(self) -> None:
        """Makes the handler's drafts count, all or none: what can be refused comes first."""
        if self._message is not None:
            self._message.commit()
        if self._session is not None:
            self._session.commit()

    def judge(self, verdict: v.Rewrite) -> Address:
        """The address that a verdict gives. Raises AddressError, TypeError."""
        return as_address(verdict.address)

    def rewrite(self, address: Address) -> None:
        """Puts another address in the place of the one that was given."""
        raise NotImplementedError(f"{type(self).__name__} has no verdict that edits")

    def clone(self) -> Event:
        """The same event for one handler, which may keep it and run on while everybody else has this one."""
        other: Event = object.__new__(type(self))
        other.absorb(self)
        return other

    def absorb(self, clone: Event) -> None:
        """Takes over what a handler made of its clone."""
        for name in self._every_slot:
            setattr(self, name, getattr(clone, name))

    def _message_view(self) -> Message | None:
        if self._message is None and self.facts.message is not None:
            self._message = Message(self.facts.message, self._scope, self.facts.server)
        return self._message


class _InSession(Event):
    """An event that always has its session."""

    __slots__ = ()

    @property
    def session(self) -> Session:
        """The SMTP session."""
        if self._session is None:
            assert self.facts.session is not None
            self._session = Session(self.facts.session, self._scope)
        return self._session


class _AboutMessage(Event):
    """An event that always has its message."""

    __slots__ = ()

    @property
    def message(self) -> Message:
        """The message so far."""
        message = self._message_view()
        assert message is not None
        return message


class SessionEvent(_InSession):
    """An event of an SMTP session; ``message`` is None before MAIL and grows as envelope and content arrive."""

    __slots__ = ()

    @property
    def message(self) -> Message | None:
        """The message so far, or None before MAIL."""
        return self._message_view()


class TransactionEvent(_InSession, _AboutMessage):
    """An event of a mail transaction within an SMTP session."""

    __slots__ = ()


class MessageEvent(_AboutMessage):
    """An event of a message in transport; ``session`` is the one it came in when it is still known, else None."""

    __slots__ = ()

    @property
    def session(self) -> Session | None:
        """The SMTP session that the message came in, when it is still under way, else None."""
        if self._session is None and self.facts.session is not None:
            self._session = Session(self.facts.session, self._scope)
        return self._session


class Connected(SessionEvent):
    """A client connected; it has not been greeted yet."""

    admits = (v.Disconnect, v.Respond, v.Delay)
    __slots__ = ()


class Greeting(SessionEvent):
    """A well-formed HELO or EHLO."""

    admits = (v.Reject, v.Defer, v.Disconnect)
    __slots__ = ("_extensions", "name", "offered")

    def __init__(self, facts: Facts, name: str, extensions: list[str]) -> None:
        super().__init__(facts)
        self.name = name
        self.offered = extensions
        self._extensions: list[str] | None = None

    @property
    def extensions(self) -> list[str]:
        """The EHLO lines that will be offered; may be edited."""
        if self._extensions is None:
            self._extensions = list(self.offered)
        return self._extensions

    def begin(self, scope: Scope) -> None:
        super().begin(scope)
        self._extensions = None

    def commit(self) -> None:
        super().commit()
        if self._extensions is not None:
            self.offered = self._extensions


class Helo(Greeting):
    """HELO with a well-formed name (RFC 5321 §4.1.1.1)."""

    __slots__ = ()


class Ehlo(Greeting):
    """EHLO with a well-formed name (RFC 5321 §4.1.1.1)."""

    __slots__ = ()


class MailFrom(TransactionEvent):
    """MAIL, correct in syntax and sequence (RFC 5321 §4.1.1.2)."""

    admits = (v.Reject, v.Defer, v.Disconnect, v.Rewrite)
    __slots__ = ()

    @property
    def sender(self) -> Address:
        """The reverse-path."""
        return self.message.sender

    @property
    def parameters(self) -> MailParameters:
        """SIZE, BODY, SMTPUTF8, RET, ENVID and the others."""
        return self.message.parameters

    def rewrite(self, address: Address) -> None:
        assert self.facts.message is not None
        self.facts.message.record.envelope.sender = address


class _OneRecipient(Event):
    """An event about one recipient, which a handler may edit."""

    __slots__ = ("_draft", "work")

    def __init__(self, facts: Facts, recipient: Recipient, attempt: int = 1) -> None:
        super().__init__(facts, attempt)
        self.work = recipient
        self._draft: Recipient | None = None

    @property
    def recipient(self) -> Recipient:
        """The recipient; may be edited in place."""
        if self._draft is None:
            self._draft = self.work.copy()
        return self._draft

    def begin(self, scope: Scope) -> None:
        super().begin(scope)
        self._draft = None

    def recipients_now(self) -> Sequence[Recipient]:
        return (self.work,)

    def _shown_recipients(self) -> Sequence[Recipient]:
        return (self.recipient,)

    def commit(self) -> None:
        if self._draft is not None:
            self._draft.address = as_recipient(self._draft.address)
        super().commit()
        if self._draft is not None:
            self.work = self._draft


class RcptTo(_OneRecipient, TransactionEvent):
    """RCPT, correct in syntax and sequence, not yet among the recipients (RFC 5321 §4.1.1.3)."""

    admits = (v.Reject, v.Defer, v.Disconnect, v.Rewrite, v.Discard)
    __slots__ = ()

    def judge(self, verdict: v.Rewrite) -> Address:
        return as_recipient(verdict.address)

    def rewrite(self, address: Address) -> None:
        self.work = self.work.copy()
        self.work.address = address


class Data(TransactionEvent):
    """DATA or the first BDAT, before the content comes (RFC 5321 §4.1.1.4, RFC 3030)."""

    admits = (v.Reject, v.Defer, v.Disconnect)
    __slots__ = ()


class EndOfHeaders(TransactionEvent):
    """The header section is complete; the body may still be coming."""

    admits = (v.Reject, v.Defer, v.Discard, v.Disconnect)
    __slots__ = ()


class EndOfData(TransactionEvent):
    """The whole content is here, and responsibility for it is not taken yet."""

    admits = (v.Reject, v.Defer, v.Discard, v.Quarantine, v.Disconnect)
    __slots__ = ()


class Verb(SessionEvent):
    """A verb that somebody registered: a new one, or one of VRFY, EXPN, HELP, NOOP, RSET, QUIT.

    ``keyword`` is the verb in upper case, ``line`` the whole command line, ``argument`` what follows the verb.
    """

    admits = (v.Respond, v.Reject, v.Defer, v.Disconnect)
    __slots__ = ("_dialogue", "argument", "keyword", "line")

    def __init__(self, facts: Facts, keyword: str, argument: str, dialogue: Dialogue) -> None:
        super().__init__(facts)
        self.keyword = keyword
        self.argument = argument
        self.line = f"{keyword} {argument}" if argument else keyword
        self._dialogue = dialogue

    async def read_line(self, prompt: Reply | None = None) -> bytes:
        """Sends the prompt, if any, and returns the client's next line without its line end.

        Raises: RemoteProtocolError when the line is too long; ConnectionError when the client is gone.
        """
        return await self._dialogue.line(prompt)

    async def read_bytes(self, size: int) -> bytes:
        """The client's next ``size`` octets, at most 1 MiB. Raises ValueError; ConnectionError when the client is gone."""
        return await self._dialogue.block(size)


class Submission(MessageEvent):
    """A message enters transport, once, whatever its origin."""

    admits = (v.Drop, v.Bounce, v.Defer, v.Quarantine)
    stage = True
    __slots__ = ()


class LocalDelivery(_OneRecipient, MessageEvent):
    """A recipient is to be served here."""

    admits = (v.Delivered, v.Defer, v.Bounce, v.Forward)
    __slots__ = ()


class _Report(Event):
    """Tells, and cannot be answered."""

    report = True
    __slots__ = ()


class Accepted(_Report, _InSession):
    """A message is on stable storage and the client was told 250."""

    __slots__ = ("message",)

    def __init__(self, facts: Facts, message: MessageSnapshot) -> None:
        super().__init__(facts)
        self.message = message

    def recipients_now(self) -> Sequence[Recipient]:
        return self.message.recipients

    _shown_recipients = recipients_now


class Rejected(_Report, _InSession):
    """Something was refused, by anyone: ``command`` as the client sent it, ``reply``, and ``by``, the binding or "server"."""

    __slots__ = ("by", "command", "reply")

    def __init__(self, facts: Facts, command: str, reply: Reply, by: str) -> None:
        super().__init__(facts)
        self.command = command
        self.reply = reply
        self.by = by


class DeliveredReport(_Report):
    """A recipient has the message; registered under the name Delivered."""

    __slots__ = ("message", "recipient", "where")

    def __init__(self, facts: Facts, message: MessageSnapshot, recipient: Recipient, where: str) -> None:
        super().__init__(facts)
        self.message = message
        self.recipient = ShownRecipient.of(recipient)
        self.where = where

    def recipients_now(self) -> Sequence[Recipient]:
        return (self.recipient,)

    _shown_recipients = recipients_now


class SessionEnded(_Report, _InSession):
    """The connection is gone: ``reason`` is "quit", "timeout", "lost", "dropped", "too many errors" or "shutdown".

    ``messages`` and ``rejections`` count what happened in the session, ``seconds`` is how long it lasted.
    """

    __slots__ = ("messages", "reason", "rejections", "seconds")

    def __init__(self, facts: Facts, reason: str, seconds: float) -> None:
        super().__init__(facts)
        assert facts.session is not None
        self.reason = reason
        self.seconds = seconds
        self.messages = facts.session.messages
        self.rejections = facts.session.rejections


Delivered = DeliveredReport
CATALOG: dict[str, type[Event]] = {
    "Connected": Connected,
    "Helo": Helo,
    "Ehlo": Ehlo,
    "MailFrom": MailFrom,
    "RcptTo": RcptTo,
    "Data": Data,
    "EndOfHeaders": EndOfHeaders,
    "EndOfData": EndOfData,
    "Verb": Verb,
    "Submission": Submission,
    "LocalDelivery": LocalDelivery,
    "Accepted": Accepted,
    "Rejected": Rejected,
    "Delivered": DeliveredReport,
    "SessionEnded": SessionEnded,
}


def summary(event: type[Event]) -> dict[str, Any]:
    """What the reference says of an event: its kind and the verdicts that it admits."""
    return {"kind": "report" if event.report else "question", "admits": [verdict.__name__ for verdict in event.admits]}
