"""The examples that the documentation shows, as they are written there, through the real transport where they need one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from events.harness import MAIL, FakeBackplane, Harness, KeptLog, content_of, message_work
from penstock import Sink, on
from penstock.events import Ehlo, Helo, LocalDelivery, Submission, Verb
from penstock.events.binding import Bindings
from penstock.events.dispatch import Dispatcher
from penstock.events.plug import Plug
from penstock.events.work import MessageWork
from penstock.storage.memory import MemorySpool
from penstock.transport.pipeline import Parts, Transport, TransportSettings
from penstock.verdicts import Delivered, Disconnect, Respond


class ShieldsUp(Sink):
    """Turns every client away, politely."""

    @on(Ehlo, Helo)
    async def refuse(self, event: Ehlo | Helo) -> Disconnect:
        return Disconnect(421, "4.3.2", "Please try again later.")


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    directory: Path


class Archive(Sink[ArchiveSettings]):
    """Keeps a copy of every message that enters transport."""

    @on(Submission)
    async def copy(self, event: Submission) -> None:
        await event.message.save(self.settings.directory / f"{event.message.id}.eml")


class OnePerRecipient(Sink):
    @on(Submission)
    async def split(self, event: Submission) -> None:
        for recipient in event.message.recipients[1:]:
            event.message.fork([recipient])


class Edit(Sink):
    @on(Submission)
    async def edit(self, event: Submission) -> None:
        for recipient in event.message.recipients:
            if recipient.address.domain == "old.example":
                recipient.address = recipient.address.with_domain("new.example")
        event.message.recipients.add("archive@example.com", notify={"never"})
        event.message.header.add("X-Penstock", "seen")


class Notify(Sink):
    @on(Submission)
    async def notify(self, event: Submission) -> None:
        an_email_message = EmailMessage()
        an_email_message["Subject"] = f"about {event.message.sender}"
        an_email_message.set_content("a notice\n")
        notice = event.server.new_message(sender="", recipients=["audit@example.com"], content=an_email_message)
        await event.server.submit(notice)


class QueueDepth(Sink):
    @on(Verb, keyword="XQDEPTH", advertise="XQDEPTH")
    async def answer(self, event: Verb) -> Respond:
        return Respond(250, "2.0.0", f"{await event.server.queue.depth()} messages queued")


class Mailbox(Sink):
    """Takes every delivery, and tells when as many came as were awaited."""

    def __init__(self, awaited: int) -> None:
        super().__init__()
        self.got: list[tuple[str, str, str, bytes]] = []
        self.awaited = awaited
        self.done = asyncio.Event()

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Delivered:
        message = event.message
        self.got.append((message.id, message.parent, str(event.recipient.address), message.content.read()))
        if len(self.got) == self.awaited:
            self.done.set()
        return Delivered("mailbox")


class Server(FakeBackplane):
    """The backplane with a real transport behind it."""

    transport: Transport
    spool: MemorySpool

    async def submit(self, work: MessageWork) -> str:
        return await self.transport.submit(work)

    def queue_depth(self) -> int:
        return self.spool.count()


@asynccontextmanager
async def running(*sinks: Sink[Any]) -> AsyncIterator[Server]:
    """A server that transports mail in memory."""
    server = Server()
    server.spool = MemorySpool()
    await server.spool.open()
    log = KeptLog()
    parts = Parts(server, server.spool, Dispatcher(log), log)  # type: ignore[arg-type]
    server.transport = Transport(parts, Bindings([Plug(type(s).__name__, s) for s in sinks]), TransportSettings())
    yield server
    await server.transport.stop(5)
    assert [line for line in log.lines if "error" in line] == []


async def test_shields_up_turns_every_client_away() -> None:
    harness = Harness.of(ShieldsUp())
    for event in (Helo, Ehlo):
        assert await harness.ask(harness.make(event)) == Disconnect(421, "4.3.2", "Please try again later.")


async def test_archive_keeps_a_copy_of_every_message(tmp_path: Path) -> None:
    mailbox = Mailbox(2)
    async with running(Archive(ArchiveSettings(tmp_path)), mailbox) as server:
        for name in ("one", "two"):
            await server.submit(message_work(id=name))
        await mailbox.done.wait()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"one.eml": MAIL, "two.eml": MAIL}


async def test_one_message_per_recipient_reaches_each_with_its_properties() -> None:
    mailbox = Mailbox(3)
    work = message_work(recipients=("a@example.com", "b@example.com", "c@example.com"))
    async with running(OnePerRecipient(), mailbox) as server:
        await server.submit(work)
        await mailbox.done.wait()
    assert sorted(to for _, _, to, _ in mailbox.got) == ["a@example.com", "b@example.com", "c@example.com"]
    assert len({message_id for message_id, _, _, _ in mailbox.got}) == 3
    assert sorted(parent for _, parent, _, _ in mailbox.got) == ["", "m1", "m1"]
    assert all(content == MAIL for *_, content in mailbox.got)
    assert server.spool.count() == 0


async def test_copies_go_on_after_the_sink_that_made_them_and_meet_the_next_one_once_each() -> None:
    seen: list[str] = []

    class Looks(Sink):
        @on(Submission)
        async def look(self, event: Submission) -> None:
            seen.append(",".join(str(r.address) for r in event.message.recipients))

    class Splits(OnePerRecipient):
        async def split(self, event: Submission) -> None:
            asked.append(event.message.id)
            await super().split(event)

    asked: list[str] = []
    mailbox = Mailbox(3)
    async with running(Splits(), Looks(), mailbox) as server:
        await server.submit(message_work(recipients=("a@x", "b@x", "c@x")))
        await mailbox.done.wait()
    assert sorted(seen) == ["a@x", "b@x", "c@x"]
    assert asked == ["m1"]


async def test_a_notice_from_inside_a_sink_is_delivered_and_does_not_come_back_to_it() -> None:
    mailbox = Mailbox(2)
    async with running(Notify(), mailbox) as server:
        await server.submit(message_work())
        await mailbox.done.wait()
    assert sorted(to for _, _, to, _ in mailbox.got) == ["audit@example.com", "bob@example.com"]
    notice = next(content for _, _, to, content in mailbox.got if to == "audit@example.com")
    assert b"Subject: about alice@example.com\r\n" in notice


async def test_recipients_and_header_are_edited_in_place() -> None:
    work = message_work(recipients=("bob@old.example", "carol@other.example"))
    work.record.envelope.recipients[0].properties["kept"] = True
    harness = Harness.of(Edit())
    await harness.ask(Submission(harness.facts(work)))
    assert [(str(r.address), r.properties, set(r.notify)) for r in work.record.envelope.recipients] == [
        ("bob@new.example", {"kept": True}, set()),
        ("carol@other.example", {}, set()),
        ("archive@example.com", {}, {"never"}),
    ]
    assert content_of(work) == MAIL.replace(b"\r\n\r\n", b"\r\nX-Penstock: seen\r\n\r\n")


async def test_a_new_verb_tells_the_depth_of_the_queue_and_is_advertised() -> None:
    harness = Harness.of(QueueDepth())
    harness.server.depth = 7
    assert harness.bindings.advertised == ["XQDEPTH"]
    assert await harness.ask(harness.make(Verb, keyword="XQDEPTH")) == Respond(250, "2.0.0", "7 messages queued")
