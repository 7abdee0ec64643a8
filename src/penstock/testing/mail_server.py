"""``mail_server``: the whole server in a test, with its network, its DNS and its clock in the test's hands.

async def test_tries_again(mail_server):
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.reply("RCPT", 451, times=1)
    await mail_server.send("Subject: hello", "alice@example.com", ["carol@example.net"])
    await mail_server.advance(minutes=20)
    assert len(remote.messages) == 1
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from ..config import plugs
from ..events.catalog import CATALOG
from ..events.event import Event
from ..events.plug import DEFAULT, OnError, Plug, RunIn
from ..events.rule import Match
from ..events.sink import Sink, on
from ..mail.message import decode_record
from ..storage.base import Entry
from ..transport.operations import Done
from .captured import CapturedLog
from .client import Client, Sent
from .mailbox import Mail, Mailboxes
from .names import ScriptedDns
from .network import Network
from .remote import RemoteServer
from .server import InProcess, World
from .settings import LISTENER, configuration
from .stand_in import ContentLike
from .virtual import NothingHappensError, VirtualLoop

E = TypeVar("E", bound=Event)
# Where the clients of a test are, and the remote servers.
CLIENT, REMOTES = "192.0.2.1", "198.51.100."
_REPORTS = tuple(event for event in CATALOG.values() if event.report)


@dataclass(frozen=True, slots=True)
class Queued:
    """One message in the queue.

    Args:
        id: the queue id.
        queue: its queue, such as "mx:example.net"; "" while it is not routed.
        sender: the reverse-path.
        recipients: those still to be served.
        held: why it is held; "" when it is not.
        due: when it is tried next, in seconds since 1970; 0 for at once.
        deferrals: how often it was put off.
        reasons: why each recipient was not served at the last try.
    """

    id: str
    queue: str
    sender: str
    recipients: tuple[str, ...]
    held: str
    due: float
    deferrals: int
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, entry: Entry) -> Queued:
        """What an entry of the spool says."""
        record = decode_record(entry.record)
        listed = record.envelope.recipients
        return cls(
            entry.id,
            entry.queue,
            str(record.envelope.sender),
            tuple(str(recipient.address) for recipient in listed),
            entry.held,
            entry.due,
            record.deferrals,
            tuple(recipient.reason for recipient in listed),
        )


class Told(Sink[None]):
    """Keeps every report that sinks are told."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    @on(*_REPORTS, blocking=False)
    def keep(self, event: Event) -> None:
        """Keeps it."""
        self.events.append(event)


@dataclass(frozen=True, slots=True)
class _Bound:
    """A sink of the test's, and how it is bound; ``make`` makes a new one for each life of the server."""

    make: Callable[[], Sink[Any]]
    plug: Plug


class MailServer:
    """A server in a test; it starts by itself at the first thing that is asked of it.

    ``dns`` and ``network`` are what is around it, ``log`` what it writes, ``mail`` what it delivered here.

    Args:
        folder: for the configuration file, and for what the server writes to relative paths.
        loop: everything runs on it.
        log: where its log lines are kept.
    """

    def __init__(self, folder: Path, loop: VirtualLoop, log: CapturedLog | None = None) -> None:
        self.folder = folder
        self.loop = loop
        self.log = log if log is not None else CapturedLog()
        self.world = World(loop)
        self._config: str | Mapping[str, Any] = {}
        self._bound: list[_Bound] = []
        self._boxes = Mailboxes(loop.clock.now)
        self._told = Told()
        self._remotes: dict[str, RemoteServer] = {}
        self._life: InProcess | None = None
        self._clients: list[Client] = []
        self.unexpected: list[str] = []
        loop.set_exception_handler(self._note)

    # -- before it starts ---------------------------------------------------------------------------------------------------------------

    def configure(self, config: str | Mapping[str, Any]) -> None:
        """Says how it is configured: TOML, or a dictionary of the same shape; counts from the next start.

        What a test need not say: the host name ``mx.example.com``, a listener "mx", the local domain ``example.com``, whose mail goes to
        ``mailbox``, and that clients of 192.0.2.0/24 may send anywhere.
        """
        self._config = config

    def bind(
        self,
        sink: Sink[Any] | Callable[[], Sink[Any]],
        name: str = "",
        *,
        priority: int = DEFAULT,
        match: Match | None = None,
        timeout: float = 30.0,
        on_error: OnError = "defer",
        run_in: RunIn = "",
    ) -> None:
        """Binds a sink, as a ``[[binding]]`` would; counts from the next start.

        Args:
            sink: the object; or what makes one, such as its class, for each life of the server anew.
            name: of the binding; "" for the name of the class in lower case.
            priority: 0 to 32767; the built-in policy is at 16384.
            match: conditions, all of which must hold.
            timeout: virtual seconds that a handler may take.
            on_error: what becomes of a question whose handler fails.
            run_in: "loop", "thread", or "" for what suits the handler.
        """
        first = sink if isinstance(sink, Sink) else sink()
        make = (lambda: first) if isinstance(sink, Sink) else sink
        named = name or type(first).__name__.lower()
        plug = Plug(named, first, priority, match, timeout, on_error, run_in, where=f"the binding {named!r} of the test")
        self._bound.append(_Bound(make, plug))

    # -- what is around it --------------------------------------------------------------------------------------------------------------

    @property
    def dns(self) -> ScriptedDns:
        """What DNS says."""
        return self.world.dns

    @property
    def network(self) -> Network:
        """Who can be reached how."""
        return self.world.network

    def remote(self, name: str, *, domains: Iterable[str] = (), address: str = "", ports: Iterable[int] = (25,)) -> RemoteServer:
        """A remote server, with its addresses in DNS; the same one for the same name.

        Args:
            name: its host name.
            domains: those whose MX it is, beside what is written down in ``dns``.
            address: its IP address; "" for one of 198.51.100.0/24.
            ports: where it listens.
        """
        if name not in self._remotes:
            where = address or f"{REMOTES}{len(self._remotes) + 1}"
            server = self._remotes[name] = RemoteServer(name, where, self.network, self.loop.clock.now)
            server.listen(*ports)
            self.dns.address(name, where)
        for domain in domains:
            self.dns.mx(domain, name)
        return self._remotes[name]

    # -- its life -----------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts it; everything else does so too where it is needed. Raises ConfigError, PenstockError."""
        if self._life is not None:
            return
        config, boxes = configuration(self._config, self.folder)
        bound = [replace(plug, sink=self._boxes) if plug.name in {f"deliver:{box}" for box in boxes} else plug for plug in plugs(config)]
        bound += [replace(one.plug, sink=one.make()) for one in self._bound]
        life = InProcess(config, self.world, [*bound, Plug("told", self._told, priority=0, where="the test kit")])
        self._life = life
        await life.start()

    async def stop(self) -> None:
        """Stops it in good order; what is queued stays, for the next ``start``."""
        if self._life is not None:
            life, self._life = self._life, None
            await life.stop()

    async def crash(self) -> None:
        """Ends it at once, as by ``kill -9``, and starts it anew: what it had acknowledged is in the spool."""
        if self._life is not None:
            life, self._life = self._life, None
            life.kill()
            await self.loop.settled()
        await self.start()

    async def close(self) -> None:
        """Stops it at the end of the test. Raises AssertionError for an error that nobody expected, and nobody saw."""
        for client in self._clients:
            client.close()
        await self.stop()
        assert not self.unexpected, "errors that nobody caught: " + "; ".join(self.unexpected)

    async def running(self) -> InProcess:
        """The present life, started if need be: what a worker is made of."""
        await self.start()
        assert self._life is not None
        return self._life

    # -- mail ---------------------------------------------------------------------------------------------------------------------------

    async def client(self, ip: str = CLIENT, *, listener: str = "", helo: str = "client.example") -> Client:
        """A client that was greeted, and said EHLO.

        Args:
            ip: its address.
            listener: the listener that it connects to; "" for the first.
            helo: its name in EHLO; "" to leave that to the test.
        """
        life = await self.running()
        client = Client()
        self._clients.append(client)
        life.connect(client, (ip, self.network.next_port()), listener or next((one.name for one in life.config.listeners), LISTENER))
        client.banner = await client.reply()
        if helo and client.banner.is_positive:
            await client.ehlo(helo)
        return client

    async def send(
        self,
        message: ContentLike,
        sender: str = "alice@client.example",
        recipients: str | Iterable[str] = ("bob@example.com",),
        *,
        ip: str = CLIENT,
        listener: str = "",
        parameters: str = "",
    ) -> Sent:
        """Sends one message over SMTP, in a session of its own.

        Args:
            message: header and body; line ends become CRLF.
            sender: the reverse-path, "" for the null path.
            recipients: an address, or several, each with RCPT parameters behind it if wanted, as in ``"bob@example.com NOTIFY=SUCCESS"``.
            ip: the client's address.
            listener: the listener that it connects to; "" for the first.
            parameters: of MAIL, such as ``"SIZE=1000 RET=HDRS"``.
        """
        client = await self.client(ip, listener=listener)
        if not client.banner.is_positive:
            return Sent(client.banner)
        sent = await client.send(message, sender, [recipients] if isinstance(recipients, str) else recipients, parameters)
        if not client.closed:
            await client.quit()
        return sent

    @property
    def mail(self) -> list[Mail]:
        """All that was delivered to mailboxes here, in order."""
        return self._boxes.all

    def mailbox(self, address: str) -> list[Mail]:
        """What was delivered to one address here, in order."""
        return self._boxes.of(address)

    @property
    def queue(self) -> list[Queued]:
        """The messages in the queue, in order of their ids."""
        entries = self._life.entries() if self._life is not None else []
        return [Queued.of(entry) for entry in entries]

    async def release(self, message_id: str) -> bool:
        """Releases a held message, as ``penstock queue release`` does; False when it is not there, or worked on just now."""
        life = await self.running()
        return await life.transport.operations.release(message_id) is Done.DONE

    async def retry(self, message_id: str) -> bool:
        """Tries a message now, as ``penstock queue retry`` does; False when it is not there, held, or worked on just now."""
        life = await self.running()
        return await life.transport.operations.retry(message_id) is Done.DONE

    @property
    def events(self) -> list[Event]:
        """Every report that was told, in order."""
        return self._told.events

    def told(self, event: type[E]) -> list[E]:
        """The reports of one kind, in order."""
        return [one for one in self._told.events if isinstance(one, event)]

    # -- time ---------------------------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The present time, in UTC; it begins on Monday, 5 January 2026, at 9."""
        return datetime.fromtimestamp(self.loop.clock.now(), UTC)

    async def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Lets time pass, with all that happens meanwhile."""
        await self.start()
        await self.loop.advance(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds())

    async def settled(self) -> None:
        """Returns when nothing is left to do at this instant."""
        await self.start()
        await self.loop.settled()

    async def run_until_idle(self) -> None:
        """Goes on until nothing is worked on: each message is delivered, or waits for its next try, or is held.

        Time passes as far as that needs it, such as for the timeout of a silent server.

        Raises: NothingHappensError when that takes more than 30 days.
        """
        life = await self.running()
        await self._until(life.is_at_rest, timedelta(days=30))

    async def run_until_empty(self, *, days: float = 10) -> None:
        """Goes on, retries and all, until the queue is empty.

        Raises: NothingHappensError when something is left after so many days; it says what.
        """
        life = await self.running()
        await self._until(lambda: not life.spool.count(), timedelta(days=days))

    async def _until(self, condition: Callable[[], bool], longest: timedelta) -> None:
        self.loop.clock.expect(longest.total_seconds())
        try:
            async with asyncio.timeout(longest.total_seconds()):
                await self.loop.settled(condition)
        except TimeoutError:
            left = "; ".join(f"{one.id} in {one.queue!r} {one.held} {one.reasons}" for one in self.queue)
            raise NothingHappensError(f"after {longest}, there is still: {left}") from None

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error that reached the loop itself."""
        error = context.get("exception")
        self.unexpected.append(f"{context['message']}: {error!r}" if error else context["message"])
