"""A server of a few lines, for tests of sinks: the real bindings and the real dispatcher, around sessions and messages made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from events.making import made
from penstock import Address, Message, Recipient, Sink
from penstock.events.binding import Bindings
from penstock.events.catalog import Event, Verb
from penstock.events.chain import EMPTY
from penstock.events.dispatch import Dispatcher, Outcome
from penstock.events.event import InSession
from penstock.events.plug import Plug
from penstock.events.verdict import Verdict
from penstock.events.work import Facts, MessageWork, Scope, SessionWork
from penstock.mail.content import Content, MemoryContent
from penstock.mail.envelope import Envelope
from penstock.mail.message import MessageRecord

HOSTNAME = "mx.example.com"
MAIL = b"From: alice@example.com\r\nSubject: hello\r\n\r\nfirst line\r\nsecond line\r\n"
NOW = 1_700_000_000.0


class FakeBackplane:
    """What the server does for sinks, without a server: ids are counted, what is submitted is kept in a list."""

    def __init__(self) -> None:
        self.name = "test"
        self.hostname = HOSTNAME
        self.states: dict[str, dict[str, Any]] = {}
        self.submitted: list[MessageWork] = []
        self.depth = 0
        self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"new{self._ids}"

    def now(self) -> float:
        return NOW

    async def submit(self, work: MessageWork) -> str:
        self.submitted.append(work)
        return work.record.id

    def release_queue(self, queue: str) -> int:
        self.released = queue
        return self.depth

    async def reset_routes(self) -> int:
        return self.depth

    def queue_depth(self, queue: str = "") -> int:
        return self.depth


class KeptLog:
    """A log that keeps its lines, for tests that read them."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def _keep(self, event: str, **values: Any) -> None:
        self.lines.append({"event": event, **values})

    debug = info = warning = error = _keep


@dataclass
class Harness:
    """Binds sinks and asks them.

    Args:
        plugs: the bindings; made from sinks with ``of``.
    """

    plugs: list[Plug]
    server: FakeBackplane = field(default_factory=FakeBackplane)
    log: KeptLog = field(default_factory=KeptLog)

    def __post_init__(self) -> None:
        self.bindings = Bindings(self.plugs, log=self.log)  # type: ignore[arg-type]
        self.dispatcher = Dispatcher(self.log)  # type: ignore[arg-type]

    @classmethod
    def of(cls, *sinks: Sink[Any], **settings: Any) -> Harness:
        """A harness with these sinks under the names ``sink0``, ``sink1`` ..., each with the same settings of ``Plug``."""
        return cls([Plug(f"sink{number}", sink, where=f"test: sink{number}", **settings) for number, sink in enumerate(sinks)])

    async def ask(self, event: Event) -> Verdict | None:
        """The final verdict, or None."""
        return (await self.outcome(event)).verdict

    async def outcome(self, event: Event) -> Outcome:
        """The whole outcome."""
        chain = self.bindings.verbs.get(event.keyword, EMPTY) if isinstance(event, Verb) else self.bindings.chain(type(event))
        answer = self.dispatcher.ask(event, chain)
        return answer if isinstance(answer, Outcome) else await answer

    async def tell(self, event: Event) -> None:
        """Tells a report, and returns when everybody was told."""
        self.dispatcher.tell(event, self.bindings.chain(type(event)))
        await self.dispatcher.drain()

    def facts(self, message: MessageWork | None = None, session: SessionWork | None = None) -> Facts:
        """What an event is about."""
        return Facts(self.server, session, message)

    def make(self, event: type[Event], message: MessageWork | None = None, session: SessionWork | None = None, **more: Any) -> Event:
        """An event of any class, with what it needs."""
        work = message or message_work()
        # In transport the session is long gone.
        facts = self.facts(work, session or (session_work() if issubclass(event, InSession) else None))
        return made(event, facts, more)


def session_work(client_ip: str = "192.0.2.1", **values: Any) -> SessionWork:
    """A session, with attributes set as given."""
    work = SessionWork("s1", (client_ip, 4711), "mx", NOW)
    work.helo = "client.example"
    for name, value in values.items():
        setattr(work, name, value)
    return work


def message_work(
    raw: bytes | Content = MAIL,
    recipients: tuple[str | Recipient, ...] = ("bob@example.com",),
    sender: str = "alice@example.com",
    **values: Any,
) -> MessageWork:
    """A message with its content in memory; ``values`` are those of its record."""
    content = MemoryContent(raw) if isinstance(raw, bytes) else raw
    listed = [r if isinstance(r, Recipient) else Recipient(Address.parse(r), r) for r in recipients]
    values = {"id": "m1", "received": NOW, "size": content.size, **values}
    return MessageWork(MessageRecord(envelope=Envelope(Address.parse(sender), listed), **values), content, "c1")


def view(work: MessageWork, server: FakeBackplane | None = None, name: str = "sink0") -> Message:
    """The message as a sink of this name sees it."""
    return Message(work, Scope(name, name), server or FakeBackplane())


def content_of(work: MessageWork) -> bytes:
    """The whole content as it would be delivered now."""
    return view(work).content.read()


def addresses(work: MessageWork) -> list[str]:
    """The recipients as they would be served now."""
    return [str(recipient.address) for recipient in work.record.envelope.recipients]
