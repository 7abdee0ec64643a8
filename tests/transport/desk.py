"""A settler with a real spool, dispatcher and bindings, and a scheduler that only notes what it is told; to try outcomes one at a time."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from hosts.running import Node
from penstock import Address, Recipient, Sink
from penstock.events.binding import Bindings
from penstock.events.dispatch import Dispatcher
from penstock.events.plug import Plug
from penstock.events.work import MessageWork
from penstock.mail.content import MemoryContent
from penstock.mail.envelope import Envelope
from penstock.mail.message import MessageRecord, decode_record, encode_record
from penstock.observe.log import get_log
from penstock.queue.policy import Policies, RetryPolicy
from penstock.storage.base import Entry, Put, Query, Spool
from penstock.storage.memory import MemorySpool
from penstock.transport.aging import Aging, AgingSettings
from penstock.transport.notices import NoticeSettings
from penstock.transport.outcome import Action, Result
from penstock.transport.parts import Parts, Shop, TransportSettings
from penstock.transport.settle import Settler

QUEUE = "mx:far.example"
CONTENT = b"From: alice@client.example\r\nSubject: hello\r\n\r\nHello.\r\n"
HOUR = 3600.0


class Noted:
    """What a scheduler was told; ``active`` is what it says is worked on, ``resting`` the state of all queues."""

    def __init__(self) -> None:
        self.soons: list[float] = []
        self.laters: list[tuple[str, float]] = []
        self.active: set[str] = set()

    def soon(self, due: float) -> None:
        self.soons.append(due)

    def later(self, queue: str, due: float) -> None:
        self.laters.append((queue, due))

    def withdraw(self, message_id: str) -> bool:
        return message_id not in self.active

    def destination(self, name: str) -> None:
        return None


class Desk:
    """Settles what a test wants; the clock is ``node.ahead``.

    Args:
        sinks: who is asked and told.
        spool: where messages are; in memory when None.
        policies: when to give up and so on; an hour, and notices after ten minutes, when None.
        notices: how reports are sent.
    """

    def __init__(
        self, *sinks: Sink[Any] | Plug, spool: Spool | None = None, policies: Policies | None = None, notices: NoticeSettings | None = None
    ) -> None:
        self.spool = spool or MemorySpool()
        self.node = Node(self.spool)
        self.scheduler = Noted()
        self.dispatcher = Dispatcher(get_log())
        bindings = Bindings([s if isinstance(s, Plug) else Plug(f"sink{n}", s) for n, s in enumerate(sinks)])
        parts = Parts(self.node, self.spool, self.dispatcher, get_log())
        shop = Shop(parts, bindings, TransportSettings(), cast(Any, self.scheduler))
        retry = RetryPolicy((60.0, 120.0), HOUR, 0.0, notices=(600.0,))
        self.settler = Settler(shop, policies or Policies(retry), notices)
        self.aging = Aging(shop, self.settler, AgingSettings(batch=2, pause=0.0))

    async def __aenter__(self) -> Desk:
        await self.spool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispatcher.drain()
        await self.spool.close()

    async def message(
        self, *recipients: str | Recipient, sender: str = "alice@client.example", content: bytes = CONTENT, queue: str = QUEUE, **more: Any
    ) -> MessageWork:
        """A message that is in the spool and worked on."""
        envelope = Envelope(Address.parse(sender), [r if isinstance(r, Recipient) else to(r) for r in recipients])
        for name in ("ret", "envid", "smtputf8"):
            if name in more:
                setattr(envelope.parameters, name, more.pop(name))
        record = MessageRecord(self.node.new_id(), self.node.now(), envelope, size=len(content), **more)
        entry = Entry(record.id, "routed" if queue else "categorized", encode_record(record), record.id, queue)
        await self.spool.commit([Put(entry, MemoryContent(content))])
        return MessageWork(record, self.spool.content(entry), entry.content)

    async def settle(self, work: MessageWork, *results: Result, queue: str = QUEUE) -> bool:
        """Settles to the end; whether it had to be waited for."""
        step = self.settler.settle(work, queue, list(results))
        if step is not None:
            await step
        return step is not None

    def kept(self) -> list[Entry]:
        """What is in the spool but reports."""
        return [entry for entry in self.spool.select(Query()).entries if decode_record(entry.record).origin != "dsn"]

    def reports(self) -> list[tuple[MessageRecord, EmailMessage]]:
        """The reports in the spool, with their records."""
        found = []
        for entry in self.spool.select(Query()).entries:
            record = decode_record(entry.record)
            if record.origin == "dsn":
                content = self.spool.content(entry).read()
                if record.header is not None:
                    content = record.header + content[record.body_offset :]
                parsed = message_from_bytes(content, policy=policy.default)
                assert isinstance(parsed, EmailMessage)
                found.append((record, parsed))
        return found

    def fields(self, number: int = 0) -> list[Any]:
        """The groups of fields for the recipients of a report."""
        payload = list(self.reports()[number][1].iter_parts())[1].get_payload()
        assert isinstance(payload, list)
        return payload[1:]


def to(address: str, *notify: str, **more: Any) -> Recipient:
    """A recipient."""
    return Recipient(Address.parse(address), address, notify=frozenset(notify), **more)


def each(work: MessageWork, action: Action, status: str = "", text: str = "", **more: Any) -> list[Result]:
    """The same result for all recipients."""
    return [Result(r, action, status, text, **more) for r in work.record.envelope.recipients]


def names(entry: Entry) -> list[str]:
    """The recipients of an entry."""
    return [str(r.address) for r in decode_record(entry.record).envelope.recipients]
