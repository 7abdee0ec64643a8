"""What becomes of a message after delivery was tried: delivered, put off, reported, forwarded, held."""

from __future__ import annotations

from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest

from hosts.running import Running
from penstock import Address, Recipient, Sink, on
from penstock.errors import StorageDamaged
from penstock.events import LocalDelivery
from penstock.mail.envelope import Envelope
from penstock.mail.message import MessageRecord, decode_record, encode_record
from penstock.storage.base import Entry, Put
from penstock.verdicts import Bounce, Defer, Delivered, Forward
from transport.sinks import Mailbox, deliver_one, empty


async def test_bounce_tells_the_sender() -> None:
    """The report goes from nobody to the sender and says what RFC 3464 asks for."""
    box = Mailbox(Bounce("5.2.2", "Mailbox\r\nX-Injected: full"))
    async with Running(box) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)
    ((sender, recipient, content),) = box.mail
    assert (sender, recipient) == ("", "a@client.example")
    report = message_from_bytes(content, policy=policy.default)
    assert report.get_content_type() == "multipart/report"
    assert report["Auto-Submitted"] == "auto-replied"
    text, status, header = report.iter_parts()
    assert "bob@example.com" in text.get_content()
    per_message, per_recipient = status.get_payload()
    assert per_message["Reporting-MTA"] == "dns; mx.example.com"
    assert per_recipient["Final-Recipient"] == "rfc822; bob@example.com"
    assert (per_recipient["Action"], per_recipient["Status"]) == ("failed", "5.2.2")
    assert per_recipient["X-Injected"] is None
    assert header.get_content()["Subject"] == "hello"


async def test_nobody_answers_a_bounce() -> None:
    """A report that cannot be delivered ends; there is no report about a report."""
    box = Mailbox(Bounce(), Bounce())
    async with Running(box) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)
    assert len(box.attempts) == 2
    assert not box.mail


async def test_a_recipient_that_wants_no_report_gets_none() -> None:
    """NOTIFY=NEVER (RFC 3461 §4.1)."""
    box = Mailbox(Bounce())
    async with Running(box) as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com> NOTIFY=NEVER", "DATA")
        client.writer.write(b"hi\r\n.\r\n")
        await client.reply()
        client.close()
        await empty(server)
    assert not box.mail


async def test_only_the_deferred_recipients_are_tried_again() -> None:
    """One of three is put off; the others are delivered once."""
    box = Mailbox(Delivered("first"), Defer(450, "4.2.0", "busy"))
    async with Running(box) as server:
        await deliver_one(server, "a@example.com", "b@example.com", "c@example.com")
        await empty(server)
    assert box.recipients == ["b@example.com", "c@example.com"]
    assert box.attempts == [1, 1, 1, 2]
    assert sorted(box.reports) == ["a@example.com first", "b@example.com list", "c@example.com list"]


async def test_what_is_deferred_for_too_long_bounces() -> None:
    """After the time of the policy the sender is told, with the last reason."""
    box = Mailbox(Defer(450, "4.2.0", "busy"))
    async with Running(box) as server:
        server.node.ahead = 0
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>")
        server.node.ahead = 4000
        await client.say("RCPT TO:<bob@example.com>", "DATA")
        client.writer.write(b"hi\r\n.\r\n")
        await client.reply()
        client.close()
        await empty(server)
    ((_, recipient, content),) = box.mail
    assert recipient == "a@b.example"
    assert b"Status: 4.4.7" in content
    assert b"busy" in content


async def test_a_recipient_that_nothing_delivers_to_is_held_not_lost() -> None:
    """A fault of the configuration costs no mail."""

    class Nothing(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def pass_on(self, event: LocalDelivery) -> None:
            return None

    async with Running(Nothing()) as server:
        await deliver_one(server, "bob@example.com")
        await server.until(lambda: server.kept()[0].held, "held")
        assert server.kept()[0].held == "nothing delivers to bob@example.com"


async def test_forward_leads_to_other_recipients_with_what_was_asked_for() -> None:
    """NOTIFY and properties go along; ORCPT says who was meant (RFC 3461 §5.2.7)."""
    found: list[Recipient] = []

    class Look(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def look(self, event: LocalDelivery) -> None:
            found.append(event.recipient)

    box = Mailbox(Forward(("x@example.com", "y@example.com")))
    async with Running(Look(), box) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)
    assert box.recipients == ["x@example.com", "y@example.com"]
    assert {r.orcpt for r in found[1:]} == {"rfc822;bob@example.com"}


async def test_forwarding_in_a_circle_ends_with_a_report() -> None:
    """a to b to a ... is a loop."""

    class Circle(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def turn(self, event: LocalDelivery) -> Forward | None:
            local = event.recipient.address.local
            return Forward(("b@example.com" if local == "a" else "a@example.com",)) if local in "ab" else None

    box = Mailbox()
    async with Running(Circle(), box) as server:
        client = await server.client()
        await client.send(b"\r\n", "a@example.com", sender="sender@client.example")
        client.close()
        await empty(server)
    ((_, recipient, content),) = box.mail
    assert recipient == "sender@client.example"
    assert b"5.4.6" in content


async def test_a_delivery_that_raises_is_tried_again() -> None:
    """A sink's error costs time, not mail."""
    box = Mailbox(RuntimeError("disk"))
    async with Running(box) as server:
        await deliver_one(server)
        await empty(server)
    assert len(box.mail) == 1


@pytest.mark.parametrize("waiting", [False, True])
async def test_what_a_delivery_notes_about_a_recipient_is_there_the_next_time(waiting: bool) -> None:
    """Properties set at LocalDelivery travel with the recipient through a deferral."""

    class Counting(Sink[None]):
        seen: list[int]

        def note(self, event: LocalDelivery) -> Defer | Delivered:
            times = event.recipient.properties.get("times", 0) + 1
            event.recipient.properties["times"] = times
            self.seen.append(times)
            return Delivered() if times == 3 else Defer(after=timedelta(milliseconds=5))

    class Inline(Counting):
        @on(LocalDelivery, blocking=False)
        def deliver(self, event: LocalDelivery) -> Defer | Delivered:
            return self.note(event)

    class Waiting(Counting):
        @on(LocalDelivery)
        async def deliver(self, event: LocalDelivery) -> Defer | Delivered:
            return self.note(event)

    sink = Waiting() if waiting else Inline()
    sink.seen = []
    async with Running(sink) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)
    assert sink.seen == [1, 2, 3]


async def test_a_message_whose_content_is_damaged_is_held_not_tried_for_days() -> None:
    """A sink that reads it is not to blame, and another try would find the same."""

    class Damaged:
        size = 10
        in_memory = True

        def read(self, offset: int = 0, length: int = -1) -> bytes:
            raise StorageDamaged("checksum of segment 7")

    class Reads(Sink[None]):
        @on(LocalDelivery)
        def deliver(self, event: LocalDelivery) -> Delivered:
            event.message.content.read()
            return Delivered()

    async with Running(Reads()) as server:
        record = MessageRecord("0DAMAGED", server.node.now(), Envelope(Address("a", "b"), [Recipient(Address("c", "d"))]))
        await server.spool.commit([Put(Entry("0DAMAGED", "routed", encode_record(record), "0DAMAGED"), Damaged())])
        server.transport.start()
        await server.until(lambda: server.kept()[0].held, "held")
        assert server.kept()[0].held == "damaged: checksum of segment 7"


async def test_what_waits_for_different_things_waits_apart() -> None:
    """Delivered, put off, taken by nobody, forwarded: only the deferred one is tried again, and only one is held."""
    tried: list[str] = []

    class Mixed(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def deliver(self, event: LocalDelivery) -> Any:
            local = event.recipient.address.local
            tried.append(local)
            if local == "later" and tried.count("later") < 3:
                return Defer(after=timedelta(milliseconds=5))
            return {"nobody": None, "forward": Forward(("new@example.com",))}.get(local, Delivered(local))

    async with Running(Mixed()) as server:
        await deliver_one(server, "now@example.com", "later@example.com", "nobody@example.com", "forward@example.com")
        await server.until(lambda: len(server.kept()) == 1, "only the held one is left")
        (entry,) = server.kept()
        assert entry.held == "nothing delivers to nobody@example.com"
        assert [str(r.address) for r in decode_record(entry.record).envelope.recipients] == ["nobody@example.com"]
    assert sorted(tried) == ["forward", "later", "later", "later", "new", "nobody", "now"]


async def test_a_report_that_nobody_takes_ends() -> None:
    """Forged senders elsewhere cannot fill the spool with reports that are held for ever."""

    class Local(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def deliver(self, event: LocalDelivery) -> Bounce | None:
            return Bounce("5.4.6", "loop") if event.recipient.address.domain == "example.com" else None

    async with Running(Local()) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)


async def test_a_damaged_record_is_held_and_the_rest_goes_on() -> None:
    """An entry that cannot be read is set aside with the reason."""
    box = Mailbox()
    async with Running(box) as server:
        await server.spool.commit([Put(Entry("0BAD", "routed", b"\xc1 no record", ""))])
        await deliver_one(server)
        server.transport.start()
        await server.until(lambda: [e.id for e in server.kept()] == ["0BAD"] and server.kept()[0].held, "the damaged one is held")
    assert len(box.mail) == 1
