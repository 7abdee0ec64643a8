"""The events: each declared once, with what it carries and which verdicts it admits.

A *question* may be answered with one of its verdicts; a *report* only tells, and shows an immutable snapshot. What a handler edits
through an event is a draft of its own: ``begin`` starts it, ``commit`` makes it count. Names follow the command or the moment; what a
sink may do with them is the table in the event reference."""

from __future__ import annotations

from typing import Any, ClassVar

from ..mail.address import Address
from ..mail.envelope import MailParameters, Recipient
from ..mail.message import Direction, Origin
from ..mail.reply import Reply
from . import verdict as v
from .message import Message
from .recipients import as_address
from .views import MessageSnapshot, Server, Session
from .work import Dialogue, Facts, Scope

_NOBODY = Scope("", "")
Admitted = tuple[type[v.Verdict], ...]


class Event:
    """What every event carries: ``server``, ``origin``, ``direction``, ``attempt`` and ``matched_recipients``.

    ``attempt`` says which time this moment is told of, from 1; ``matched_recipients`` are those that met the binding's recipient condition.
    """

    admits: ClassVar[Admitted] = ()
    report: ClassVar[bool] = False
    # A stage of transport is recorded when it is over, and remembers which bindings it asked.
    stage: ClassVar[bool] = False
    __slots__ = ("_message", "_scope", "_session", "attempt", "facts", "matched_recipients")

    def __init__(self, facts: Facts, attempt: int = 1) -> None:
        self.facts = facts
        self.attempt = attempt
        self.matched_recipients: tuple[Recipient, ...] = ()
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

    def begin(self, scope: Scope) -> None:
        """Starts the drafts of one handler."""
        self._scope = scope
        self._session = None
        self._message = None

    def commit(self) -> None:
        """Makes the handler's drafts count."""
        if self._session is not None:
            self._session.commit()
        if self._message is not None:
            self._message.commit()

    def apply(self, verdict: v.Verdict) -> None:
        """Carries out a verdict that edits and goes on."""
        raise NotImplementedError(f"{type(self).__name__} has no verdict that edits")

    def clone(self) -> Event:
        """The same event for the next handler, where the present one may still be running and is left behind."""
        other: Event = object.__new__(type(self))
        for name in (slot for cls in type(self).__mro__ for slot in getattr(cls, "__slots__", ())):
            setattr(other, name, getattr(self, name))
        return other

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

    def apply(self, verdict: v.Verdict) -> None:
        assert isinstance(verdict, v.Rewrite)
        assert self.facts.message is not None
        self.facts.message.record.envelope.sender = as_address(verdict.address)


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

    def commit(self) -> None:
        super().commit()
        if self._draft is not None:
            self.work = self._draft


class RcptTo(_OneRecipient, TransactionEvent):
    """RCPT, correct in syntax and sequence, not yet among the recipients (RFC 5321 §4.1.1.3)."""

    admits = (v.Reject, v.Defer, v.Disconnect, v.Rewrite, v.Discard)
    __slots__ = ()

    def apply(self, verdict: v.Verdict) -> None:
        assert isinstance(verdict, v.Rewrite)
        self.work = self.work.copy()
        self.work.address = as_address(verdict.address)


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
        self.recipient = recipient
        self.where = where


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
