"""A message's way after 250: the Submission stage, forks, new messages, restarts, and what is worked on at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hosts.running import Running, until
from penstock import Sink, on
from penstock.errors import PenstockError
from penstock.events import EndOfData, LocalDelivery, Submission
from penstock.events.plug import Plug
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.transport.stage import Stage, move
from penstock.verdicts import Defer, Delivered, Drop, Quarantine
from transport.sinks import AtEndOfData, AtSubmission, Mailbox, deliver_one, empty


async def test_each_fork_goes_on_after_the_sink_that_made_it() -> None:
    """The golden OnePerRecipient: three recipients, three messages, each seen once by the sinks behind and never again by the splitter."""
    seen: list[list[str]] = []

    def split(event: Submission) -> None:
        for recipient in event.message.recipients[1:]:
            recipient.properties["split"] = True
            event.message.fork([recipient])

    def look(event: Submission) -> None:
        seen.append([str(r.address) for r in event.message.recipients])
        event.message.header.add("X-Only", str(event.message.recipients[0].address))

    splitter, box = AtSubmission(split), Mailbox()
    async with Running(splitter, AtSubmission(look), box) as server:
        await deliver_one(server, "a@example.com", "b@example.com", "c@example.com")
        await empty(server)
    assert sorted(seen) == [["a@example.com"], ["b@example.com"], ["c@example.com"]]
    assert len(splitter.attempts) == 1
    for _, recipient, content in box.mail:
        assert content.endswith(f"Subject: hello\r\nX-Only: {recipient}\r\n\r\nHello.\r\n".encode())
    assert box.recipients == ["a@example.com", "b@example.com", "c@example.com"]


async def test_a_sink_may_split_each_part_again() -> None:
    """Forks of forks: sink one takes the first off, sink two the second."""

    def last_off(event: Submission) -> None:
        if len(event.message.recipients) > 1:
            event.message.fork([event.message.recipients[-1]])

    box = Mailbox()
    async with Running(AtSubmission(last_off), AtSubmission(last_off), box) as server:
        await deliver_one(server, "a@example.com", "b@example.com", "c@example.com")
        await empty(server)
    assert box.recipients == ["a@example.com", "b@example.com", "c@example.com"]


async def test_a_new_message_from_a_sink_does_not_meet_that_sink_again() -> None:
    """The golden audit notice: one notice a message, not a notice a notice; other sinks see it."""
    others: list[str] = []

    async def notify(event: Submission) -> None:
        notice = event.server.new_message(sender="", recipients=["audit@example.com"], content=b"Subject: notice\n\nSeen.\n")
        await event.server.submit(notice)

    def look(event: Submission) -> None:
        others.append(event.origin)

    box = Mailbox()
    async with Running(AtSubmission(notify), AtSubmission(look), box) as server:
        await deliver_one(server, "bob@example.com")
        await server.until(lambda: len(box.mail) == 2, "two deliveries")
        await empty(server)
    assert box.recipients == ["audit@example.com", "bob@example.com"]
    assert sorted(others) == ["sink", "smtp"]
    assert (b"Subject: notice\r\n\r\nSeen.\r\n") in [content for _, _, content in box.mail]


async def test_mail_that_answers_itself_ends_after_so_many_generations() -> None:
    """Two sinks that answer each other for ever are stopped by the count of generations."""

    async def answer(event: Submission) -> None:
        await event.server.submit(event.server.new_message(sender="", recipients=["x@example.com"], content=b"\r\n"), reenter=True)

    sink, box = AtSubmission(answer), Mailbox()
    async with Running(Plug("answer", sink, on_error="continue"), box) as server:
        await deliver_one(server)
        await empty(server)
    assert len(box.mail) == 21


async def test_edits_at_submission_reach_the_mailbox_and_the_rest_is_unchanged() -> None:
    """Recipients keep their properties, the header is changed only where edited, the body not at all."""

    def edit(event: Submission) -> None:
        for recipient in event.message.recipients:
            recipient.address = recipient.address.with_domain("new.example")
        event.message.recipients.add("archive@example.com", notify={"never"})
        event.message.header.replace("Subject", "edited")

    box = Mailbox()
    odd = b"Subject:   hello\r\nX-Odd:\tkept  as is \r\n\r\nbody\twith  odd \r\n..dots\r\n"
    async with Running(AtSubmission(edit), box) as server:
        await deliver_one(server, "a@old.example", content=odd)
        await empty(server)
    assert box.recipients == ["a@new.example", "archive@example.com"]
    assert box.mail[0][2].endswith(b"Subject: edited\r\nX-Odd:\tkept  as is \r\n\r\nbody\twith  odd \r\n.dots\r\n")


async def test_edits_of_a_sink_that_raises_are_undone() -> None:
    """With on_error = "continue" the message goes on as it was."""

    def break_it(event: Submission) -> None:
        event.message.header.add("X-Bad", "1")
        event.message.recipients.remove(event.message.recipients[0])
        event.message.sender = "forged@example.com"  # type: ignore[assignment]
        raise RuntimeError("oops")

    box = Mailbox()
    async with Running(Plug("broken", AtSubmission(break_it), on_error="continue"), box) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)
    ((sender, recipient, content),) = box.mail
    assert (sender, recipient) == ("a@client.example", "bob@example.com")
    assert b"X-Bad" not in content


async def test_a_deferred_stage_is_tried_again_from_the_sink_that_deferred() -> None:
    """The sink before it is not asked again, its edits are kept, and ``attempt`` counts."""

    def mark(event: Submission) -> None:
        event.message.header.add("X-First", "1")

    def later(event: Submission) -> Defer | None:
        return Defer(after=timedelta(milliseconds=10)) if event.attempt < 3 else None

    first, second, box = AtSubmission(mark), AtSubmission(later), Mailbox()
    async with Running(first, second, box) as server:
        await deliver_one(server)
        await empty(server)
    assert first.attempts == [1]
    assert second.attempts == [1, 2, 3]
    assert box.mail[0][2].count(b"X-First: 1") == 1


async def test_a_sink_that_fails_at_submission_defers_the_message() -> None:
    """on_error = "defer", the default: the stage is tried again, and nothing is lost."""

    def fail_once(event: Submission) -> None:
        if event.attempt == 1:
            raise RuntimeError("database is down")

    sink, box = AtSubmission(fail_once), Mailbox()
    async with Running(sink, box) as server:
        await deliver_one(server)
        await empty(server)
    assert sink.attempts == [1, 2]
    assert len(box.mail) == 1


async def test_drop_ends_a_message_without_a_word() -> None:
    """Nothing is delivered, nothing is kept, nobody is told."""
    box = Mailbox()
    async with Running(AtSubmission(lambda event: Drop("unwanted")), box) as server:
        await deliver_one(server)
        await empty(server)
    assert not box.mail


async def test_quarantine_at_submission_holds_the_message_with_its_edits() -> None:
    """The entry is held, with the reason."""
    box = Mailbox()
    async with Running(AtSubmission(lambda event: Quarantine("odd")), box) as server:
        await deliver_one(server)
        await server.until(lambda: server.kept() and server.kept()[0].held, "held")
        assert server.kept()[0].held == "odd"
    assert not box.mail


@pytest.mark.parametrize("stop_at", ["submission", "delivery"])
async def test_a_restart_goes_on_at_the_last_recorded_stage(tmp_path: Path, stop_at: str) -> None:
    """Stopped within a stage, the message begins that stage again, and no earlier one."""
    never = asyncio.Event()

    class Hang(Sink[None]):
        @on(LocalDelivery)
        async def hang(self, event: LocalDelivery) -> None:
            await never.wait()

    async def hang(event: Submission) -> None:
        await never.wait()

    def mark(event: Submission) -> None:
        event.message.header.add("X-Mark", "1")
        event.message.fork([event.message.recipients[1]])

    first = AtSubmission(mark)
    blocker: Sink[Any] = AtSubmission(hang) if stop_at == "submission" else Hang()
    async with Running(first, blocker, spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        await deliver_one(server, "a@example.com", "b@example.com")
        # What is delivered to at once is not recorded as routed: it is routed again.
        stage = "submitted" if stop_at == "submission" else "admitted"
        await server.until(lambda: all(e.stage == stage for e in server.kept()), stage)
        await server.until(lambda: first.attempts, "the first sink was asked")
    again, box = AtSubmission(mark), Mailbox()
    async with Running(again, AtSubmission(lambda event: None), box, spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        await server.until(lambda: len(box.mail) == 2, "both delivered")
        await empty(server)
    assert again.attempts == ([2] if stop_at == "submission" else [])
    assert box.recipients == ["a@example.com", "b@example.com"]
    assert all(content.count(b"X-Mark: 1") == 1 for _, _, content in box.mail)


async def test_state_of_a_message_survives_a_deferral() -> None:
    """What a sink remembers about a message is there when the stage is tried again."""

    def remember(event: Submission) -> Defer | None:
        event.message.state["times"] = event.message.state.get("times", 0) + 1
        if event.message.state["times"] < 3:
            return Defer(after=timedelta(milliseconds=5))
        event.message.header.add("X-Times", str(event.message.state["times"]))
        return None

    box = Mailbox()
    async with Running(AtSubmission(remember), box) as server:
        await deliver_one(server)
        await empty(server)
    assert b"X-Times: 3" in box.mail[0][2]


async def test_a_message_without_recipients_ends() -> None:
    """A sink took the last one off."""

    def clear(event: Submission) -> None:
        for recipient in event.message.recipients:
            event.message.recipients.remove(recipient)

    async with Running(AtSubmission(clear), Mailbox()) as server:
        await deliver_one(server)
        await empty(server)


def test_a_move_that_is_not_in_the_table_is_an_error() -> None:
    """Stages only go forward."""
    assert move(Stage.SUBMITTED, Stage.ROUTED) is Stage.ROUTED
    assert move(Stage.ROUTED, Stage.POSTCATEGORIZED) is Stage.POSTCATEGORIZED
    with pytest.raises(PenstockError, match="'routed' to 'submitted'"):
        move(Stage.ROUTED, Stage.SUBMITTED)


async def test_many_messages_at_once_all_arrive() -> None:
    """More than may be active at once: what does not fit waits in the spool and comes later."""
    going = 0
    most = 0

    class Slow(Sink[None]):
        @on(LocalDelivery)
        async def slow(self, event: LocalDelivery) -> Delivered:
            nonlocal going, most
            going += 1
            most = max(most, going)
            await asyncio.sleep(0.001)
            going -= 1
            return Delivered("slow")

    async with Running(Slow(), active=10, ready=20, local_sessions=5) as server:
        clients = [await server.client() for _ in range(20)]
        for _ in range(10):
            await asyncio.gather(*(client.send() for client in clients))
        await until(lambda: not server.kept(), "all are delivered", 20.0)
        # Five fresh ones at the same time, and as many from the queue of the domain as a destination is begun with, or more later.
        assert 5 <= most <= 10 + 20
        for client in clients:
            client.close()


@pytest.mark.parametrize("rewrite", ["", "parent", "fork"])
async def test_a_fork_made_before_the_message_was_accepted_is_accepted_with_it(tmp_path: Path, rewrite: str) -> None:
    """All parts are durable before the 250, in one group, and each is delivered with its own content."""

    def split(event: EndOfData) -> None:
        if rewrite == "parent":
            event.message.replace_content(b"Subject: new\r\n\r\nNew.\r\n")
        for recipient in event.message.recipients[1:]:
            part = event.message.fork([recipient])
            if rewrite == "fork":
                part.replace_content(f"To: {recipient.address}\r\n\r\nYours.\r\n".encode())

    never = asyncio.Event()

    async def hang(event: Submission) -> None:
        await never.wait()

    spool = EmbeddedSpool(EmbeddedSettings(tmp_path))
    async with Running(AtEndOfData(split), AtSubmission(hang), spool=spool) as server:
        await deliver_one(server, "a@example.com", "b@example.com", "c@example.com")
        assert len(server.kept()) == 3
    box = Mailbox()
    async with Running(box, spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        await empty(server)
    assert box.recipients == ["a@example.com", "b@example.com", "c@example.com"]
    for _, recipient, content in box.mail:
        forked = f"To: {recipient}\r\n\r\nYours.\r\n".encode()
        wanted = {"": b"Hello.\r\n", "parent": b"New.\r\n", "fork": b"Hello.\r\n" if recipient == "a@example.com" else forked}
        assert content.endswith(wanted[rewrite])


async def test_forks_of_a_quarantined_message_are_held_with_it() -> None:
    """Nothing of it is lost, nothing goes on."""

    def split(event: EndOfData) -> Quarantine:
        event.message.fork([event.message.recipients[1]])
        return Quarantine("odd")

    async with Running(AtEndOfData(split), Mailbox()) as server:
        await deliver_one(server, "a@example.com", "b@example.com")
        assert [entry.held for entry in server.kept()] == ["odd", "odd"]


async def test_no_message_is_worked_on_twice_at_once(tmp_path: Path) -> None:
    """Looking into the spool while mail is being accepted starts nothing that will be offered anyway."""
    seen: Counter[str] = Counter()

    class Count(Sink[None]):
        @on(LocalDelivery)
        async def deliver(self, event: LocalDelivery) -> Delivered:
            seen[event.message.id] += 1
            return Delivered()

    async with Running(Count(), spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        clients = [await server.client() for _ in range(20)]
        going = True

        async def look() -> None:
            while going:
                server.transport.scheduler.wake()
                await asyncio.sleep(0)

        looking = asyncio.ensure_future(look())
        for _ in range(20):
            await asyncio.gather(*(client.send() for client in clients))
        await empty(server)
        going = False
        await looking
        for client in clients:
            client.close()
    assert len(seen) == 400
    assert set(seen.values()) == {1}
