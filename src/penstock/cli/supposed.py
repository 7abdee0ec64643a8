"""A message that does not exist, in a session that does not: what ``penstock explain`` asks conditions about.

The events are real ones, made as the server makes them, so that conditions find in them what they would find in the server. Nothing is
behind them: no socket, no spool, and no handler ever gets one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from ..events import catalog as c
from ..events.outbound import BeforeData, Connecting, MessageStart, PerRecipient, Remote, ServerResponse, SessionEnd, SessionStart
from ..events.reports import Step, Told
from ..events.resolve import Item
from ..events.transit import Notice
from ..events.views import MessageSnapshot
from ..events.work import Dialogue, Exchange, Facts, MessageWork, OutboundWork, SessionWork, Wire
from ..mail.address import NULL, Address
from ..mail.envelope import Envelope, MailParameters, Recipient
from ..mail.header import read_fields
from ..mail.message import Direction, MessageRecord, Origin
from ..mail.reply import Reply
from ..wire.sasl.base import Password
from ..wire.tls import TlsFacts


@dataclass(frozen=True, slots=True)
class Supposed:
    """What is supposed; None or empty for what is not known.

    Args:
        sender: the reverse-path.
        recipients: addresses.
        client: IP address.
        helo: what the client calls itself.
        listener: name of a listener.
        user: who logged in; "" for nobody.
        tls: whether the connection is encrypted.
        size: octets of the content.
        header: header fields as they come.
        whole: whether that is the whole header.
        origin: how the message enters.
        direction: from outside, to outside, or neither.
        verb: of a command that was refused, or that a remote server answered.
        reply: of that.
    """

    sender: Address | None = None
    recipients: tuple[Address, ...] = ()
    client: str | None = None
    helo: str | None = None
    listener: str | None = None
    user: str | None = None
    tls: bool | None = None
    size: int | None = None
    header: bytes | None = None
    whole: bool = False
    origin: Origin = "smtp"
    direction: Direction = "in"
    verb: str = ""
    reply: Reply | None = None

    def knows(self, condition: str, event: type[c.Event]) -> bool:
        """Whether a condition of this name can be judged at an event."""
        if condition == "verb":
            return bool(self.verb) or event is c.Verb
        if condition == "code":
            return self.reply is not None
        if condition == "authenticated":
            return self.user is not None
        if condition in ("recipient", "destination"):
            return bool(self.recipients)
        if condition in ("sample", "when"):
            return False
        return condition in ("direction", "origin") or getattr(self, condition) is not None


class _Content:
    """A content of which only size and header are known."""

    in_memory = True

    def __init__(self, header: bytes, size: int) -> None:
        self._octets = header + b"\r\n"
        self.size = max(size, len(self._octets))

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        return self._octets[offset:] if length < 0 else self._octets[offset : offset + length]


class _Nowhere:
    """A server that does nothing."""

    name, hostname = "default", "localhost"

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}

    def new_id(self) -> str:
        return "SUPPOSED"

    def now(self) -> float:
        return time.time()

    async def submit(self, work: MessageWork) -> str:
        return work.record.id

    def queue_depth(self, queue: str = "") -> int:
        return 0

    def release_queue(self, queue: str) -> int:
        return 0

    async def reset_routes(self) -> int:
        return 0


class Moments:
    """The events of a supposed message.

    Args:
        supposed: what is supposed.
    """

    def __init__(self, supposed: Supposed) -> None:
        self._supposed = supposed
        self._server = _Nowhere()
        self._session = SessionWork("SUPPOSED", (supposed.client or "", 0), supposed.listener or "", time.time())
        self._session.helo, self._session.user = supposed.helo or "", supposed.user or ""
        self._session.tls = TlsFacts("TLSv1.3") if supposed.tls else None
        self._recipients = tuple(Recipient(address, str(address)) for address in supposed.recipients) or (Recipient(NULL),)
        self._outbound = OutboundWork("SUPPOSED", "", Remote(), time.time())

    def of(self, event: type[c.Event], keyword: str = "") -> Iterator[tuple[str, c.Event]]:
        """The events of a kind, with what each is about: one for each recipient where it is about one.

        Args:
            event: which kind.
            keyword: of Verb the verb, of Auth the mechanism.
        """
        if event in _PER_RECIPIENT:
            for recipient in self._recipients:
                yield f"<{recipient.address}>" if self._supposed.recipients else "", _PER_RECIPIENT[event](self, recipient)
        elif event in (c.Verb, c.Auth):
            facts = self.in_session(None)
            nobody = cast(Any, None)
            yield (
                keyword,
                c.Verb(facts, keyword, "", cast(Dialogue, nobody))
                if event is c.Verb
                else c.Auth(facts, keyword, None, cast(Exchange, nobody)),
            )
        else:
            make = _ONCE.get(event)
            yield "", make(self) if make is not None else event(self.facts_of(event))

    def facts_of(self, event: type[c.Event]) -> Facts:
        """What an event that needs nothing else is about."""
        if issubclass(event, c.InSession | c.SessionEvent):
            work = {c.Connected: None, c.MailFrom: self.work(0, False)}.get(event, self.work(None, event in (c.EndOfHeaders, c.EndOfData)))
            return self.in_session(work)
        return self.in_transit() if issubclass(event, c.MessageEvent) else Facts(self._server)

    def in_session(self, work: MessageWork | None) -> Facts:
        """A moment of the session."""
        return Facts(self._server, self._session, work)

    def in_transit(self) -> Facts:
        """A moment after it."""
        return Facts(self._server, None, self.work())

    def outbound(self, message: bool = True) -> Facts:
        """A moment of a session with a remote server."""
        return Facts(self._server, None, self.work() if message else None, self._outbound)

    def work(self, recipients: int | None = None, content: bool = True) -> MessageWork:
        """The message, with so many of its recipients, and with or without its content."""
        supposed = self._supposed
        header = supposed.header or b""
        size = supposed.size or 0
        envelope = Envelope(supposed.sender or NULL, list(self._recipients[:recipients]), MailParameters(size=size or None))
        session = self._session
        record = MessageRecord(
            "SUPPOSED", time.time(), envelope, supposed.origin, supposed.direction, size,
            session.listener, session.client_ip, "", session.helo, session.user,
        )  # fmt: skip
        return MessageWork(record, _Content(header, size) if content else None)

    def snapshot(self) -> MessageSnapshot:
        """The message as reports show it."""
        return MessageSnapshot.of(self.work())

    @property
    def reply(self) -> Reply:
        """The reply that is supposed."""
        return self._supposed.reply or Reply(250, "", "")

    @property
    def told(self) -> Told:
        """What reports of deliveries say."""
        return Told(reply=self._supposed.reply)

    @property
    def verb(self) -> str:
        """The verb that is supposed."""
        return self._supposed.verb

    @property
    def helo(self) -> str:
        """The name that is supposed."""
        return self._supposed.helo or ""

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The recipients that are supposed."""
        return self._recipients

    @property
    def sizes(self) -> tuple[int, int]:
        """Size and limit."""
        return self._supposed.size or 0, self._supposed.size or 0


_NO_WIRE = cast(Wire, None)


def _notice(kind: type[Notice]) -> Callable[[Moments], c.Event]:
    return lambda m: kind(m.in_transit(), m.work(), m.recipients, tuple("" for _ in m.recipients))


_ONCE: dict[type[c.Event], Callable[[Moments], c.Event]] = {
    c.Helo: lambda m: c.Helo(m.in_session(None), m.helo, []),
    c.Ehlo: lambda m: c.Ehlo(m.in_session(None), m.helo, []),
    c.TlsEstablished: lambda m: c.TlsEstablished(m.in_session(None), TlsFacts("TLSv1.3")),
    c.AuthenticatedReport: lambda m: c.AuthenticatedReport(m.in_session(None), "", ""),
    c.Credentials: lambda m: c.Credentials(m.in_session(None), "PLAIN", Password("", "")),
    c.MaxMessageSize: lambda m: c.MaxMessageSize(m.in_session(m.work(None, False)), *m.sizes),
    c.Resolve: lambda m: c.Resolve(m.in_transit(), [Item(r.address, recipient=r) for r in m.recipients], 1),
    c.Categorized: lambda m: c.Categorized(m.in_transit(), (m.recipients,)),
    c.ResolveHost: lambda m: c.ResolveHost(m.outbound(False), "", "address", ""),
    c.Connecting: lambda m: Connecting(m.outbound(False), "", 25, "", "may"),
    c.SessionStart: lambda m: SessionStart(m.outbound(False), _NO_WIRE),
    c.SessionEnd: lambda m: SessionEnd(m.outbound(False), _NO_WIRE, 0, 0),
    c.MessageStart: lambda m: MessageStart(m.outbound(), _NO_WIRE, "MAIL FROM:<>"),
    c.BeforeData: lambda m: BeforeData(m.outbound(), _NO_WIRE, m.recipients),
    c.Bounce: _notice(c.Bounce),
    c.DelayNotice: _notice(c.DelayNotice),
    c.SuccessNotice: _notice(c.SuccessNotice),
    c.Accepted: lambda m: c.Accepted(m.in_session(m.work()), m.snapshot()),
    c.Rejected: lambda m: c.Rejected(m.in_session(m.work(None, False)), m.verb, m.reply, ""),
    c.SessionEnded: lambda m: c.SessionEnded(m.in_session(None), "quit", 0.0),
    c.Tracked: lambda m: c.Tracked(m.in_transit(), m.snapshot(), Step.SUBMITTED, {}),
    c.QueueStateChanged: lambda m: c.QueueStateChanged(m.facts_of(c.QueueStateChanged), "", "", "", 0.0),
    c.ConfigChanged: lambda m: c.ConfigChanged(m.facts_of(c.ConfigChanged), 1, ()),
    c.RoutesChanged: lambda m: c.RoutesChanged(m.facts_of(c.RoutesChanged), 0),
}
_PER_RECIPIENT: dict[type[c.Event], Callable[[Moments, Recipient], c.Event]] = {
    c.RcptTo: lambda m, r: c.RcptTo(m.in_session(m.work(0, False)), r),
    c.Route: lambda m, r: c.Route(m.in_transit(), r.address.domain, (r,), None),
    c.LocalDelivery: lambda m, r: c.LocalDelivery(m.in_transit(), r),
    c.PerRecipient: lambda m, r: PerRecipient(m.outbound(), _NO_WIRE, r, f"RCPT TO:<{r.address}>"),
    c.ServerResponse: lambda m, r: ServerResponse(m.outbound(), m.verb, m.verb, m.reply, r),
    c.DeliveredReport: lambda m, r: c.DeliveredReport(m.in_transit(), m.snapshot(), r, m.told),
    c.Relayed: lambda m, r: c.Relayed(m.in_transit(), m.snapshot(), r, m.told),
    c.Deferred: lambda m, r: c.Deferred(m.in_transit(), m.snapshot(), r, m.told, 0.0),
    c.Failed: lambda m, r: c.Failed(m.in_transit(), m.snapshot(), r, m.told),
    c.Expired: lambda m, r: c.Expired(m.in_transit(), m.snapshot(), r, m.told),
    c.Expanded: lambda m, r: c.Expanded(m.in_transit(), m.snapshot(), r, ()),
    c.Dropped: lambda m, r: c.Dropped(m.in_transit(), m.snapshot(), r, "", ""),
    c.Quarantined: lambda m, r: c.Quarantined(m.in_transit(), m.snapshot(), r, "", ""),
}


def header_of(octets: bytes) -> bytes:
    """The header fields of a message."""
    return read_fields(_Whole(octets))


class _Whole(_Content):
    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)
