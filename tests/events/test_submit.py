"""Mail that sinks write: submitted once, only when it is new, from the loop or a thread, and delivered like any other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from events.harness import FakeBackplane, Harness, message_work
from penstock import Message, Sink, on
from penstock.errors import StorageUnavailable
from penstock.events import LocalDelivery, Submission
from penstock.events.views import Server
from penstock.events.work import MessageWork, Scope
from penstock.verdicts import Delivered


class Writes(Sink):
    """Submits what it is told to."""

    def __init__(self, choose: Callable[[Submission], Message]) -> None:
        super().__init__()
        self.choose = choose

    @on(Submission)
    async def write(self, event: Submission) -> None:
        await event.server.submit(self.choose(event))


def new(event: Any) -> Message:
    """A new message."""
    message: Message = event.server.new_message(sender="", recipients=["audit@example.com"], content=b"A: 1\r\n\r\n")
    return message


@pytest.mark.parametrize("choose", [lambda e: e.message, lambda e: e.message.fork(["bob@example.com"])])
async def test_a_message_that_is_not_new_cannot_be_submitted(choose: Callable[[Submission], Message]) -> None:
    """It is under way already: a second one with its id would be another, or a loop."""
    harness = Harness.of(Writes(choose))
    work = message_work()
    assert (await harness.outcome(Submission(harness.facts(work)))).failed
    assert "is not new: only what new_message returns can be submitted" in harness.log.lines[0]["error"]
    assert harness.server.submitted == []
    assert work.record == message_work().record


async def test_a_message_is_submitted_once() -> None:
    backplane = FakeBackplane()
    server = Server(backplane, Scope("a", "a"))
    message = server.new_message(sender="", recipients=["a@x"], content=b"")
    await server.submit(message)
    with pytest.raises(ValueError, match="was submitted already"):
        await server.submit(message, reenter=True)
    assert len(backplane.submitted) == 1
    assert backplane.submitted[0].record.skip == ["a"]


async def test_a_message_that_could_not_be_stored_may_be_submitted_again() -> None:
    class Full(FakeBackplane):
        async def submit(self, work: MessageWork) -> str:
            if not self.states:
                raise StorageUnavailable("no room")
            return await super().submit(work)

    backplane = Full()
    server = Server(backplane, Scope("a", "a"))
    message = server.new_message(sender="", recipients=["a@x"], content=b"")
    with pytest.raises(StorageUnavailable):
        await server.submit(message)
    backplane.states["room"] = {}
    await server.submit(message)
    assert [work.record.skip for work in backplane.submitted] == [["a"]]


async def test_what_is_done_to_a_message_after_it_was_submitted_reaches_nobody() -> None:
    backplane = FakeBackplane()
    server = Server(backplane, Scope("a", "a"))
    message = server.new_message(sender="", recipients=["a@x"], content=b"")
    recipient = message.recipients[0]
    recipient.properties["list"] = [1]
    await server.submit(message)
    recipient.properties["list"].append(object())
    message.sender = "late@example.com"
    (work,) = backplane.submitted
    assert work.record.envelope.recipients[0].properties == {"list": [1]}
    assert work.record.envelope.sender.is_null


def test_a_new_message_cannot_be_forked() -> None:
    message = Server(FakeBackplane(), Scope("a", "a")).new_message(sender="", recipients=["a@x", "b@x"], content=b"")
    with pytest.raises(ValueError, match="make another one"):
        message.fork(["a@x"])


async def test_a_plain_def_submits_from_its_thread() -> None:
    class Files(Sink):
        @on(Submission)
        def file(self, event: Submission) -> None:
            assert threading.current_thread() is not threading.main_thread()
            ids.append(event.server.submit_now(new(event)))
            with pytest.raises(ValueError, match="is not new"):
                event.server.submit_now(event.message)

    ids: list[str] = []
    harness = Harness.of(Files())
    assert await harness.ask(harness.make(Submission)) is None
    assert harness.log.lines == []
    assert [work.record.id for work in harness.server.submitted] == ids == ["new1"]


async def test_on_the_loop_submit_now_is_refused_since_it_would_wait_for_itself() -> None:
    class Inline(Sink):
        @on(Submission, blocking=False)
        def file(self, event: Submission) -> None:
            event.server.submit_now(new(event))

    class Loop(Sink):
        @on(Submission)
        async def file(self, event: Submission) -> None:
            event.server.submit_now(new(event))

    for sink in (Inline(), Loop()):
        harness = Harness.of(sink)
        assert (await harness.outcome(harness.make(Submission))).failed
        assert "elsewhere it is 'await submit(...)'" in harness.log.lines[0]["error"]
        assert harness.server.submitted == []


async def test_a_sink_that_writes_mail_still_delivers_what_it_wrote() -> None:
    """Only at Submission, where it would write again, is it left out."""

    class Both(Sink):
        @on(Submission)
        async def write(self, event: Submission) -> None:
            asked.append("submission")

        @on(LocalDelivery)
        async def deliver(self, event: LocalDelivery) -> Delivered:
            asked.append("delivery")
            return Delivered()

    asked: list[str] = []
    work = message_work(skip=["sink0"])
    harness = Harness.of(Both())
    assert await harness.ask(harness.make(Submission, work)) is None
    assert await harness.ask(harness.make(LocalDelivery, work)) == Delivered()
    assert asked == ["delivery"]
