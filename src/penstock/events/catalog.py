"""The events: each declared once, with what it carries and which verdicts it admits.

A *question* may be answered with one of its verdicts; a *report* only tells, and shows an immutable snapshot. Names follow the command
or the moment; what a sink may do with them is the table in the event reference. What they have in common is in ``event``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..mail.address import Address
from ..mail.envelope import MailParameters, Recipient
from ..mail.reply import Reply
from ..wire.tls import TlsFacts
from . import verdict as v
from . import verdict_transit as t
from .credentials import Credentials
from .event import Answered, InSession, MessageEvent, OneRecipient, Report, SessionEvent, TransactionEvent
from .event import Event as Event
from .outbound import BeforeData, Connecting, MessageStart, PerRecipient, ServerResponse, SessionEnd, SessionStart
from .recipients import as_address, as_recipient
from .reports import (
    ConfigChanged,
    Deferred,
    DeliveredReport,
    Dropped,
    Expanded,
    Expired,
    Failed,
    Quarantined,
    QueueStateChanged,
    Relayed,
    RoutesChanged,
    ServerStarted,
    ServerStopping,
    Tracked,
)
from .transit import (
    Bounce,
    Categorized,
    DelayNotice,
    MaxMessageSize,
    PostCategorize,
    PreCategorize,
    Resolve,
    ResolveHost,
    Route,
    SuccessNotice,
)
from .verdict_each import RefuseRecipients
from .views import MessageSnapshot
from .work import Dialogue, Exchange, Facts, Scope

__all__ = [
    "CATALOG",
    "MAX_CHALLENGE",
    "Accepted",
    "Auth",
    "Authenticated",
    "AuthenticatedReport",
    "BeforeData",
    "Bounce",
    "Categorized",
    "ConfigChanged",
    "Connected",
    "Connecting",
    "Credentials",
    "Data",
    "Deferred",
    "DelayNotice",
    "Delivered",
    "DeliveredReport",
    "Dropped",
    "Ehlo",
    "EndOfData",
    "EndOfHeaders",
    "Event",
    "Expanded",
    "Expired",
    "Failed",
    "Greeting",
    "Helo",
    "InSession",
    "LocalDelivery",
    "MailFrom",
    "MaxMessageSize",
    "MessageEvent",
    "MessageStart",
    "PerRecipient",
    "Quarantined",
    "QueueStateChanged",
    "RcptTo",
    "Rejected",
    "Relayed",
    "Resolve",
    "ResolveHost",
    "Route",
    "RoutesChanged",
    "ServerResponse",
    "SessionEnd",
    "SessionEnded",
    "SessionEvent",
    "SessionStart",
    "StartTls",
    "Submission",
    "SuccessNotice",
    "TlsEstablished",
    "Tracked",
    "Verb",
    "summary",
]


# With base64 it stays below the 12288 octets of RFC 4954 §4.
MAX_CHALLENGE = 8192


class Connected(SessionEvent, Answered[v.Disconnect | v.Respond | v.Delay]):
    """A client connected; it has not been greeted yet."""

    __slots__ = ()


class Greeting(SessionEvent, Answered[v.Reject | v.Defer | v.Disconnect]):
    """A well-formed HELO or EHLO."""

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
            self.offered = list(self._extensions)


class Helo(Greeting):
    """HELO with a well-formed name (RFC 5321 §4.1.1.1)."""

    __slots__ = ()


class Ehlo(Greeting):
    """EHLO with a well-formed name (RFC 5321 §4.1.1.1)."""

    __slots__ = ()


class StartTls(SessionEvent, Answered[v.Reject | v.Defer | v.Disconnect]):
    """STARTTLS, before the handshake (RFC 3207 §4, which has 454 for "not now"); where TLS comes with the first octet nobody is asked."""

    __slots__ = ()


class TlsEstablished(Report, InSession):
    """The connection is secured, by STARTTLS or from its first octet: ``tls`` says how, with the certificate of the client's, if any."""

    __slots__ = ("tls",)

    def __init__(self, facts: Facts, tls: TlsFacts) -> None:
        super().__init__(facts)
        self.tls = tls


class MailFrom(TransactionEvent, Answered[v.Reject | v.Defer | v.Disconnect | v.Rewrite]):
    """MAIL, correct in syntax and sequence (RFC 5321 §4.1.1.2)."""

    edits = (v.Rewrite,)
    __slots__ = ()

    @property
    def sender(self) -> Address:
        """The reverse-path."""
        return self.message.sender

    @property
    def parameters(self) -> MailParameters:
        """SIZE, BODY, SMTPUTF8, RET, ENVID and the others."""
        return self.message.parameters

    def judge(self, verdict: v.Verdict) -> Address:
        assert isinstance(verdict, v.Rewrite)
        return as_address(verdict.address)

    def edit(self, edit: object) -> None:
        assert self.facts.message is not None
        assert isinstance(edit, Address)
        self.facts.message.record.envelope.sender = edit


class RcptTo(OneRecipient, TransactionEvent, Answered[v.Reject | v.Defer | v.Disconnect | v.Rewrite | v.Discard]):
    """RCPT, correct in syntax and sequence, not yet among the recipients (RFC 5321 §4.1.1.3)."""

    edits = (v.Rewrite,)
    __slots__ = ()

    def judge(self, verdict: v.Verdict) -> Address:
        assert isinstance(verdict, v.Rewrite)
        return as_recipient(verdict.address)

    def edit(self, edit: object) -> None:
        assert isinstance(edit, Address)
        self.work = self.work.copy()
        self.work.address = edit


class Data(TransactionEvent, Answered[v.Reject | v.Defer | v.Disconnect]):
    """DATA or the first BDAT, before the content comes (RFC 5321 §4.1.1.4, RFC 3030)."""

    __slots__ = ()


class EndOfHeaders(TransactionEvent, Answered[v.Reject | v.Defer | v.Discard | v.Disconnect]):
    """The header section is complete; the body may still be coming."""

    __slots__ = ()


class EndOfData(TransactionEvent, Answered[v.Reject | v.Defer | v.Discard | v.Quarantine | v.Disconnect | RefuseRecipients]):
    """The whole content is here, and responsibility for it is not taken yet.

    ``per_recipient`` says that the client takes an answer for each recipient (LMTP, PRDR). ``refused`` has those whom bindings before
    have refused: the recipient, the answer, and the binding.
    """

    edits = (RefuseRecipients,)
    __slots__ = ("per_recipient", "refused")

    def __init__(self, facts: Facts, per_recipient: bool = False) -> None:
        super().__init__(facts)
        self.per_recipient = per_recipient
        self.refused: tuple[tuple[Recipient, v.Reject | v.Defer, str], ...] = ()

    def judge(self, verdict: v.Verdict) -> Mapping[str, v.Reject | v.Defer]:
        assert isinstance(verdict, RefuseRecipients)
        shown = {str(recipient.address): recipient for recipient in self._shown_recipients()}
        for address in verdict.recipients:
            if address not in shown:
                raise ValueError(f"{address} is not among the recipients")
            if not shown[address].original:
                raise ValueError(f"{address} was added by a sink, so there is nobody to be told that it is refused")
        return verdict.recipients

    def edit(self, edit: object) -> None:
        """Whoever came of the same RCPT is refused with it, since there is one answer for it."""
        assert self.facts.message is not None
        assert isinstance(edit, dict)
        envelope = self.facts.message.record.envelope
        named = {r.original: edit[str(r.address)] for r in envelope.recipients if str(r.address) in edit}
        gone = [(r, named[r.original], self._scope.binding) for r in envelope.recipients if r.original in named]
        self.refused = (*self.refused, *gone)
        envelope.recipients = [r for r in envelope.recipients if r.original not in named]


class Verb(SessionEvent, Answered[v.Respond | v.Reject | v.Defer | v.Disconnect]):
    """A verb that somebody registered: a new one, or one of VRFY, EXPN, HELP, NOOP, RSET, QUIT.

    ``keyword`` is the verb in upper case, ``line`` the whole command line, ``argument`` what follows the verb.
    """

    __slots__ = ("_dialogue", "argument", "keyword", "line")

    def __init__(self, facts: Facts, keyword: str, argument: str, dialogue: Dialogue) -> None:
        super().__init__(facts)
        self.keyword = keyword
        self.argument = argument
        self.line = f"{keyword} {argument}" if argument else keyword
        self._dialogue = dialogue

    async def read_line(self, prompt: Reply | None = None) -> bytes:
        """Sends the prompt, if any, and returns the client's next line without its line end.

        Raises: RemoteProtocolError when the line is too long; ClientGone when the client is gone.
        """
        return await self._dialogue.line(prompt)

    async def read_bytes(self, size: int) -> bytes:
        """The client's next ``size`` octets, at most 1 MiB. Raises ValueError; ClientGone when the client is gone."""
        return await self._dialogue.block(size)


class Auth(SessionEvent, Answered[v.Authenticated | v.Reject | v.Defer | v.Disconnect]):
    """AUTH with a mechanism that a sink brings (``@on(Auth, mechanism="X-OTP")``); it was offered in EHLO (RFC 4954).

    ``mechanism`` is its name in upper case, ``initial_response`` what came with the command, decoded, or None.
    """

    __slots__ = ("_dialogue", "_unread", "initial_response", "mechanism")

    def __init__(self, facts: Facts, mechanism: str, initial_response: bytes | None, dialogue: Exchange) -> None:
        super().__init__(facts)
        self.mechanism = mechanism
        self.initial_response = initial_response
        self._unread = initial_response
        self._dialogue = dialogue

    async def challenge(self, text: bytes = b"") -> bytes:
        """Sends a challenge and returns the client's response, both in plain octets; the wire has them in base64.

        The first call gets the initial response, and sends nothing, when the client sent one with the command.

        Args:
            text: at most 8192 octets.

        Raises: ValueError for a longer challenge; RemoteProtocolError when the client gives up, or its line is too long or no base64, which
            becomes the right reply when nobody catches it; ClientGone when the client is gone.
        Source: RFC 4954 §4.
        """
        if self._unread is not None:
            response, self._unread = self._unread, None
            return response
        if len(text) > MAX_CHALLENGE:
            raise ValueError(f"a challenge has at most {MAX_CHALLENGE} octets, not {len(text)}")
        return await self._dialogue.response(text)


class AuthenticatedReport(Report, InSession):
    """A mechanism succeeded: ``user`` and ``mechanism``."""

    __slots__ = ("mechanism", "user")

    def __init__(self, facts: Facts, user: str, mechanism: str) -> None:
        super().__init__(facts)
        self.user = user
        self.mechanism = mechanism


class Submission(MessageEvent, Answered[v.Drop | v.Bounce | v.Defer | v.Quarantine]):
    """A message enters transport, once, whatever its origin."""

    stage = True
    __slots__ = ()


class LocalDelivery(OneRecipient, MessageEvent, Answered[v.Delivered | v.Defer | v.Bounce | v.Forward | v.Drop | t.Reroute]):
    """A recipient is to be served here."""

    __slots__ = ()


class Accepted(Report, InSession):
    """A message is on stable storage and the client was told 250."""

    __slots__ = ("message",)

    def __init__(self, facts: Facts, message: MessageSnapshot) -> None:
        super().__init__(facts)
        self.message = message

    def recipients_now(self) -> Sequence[Recipient]:
        return self.message.recipients

    _shown_recipients = recipients_now


class Rejected(Report, InSession):
    """Something was refused, by anyone: ``command`` as the client sent it, ``reply``, and ``by``, the binding or "server"."""

    __slots__ = ("by", "command", "reply")

    def __init__(self, facts: Facts, command: str, reply: Reply, by: str) -> None:
        super().__init__(facts)
        self.command = command
        self.reply = reply
        self.by = by


class SessionEnded(Report, InSession):
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
Authenticated = AuthenticatedReport
_ALL: tuple[type[Event], ...] = (
    Connected, Helo, Ehlo, StartTls, MailFrom, RcptTo, Data, EndOfHeaders, EndOfData, Verb, Auth, Credentials, MaxMessageSize,
    Submission, PreCategorize, Resolve, Categorized, PostCategorize, Route, ResolveHost, LocalDelivery, Bounce, DelayNotice, SuccessNotice,
    Connecting, SessionStart, MessageStart, PerRecipient, BeforeData, ServerResponse, SessionEnd,
    Accepted, Rejected, AuthenticatedReport, TlsEstablished, SessionEnded,
    DeliveredReport, Relayed, Deferred, Failed, Expired, Expanded, Dropped, Quarantined, Tracked,
    QueueStateChanged, RoutesChanged, ConfigChanged, ServerStarted, ServerStopping,
)  # fmt: skip
CATALOG: dict[str, type[Event]] = {event.__name__.removesuffix("Report"): event for event in _ALL}


def summary(event: type[Event]) -> dict[str, Any]:
    """What the reference says of an event: its kind and the verdicts that it admits."""
    return {"kind": "report" if event.report else "question", "admits": [verdict.__name__ for verdict in event.admits]}
