"""Couriers between a destination made by hand and a remote on 127.0.0.1: what is put in is tried, and what came of it is kept for tests.

The destination is not the real one, so that a test sees each call that a courier makes; the real one has tests of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from events.harness import KeptLog
from penstock import Sink
from penstock.delivery import exchange
from penstock.delivery.connection import Connection
from penstock.delivery.courier import CourierParts
from penstock.delivery.couriers import Couriers
from penstock.delivery.mx import Targets, TargetSettings
from penstock.delivery.resolver import Resolver, ResolverSettings
from penstock.delivery.settings import DeliverySettings, HopLimits, HopSettings, HopTimeouts
from penstock.errors import StorageDamaged
from penstock.events.binding import Bindings
from penstock.events.dispatch import Dispatcher
from penstock.events.plug import Plug
from penstock.events.work import MessageWork
from penstock.mail.address import Address
from penstock.mail.content import Content, MemoryContent
from penstock.mail.envelope import Envelope, MailParameters, Recipient
from penstock.mail.message import MessageRecord
from penstock.queue.job import Job, id_of
from penstock.queue.limits import DestinationLimits
from penstock.transport.outcome import Action, Result
from penstock.wire.smtp.client_settings import Timeouts

MAIL = b"From: alice@client.example\r\nSubject: hello\r\n\r\nfirst line\r\n.second line\r\n"
# Long enough for a busy machine, short enough for a test that waits for it.
QUICK = HopTimeouts(1.0, 1.0, 3.0, Timeouts(0.5, 0.5, 0.5, 0.5, 0.5), 3.0, 100_000)
PATIENT = HopTimeouts(5.0, 5.0, 20.0, Timeouts(10.0, 10.0, 10.0, 10.0, 5.0), 30.0, 10_000)


@dataclass
class FakeNode:
    """What the server does for sinks and deliveries."""

    name: str = "test"
    hostname: str = "mx.client.example"
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    depth: int = 0
    ids: int = 0

    def new_id(self) -> str:
        self.ids += 1
        return f"s{self.ids}"

    def now(self) -> float:
        return time.time()

    def queue_depth(self, queue: str = "") -> int:
        return self.depth


class FakeDestination:
    """A queue of one destination."""

    def __init__(self, name: str, limits: DestinationLimits | None = None) -> None:
        self.name = name
        self.limits = limits or DestinationLimits()
        self.ready: list[Job] = []
        self.active: set[str] = set()
        self.sessions = 0
        self.most_sessions = 0
        self.failures: list[str] = []
        self.successes = 0
        self.resting = False
        self.ended = False
        self.returned: list[str] = []
        self.news = asyncio.Event()

    def begin_session(self) -> None:
        self.sessions += 1
        self.most_sessions = max(self.most_sessions, self.sessions)

    def end_session(self) -> None:
        self.sessions -= 1

    def take(self) -> Job | None:
        if self.resting or self.ended or not self.ready:
            return None
        job = self.ready.pop(0)
        self.active.add(id_of(job))
        return job

    def give_back(self, job: Job, *, last: bool = False) -> None:
        self.active.remove(id_of(job))
        self.returned.append(id_of(job))
        self.ready.insert(len(self.ready) if last else 0, job)

    def finished(self, message_id: str) -> None:
        self.active.remove(message_id)

    async def wait(self, seconds: float) -> bool:
        self.news.clear()
        try:
            await asyncio.wait_for(self.news.wait(), seconds)
        except TimeoutError:
            return False
        return bool(self.ready)

    def put(self, *jobs: Job) -> None:
        self.ready += jobs
        self.news.set()

    def succeeded(self) -> None:
        self.successes += 1

    def failed(self, reason: str) -> float:
        self.failures.append(reason)
        self.resting = True
        return 0.0


class FakeHandover:
    """Transport as deliveries see it."""

    def __init__(self) -> None:
        self.results: dict[str, list[Result]] = {}
        self.settled: list[str] = []
        self.damaged: set[str] = set()
        self.gone: set[str] = set()
        self.held: dict[str, str] = {}
        self.progress: list[tuple[int, int]] = []

    def load(self, job: Job) -> MessageWork | None:
        if id_of(job) in self.damaged:
            raise StorageDamaged("a content")
        assert isinstance(job, MessageWork)
        return None if id_of(job) in self.gone else job

    def served(self, work: MessageWork, results: list[Result], left: list[Recipient]) -> None:
        self.progress.append((len(results), len(left)))

    def settle(self, work: MessageWork, queue: str, results: list[Result]) -> None:
        assert sorted(id(r.recipient) for r in results) == sorted(id(r) for r in work.record.envelope.recipients)
        self.settled.append(work.record.id)
        self.results[work.record.id] = results

    def hold(self, message_id: str, why: str) -> None:
        self.held[message_id] = why


# Connections that are not gone yet: TLS says goodbye, and the loop must not be closed under it.
OPEN: set[Connection] = set()


class Watched(Connection):
    """A connection that is known to be open until it is lost."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        OPEN.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        OPEN.discard(self)
        super().connection_lost(exc)


exchange.Connection = Watched  # type: ignore[misc]


class Stand:
    """Couriers for one destination; an async context manager.

    Args:
        queue: its name, which leads to the remote.
        sinks: bound to the outbound events.
        settings: how sessions are held.
        handover: transport, as far as deliveries see it.
        dns: a server of names, "" for the system's.
    """

    def __init__(
        self,
        queue: str,
        *sinks: Sink[Any] | Plug,
        settings: HopSettings | None = None,
        handover: FakeHandover | None = None,
        dns: str = "",
    ) -> None:
        self.node = FakeNode()
        self.log = KeptLog()
        self.handover = handover or FakeHandover()
        self.destination = FakeDestination(queue)
        self.settings = settings or hop_settings()
        plugs = [sink if isinstance(sink, Plug) else Plug(f"sink{n}", sink) for n, sink in enumerate(sinks)]
        self.dispatcher = Dispatcher(self.log)  # type: ignore[arg-type]
        self.resolver = Resolver(ResolverSettings(servers=(dns,) if dns else ()))
        targets = Targets(self.resolver, TargetSettings(own_addresses=()))
        parts = CourierParts(self.node, self.dispatcher, self.handover, targets, self.log, self.handover.hold)  # type: ignore[arg-type]
        self.couriers = Couriers(parts, Bindings(plugs), DeliverySettings(lambda queue: self.settings))
        self._count = 0

    async def __aenter__(self) -> Stand:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.destination.ended = True
        self.destination.news.set()
        await self.couriers.stop(5.0)
        await self.resolver.close()
        assert self.destination.sessions == 0, "a session was not ended"
        mine = {connection for connection in OPEN if connection._loop is asyncio.get_running_loop()}
        with contextlib.suppress(AssertionError):  # one that broke in its handshake is told nothing more
            await self.until(lambda: not mine & OPEN, "all connections are closed", 2.0)
        OPEN.difference_update(mine)

    def attend(self) -> None:
        """Asks for a session."""
        self.couriers.attend(self.destination)  # type: ignore[arg-type]

    async def until(self, condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            await asyncio.sleep(0.002)

    async def deliver(self, *works: MessageWork, seconds: float = 20.0) -> list[Result]:
        """Tries messages in one session or more; the results of the last one."""
        self.destination.put(*works)
        if not self.destination.sessions:
            self.attend()
        await self.until(lambda: all(w.record.id in self.handover.results for w in works), "all messages are settled", seconds)
        return self.handover.results[works[-1].record.id]

    def mail(
        self,
        *recipients: str | Recipient,
        content: bytes | Content = MAIL,
        sender: str = "alice@client.example",
        parameters: MailParameters | None = None,
        **values: Any,
    ) -> MessageWork:
        """A message for these, a@remote.example when none are given."""
        self._count += 1
        listed = [r if isinstance(r, Recipient) else Recipient(Address.parse(r), r) for r in recipients or ("a@remote.example",)]
        held = MemoryContent(content) if isinstance(content, bytes) else content
        envelope = Envelope(Address.parse(sender), listed, parameters or MailParameters())
        record = MessageRecord(id=f"m{self._count}", received=time.time(), envelope=envelope, size=held.size, **values)
        return MessageWork(record, held, f"c{self._count}")


def hop_settings(timeouts: HopTimeouts = PATIENT, idle: float = 0.05, **values: Any) -> HopSettings:
    """Settings for tests."""
    limits = values.pop("limits", HopLimits(idle=idle))
    return HopSettings("mx.client.example", timeouts=timeouts, limits=limits, **values)


def actions(results: Iterable[Result]) -> dict[str, str]:
    """What became of whom, by local part."""
    return {result.recipient.address.local: result.action.value for result in results}


def sent(results: Iterable[Result]) -> bool:
    """Whether all were taken."""
    return all(result.action in (Action.RELAYED, Action.DELIVERED) for result in results)
