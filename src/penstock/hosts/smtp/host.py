"""What all SMTP sessions of a worker share: settings, limits on how many there may be, timeouts, and the drain at the end.

One sweep a second looks at all deadlines; a timer for each command of each session would cost more than the command.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Literal

from ...events.binding import Bindings
from ...events.dispatch import Dispatcher
from ...events.work import Backplane
from ...observe.log import Log
from ...storage.base import Spool
from ...transport.pipeline import Transport
from ...wire.smtp.settings import ServerSettings
from .atrn import Customers
from .encryption import TlsServing
from .etrn import OnDemand
from .guard import Guard, GuardSettings, network_of
from .guessing import Guesses
from .intake import Memory
from .login import AuthServing
from .tap import Tap
from .trust import Trust

if TYPE_CHECKING:
    from .connection import Connection


def neighbourhood(client_ip: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that one IPv6 host has for itself."""
    if ":" not in client_ip:
        return client_ip
    try:
        return str(IPv6Network((int(IPv6Address(client_ip.partition("%")[0])) >> 64 << 64, 64)))
    except ValueError:
        return client_ip


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How many sessions, and how long they may wait.

    Args:
        connections: sessions at the same time in this worker.
        connections_per_client: of these, from one IP address. 50 as in Postfix (smtpd_client_connection_count_limit).
        idle: seconds to wait for the next command. RFC 5321 §4.5.3.2.7: "at least 5 minutes".
        command: seconds from the first octet of a command line to its end, so that a slow drip does not hold a session for ever.
        data: seconds without a further octet of content.
        message: seconds that one message's content may take in all.
        idle_commands: commands that lead to no message, refused recipients among them, since the last message; 0 for any number. Postfix
            becomes slow at 100 (smtpd_junk_command_limit).
    """

    connections: int = 10_000
    connections_per_client: int = 50
    idle: float = 300.0
    command: float = 300.0
    data: float = 300.0
    message: float = 3600.0
    idle_commands: int = 1000


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """How one listener behaves.

    Args:
        name: the listener's name.
        wire: what the protocol machine is told.
        limits: how many sessions, and how long.
        in_memory: octets of content up to which a message stays in memory while it arrives; larger ones go to disk.
        hops: Received fields at which a message is taken to loop. RFC 5321 §6.3 asks for at least 100 to be let through, Postfix and
            Exim draw the line at 50 and 30.
        service: "smtp", "submission" (our users' mail, RFC 6409) or "lmtp" (RFC 2033).
        tls: None where there is no certificate.
        auth: how clients log in.
        hide_client: Received does not say where mail of a user who logged in came from.
        trust: whom we believe what they say of others.
        guard: how it protects itself.
        client_names: the host name of each client is looked up before it is greeted.
    """

    name: str
    wire: ServerSettings
    limits: SessionLimits = field(default_factory=SessionLimits)
    in_memory: int = 1024 * 1024
    hops: int = 50
    service: Literal["smtp", "submission", "lmtp"] = "smtp"
    tls: TlsServing | None = None
    auth: AuthServing = field(default=AuthServing())
    hide_client: bool = False
    trust: Trust = field(default=Trust())
    guard: GuardSettings = field(default=GuardSettings())
    client_names: bool = False


@dataclass(frozen=True, slots=True)
class Services:
    """What sessions work with; put together by the composition root."""

    server: Backplane
    bindings: Bindings  # those that are in force at the start; a reload gives the host others
    dispatcher: Dispatcher
    transport: Transport
    spool: Spool
    log: Log
    # Finds the host name of a client's address, "" for none; None where nobody looks.
    names: Callable[[str], Awaitable[str]] | None = None
    on_demand: OnDemand | None = None
    customers: Customers | None = None


class SmtpHost:
    """All SMTP sessions of a worker.

    Args:
        services: what sessions work with.
    """

    def __init__(self, services: Services) -> None:
        self.services = services
        self.bindings = services.bindings
        self.memory = Memory()
        self.guesses = Guesses()
        self.guard = Guard()
        self.draining = False
        # Who listens to new sessions; None while nobody does.
        self.tap: Tap | None = None
        # What each counts as, "" while it is not known whose it is.
        self._connections: dict[Connection, str] = {}
        self._clients: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sweeper: asyncio.TimerHandle | None = None

    def rebind(self, bindings: Bindings) -> None:
        """From now on new sessions ask these bindings; those under way keep those that they began with."""
        self.bindings = bindings

    def admit(self, connection: Connection, client_ip: str) -> str:
        """Counts a session in; why it may not stay, or ""."""
        settings = connection.settings
        self.expect(connection)
        client = self._connections[connection] = neighbourhood(client_ip)
        if client:
            self._clients[client] += 1
            self._networks[network_of(client)] += 1
        if self.draining:
            return "Service shutting down"
        if len(self._connections) > settings.limits.connections:
            return "Too many connections, try again later"
        # At a Unix socket all clients are one; who they are is said by the rights of its file.
        if not client:
            return ""
        if self._clients[client] > settings.limits.connections_per_client:
            return "Too many connections from your address"
        if 0 < settings.guard.connections_per_network < self._networks[network_of(client)]:
            return "Too many connections from your network"
        return self.guard.connection(client, settings.guard)

    def readmit(self, connection: Connection, client_ip: str) -> str:
        """Counts a session as another client's from now on; why it may not stay, or ""."""
        self.leave(connection)
        return self.admit(connection, client_ip)

    def client_of(self, connection: Connection) -> str:
        """What a connection is counted as."""
        return self._connections.get(connection, "")

    def expect(self, connection: Connection) -> None:
        """Counts a connection in before it is known whose it is; its deadline holds from now on."""
        self._connections.setdefault(connection, "")
        self._empty.clear()
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(1.0, self._sweep)

    def leave(self, connection: Connection) -> None:
        """Counts a session out."""
        client = self._connections.pop(connection, "")
        if client:
            for counts, key in ((self._clients, client), (self._networks, network_of(client))):
                counts[key] -= 1
                if not counts[key]:
                    del counts[key]
        if not self._connections:
            self._empty.set()

    @property
    def sessions(self) -> int:
        """How many sessions there are now."""
        return len(self._connections)

    async def drain(self, seconds: float) -> None:
        """Turns new sessions away, lets transactions under way end, and waits so long for it; then closes what is left."""
        self.draining = True
        for connection in list(self._connections):
            connection.drain()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            for connection in list(self._connections):
                connection.hang_up("shutdown")
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [c for c in self._connections if c.clock.deadline <= now]:
            connection.time_out()
        self._sweeper = loop.call_later(1.0, self._sweep) if self._connections else None
