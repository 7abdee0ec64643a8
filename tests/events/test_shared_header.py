"""A header is read and looked through once, however many events, conditions and reports ask about it."""

from __future__ import annotations

import time

from events.harness import Harness, message_work
from penstock import Match, Recipient, Sink, on
from penstock.events import Delivered, LocalDelivery, Submission
from penstock.events.plug import Plug
from penstock.events.views import MessageSnapshot
from penstock.mail.content import MemoryContent

LARGE = b"Received: by relay\r\n" + b"Delivered-To:\r\n" * 65_000 + b"\r\nbody"


class Counted(MemoryContent):
    """A content that counts how often it is read."""

    __slots__ = ("reads",)

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads = 0

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        self.reads += 1
        return super().read(offset, length)


class Looks(Sink):
    """Looks at the header as a delivery does."""

    @on(LocalDelivery, Submission, Delivered, blocking=False)
    def look(self, event: LocalDelivery | Submission | Delivered) -> None:
        header = event.message.header
        assert not header.has("Delivered-To", "bob@example.com")
        assert header.get("Subject") is None


class Stamps(Sink):
    """Edits the header."""

    @on(Submission, blocking=False)
    def stamp(self, event: Submission) -> None:
        event.message.header.add("X-Stamp", "1")


async def test_a_thousand_deliveries_of_a_large_header_cost_what_one_costs() -> None:
    content = Counted(LARGE)
    work = message_work(content)
    harness = Harness([Plug("looks", Looks(), match=Match(header={"Received": "*relay"}))])
    chain = harness.bindings.chain(LocalDelivery)
    recipient: Recipient = work.record.envelope.recipients[0]
    started = time.process_time()
    for _ in range(1000):
        harness.dispatcher.ask(LocalDelivery(harness.facts(work), recipient), chain)
    assert time.process_time() - started < 3.0
    assert harness.bindings.all[0].counters.matched == 1000
    assert content.reads < 10
    assert harness.bindings.all[0].counters.errors == 0


async def test_an_edit_is_seen_by_the_next_one_and_costs_one_more_look() -> None:
    content = Counted(LARGE)
    work = message_work(content)
    harness = Harness.of(Looks(), Stamps(), Looks())
    await harness.ask(Submission(harness.facts(work)))
    reads = content.reads
    for _ in range(10):
        assert work.section().has("X-Stamp", "1")
        assert not work.came().section.has("X-Stamp", "1")
        assert MessageSnapshot.of(work).header.get("Received") == "by relay"
    assert content.reads == reads


async def test_a_view_that_edits_does_not_edit_what_others_see() -> None:
    work = message_work(LARGE)
    before = work.section()
    harness = Harness.of(Stamps(), on_error="continue")
    await harness.ask(Submission(harness.facts(work)))
    assert before.raw + b"\r\n" == LARGE.removesuffix(b"body")
