"""The events of a session in which we are the client: before each command that we send, and on each reply that comes back.

What a sink edits here counts for this hop only: the command that is sent, the header and content that this server gets. The message in the
spool stays as it is, so the next try, or another server, begins from what was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Never

from ..mail.envelope import Recipient
from ..mail.reply import Reply
from ..wire.tls import TlsFacts
from . import verdict as v
from . import verdict_transit as t
from .event import AboutMessage, Answered, Event, OneRecipient
from .message import Message
from .views import RemoteSession
from .work import Facts, Scope, Wire

# "none" never, "may" where it is offered, whatever the certificate says, "encrypt" always, "verify" always and with a certificate that
# holds.
TlsLevel = Literal["none", "may", "encrypt", "verify"]
TLS_LEVELS: tuple[TlsLevel, ...] = ("none", "may", "encrypt", "verify")


@dataclass(frozen=True, slots=True)
class Remote:
    """The server that we talk to, as far as it is known.

    Args:
        next_hop: where the mail was routed, e.g. "mx:example.com".
        host: the host name that was connected to, or the address where there is no name.
        name: what the server called itself in banner or EHLO, "" before.
        address: its IP address, or the path of a socket.
        port: its port, 0 for a socket of the file system.
        tls: what was agreed on when the connection was secured, None without TLS.
        extensions: what it offered in EHLO: keyword in upper case, and its parameters.
    """

    next_hop: str = ""
    host: str = ""
    name: str = ""
    address: str = ""
    port: int = 0
    tls: TlsFacts | None = None
    extensions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Edited(Event):
    """An event with fields that a handler may set; what a handler that fails has set does not count."""

    editable: ClassVar[tuple[str, ...]] = ()
    __slots__ = ()  # the slot is each event's own: of two bases only one may have any
    _kept: tuple[Any, ...]

    def keep(self) -> None:
        """Takes the fields as they are now; called when the event is made."""
        self._kept = tuple(getattr(self, name) for name in self.editable)  # type: ignore[misc]  # each leaf has the slot

    def check(self) -> None:
        """Raises ValueError or TypeError for what cannot be used."""

    def restore(self) -> None:
        """Gives the fields what was kept: before a handler begins, and for the server when all were asked, as the last may have failed."""
        for name, value in zip(self.editable, self._kept, strict=True):
            setattr(self, name, value)

    def begin(self, scope: Scope) -> None:
        super().begin(scope)
        self.restore()

    def commit(self) -> None:
        self.check()
        super().commit()
        self.keep()


class OutboundEvent(Event):
    """An event of a session with a remote server."""

    __slots__ = ()

    @property
    def session(self) -> RemoteSession:
        """The session with the remote server: its id, its counters, and what this sink remembers about it."""
        if self._session is None:
            assert self.facts.outbound is not None
            self._session = RemoteSession(self.facts.outbound, self._scope)
        assert isinstance(self._session, RemoteSession)
        return self._session

    @property
    def remote(self) -> Remote:
        """The remote server."""
        assert self.facts.outbound is not None
        remote = self.facts.outbound.remote
        assert isinstance(remote, Remote)
        return remote


class OnTheWire(OutboundEvent):
    """An event at which a sink may talk to the server."""

    __slots__ = ()
    _wire: Wire

    async def send(self, line: str) -> Reply:
        """Sends one command line and returns the server's reply to it.

        Args:
            line: the command without its line end, such as "XQDEPTH".

        Raises: ValueError for a line that is none, or for a command that would change the transaction (MAIL, RCPT, DATA, BDAT, RSET, QUIT,
            EHLO, STARTTLS, AUTH); ConnectionError when the server is gone.
        """
        return await self._wire.send(line)


class Connecting(OutboundEvent, Edited, Answered[v.Defer | v.Bounce | t.Reroute]):
    """An address was chosen, and nothing is connected yet.

    ``address``, ``port``, ``source`` (the local address, "" for any) and ``tls`` ("none", "may", "encrypt", "verify") may be set.
    """

    editable = ("address", "port", "source", "tls")
    __slots__ = ("_kept", "address", "port", "source", "tls")

    def __init__(self, facts: Facts, address: str, port: int, source: str, tls: TlsLevel) -> None:
        super().__init__(facts)
        self.address = address
        self.port = port
        self.source = source
        self.tls = tls
        self.keep()

    @property
    def next_hop(self) -> str:
        """Where the mail was routed."""
        return self.remote.next_hop

    def check(self) -> None:
        if not self.address.startswith("/"):
            ip_address(self.address)
        if self.source:
            ip_address(self.source)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is a number from 1 to 65535, not {self.port!r}")
        if self.tls not in TLS_LEVELS:
            raise ValueError(f"tls is one of {', '.join(TLS_LEVELS)}, not {self.tls!r}")


class SessionStart(OnTheWire, Answered[v.Defer | v.Disconnect | t.Reroute]):
    """EHLO is exchanged, and TLS and AUTH where they are used; no message was sent yet."""

    __slots__ = ("_wire",)

    def __init__(self, facts: Facts, wire: Wire) -> None:
        super().__init__(facts)
        self._wire = wire


class _InTransaction(OnTheWire, AboutMessage):
    """An event about a message that is about to be sent; edits of the message count for this hop only."""

    __slots__ = ()


class MessageStart(_InTransaction, Edited, Answered[v.Defer | v.Bounce | v.Drop | t.Skip]):
    """MAIL is next. ``command`` is the line that will be sent, and may be set."""

    editable = ("command",)
    __slots__ = ("_kept", "_wire", "command")

    def __init__(self, facts: Facts, wire: Wire, command: str) -> None:
        super().__init__(facts)
        self._wire = wire
        self.command = command
        self.keep()

    def check(self) -> None:
        check_command(self.command, "MAIL")


class PerRecipient(OneRecipient, _InTransaction, Edited, Answered[v.Defer | v.Bounce | v.Drop]):
    """RCPT is next, for one recipient. ``command`` is the line that will be sent, and may be set."""

    editable = ("command",)
    __slots__ = ("_kept", "_wire", "command")

    def __init__(self, facts: Facts, wire: Wire, recipient: Recipient, command: str) -> None:
        super().__init__(facts, recipient)
        self._wire = wire
        self.command = command
        self.keep()

    def check(self) -> None:
        check_command(self.command, "RCPT")


class BeforeData(_InTransaction, Answered[v.Defer | v.Bounce | v.Drop]):
    """DATA or BDAT is next. ``accepted`` are the recipients that the server took."""

    __slots__ = ("_wire", "accepted")

    def __init__(self, facts: Facts, wire: Wire, accepted: tuple[Recipient, ...]) -> None:
        super().__init__(facts)
        self._wire = wire
        self.accepted = accepted


class ServerResponse(OutboundEvent, Answered[t.TreatAs | v.Defer | v.Bounce | t.Reroute | t.Retry | v.Disconnect]):
    """The server answered.

    ``verb`` is what it answers: "BANNER", "EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "CONTENT" (the
    reply to end-of-data or the last BDAT), "RSET", "QUIT", or that of a line a sink sent; ``command`` is the line as it was sent, of AUTH
    without the password. ``recipient`` is set where the reply is about one; ``message`` is None outside of a transaction.

    A verdict is about whom the reply is about: one recipient at RCPT, else all that are left of the message. Where the server granted what
    a sink refuses, the transaction is begun anew without it. What the server has taken (2xx to the content) is never sent again nor
    bounced, whatever a sink says; only Disconnect is obeyed then. Retry sends a refused EHLO, MAIL, RCPT, DATA or line of a sink again,
    once. While somebody is bound here, MAIL and DATA are not grouped with other commands.
    """

    __slots__ = ("command", "recipient", "reply", "verb")

    def __init__(self, facts: Facts, verb: str, command: str, reply: Reply, recipient: Recipient | None = None) -> None:
        super().__init__(facts)
        self.verb = verb
        self.command = command
        self.reply = reply
        self.recipient = recipient

    @property
    def message(self) -> Message | None:
        """The message that is being sent, or None."""
        return self._message_view()

    def recipients_now(self) -> tuple[Recipient, ...]:
        return (self.recipient,) if self.recipient is not None else tuple(super().recipients_now())

    def _shown_recipients(self) -> tuple[Recipient, ...]:
        return (self.recipient,) if self.recipient is not None else tuple(super()._shown_recipients())


class SessionEnd(OnTheWire, Answered[Never]):
    """QUIT is next. ``messages`` and ``recipients`` say how many the server took in this session."""

    __slots__ = ("_wire", "messages", "recipients")

    def __init__(self, facts: Facts, wire: Wire, messages: int, recipients: int) -> None:
        super().__init__(facts)
        self._wire = wire
        self.messages = messages
        self.recipients = recipients


def check_command(line: str, verb: str) -> None:
    """Raises ValueError, TypeError unless the line is one command with this verb."""
    if not isinstance(line, str):
        raise TypeError(f"command is a line of text, not {line!r}")
    if any(c in line for c in "\r\n\0"):
        raise ValueError("command is one line: CR, LF and NUL cannot stand in it")
    if not line.upper().startswith(f"{verb} "):
        raise ValueError(f"command begins with {verb}, this one is {line!r}")
