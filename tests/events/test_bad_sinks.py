"""Sinks that do all that a sink should not: the message's outcome follows on_error, nothing of theirs stays, and everybody can see it.

What a sink does to a whole process (os._exit, memory, a spin that keeps the interpreter) is tested where sinks have one of their own."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from events.harness import MAIL, Harness, addresses, content_of, message_work
from events.test_tracing import Notes
from penstock import Sink, on
from penstock.events import EndOfData
from penstock.events.plug import Plug
from penstock.verdicts import Discard, Respond, Rewrite


class Odd(BaseException):
    """An exception that is no Exception."""


def raises(error: BaseException) -> Callable[[EndOfData], Any]:
    """A deed that raises."""

    def deed(event: EndOfData) -> None:
        raise error

    return deed


def edits(then: Callable[[EndOfData], Any]) -> Callable[[EndOfData], Any]:
    """A deed that edits all that can be edited, and then does another."""

    def deed(event: EndOfData) -> Any:
        assert event.message is not None
        event.message.recipients.add("evil@example.com")
        event.message.recipients.remove("bob@example.com")
        event.message.sender = "evil@example.com"
        event.message.header.add("X-Evil", "yes")
        event.message.replace_content(b"Subject: evil\r\n\r\nevil\r\n")
        event.message.state["evil"] = True
        event.session.state["evil"] = True
        return then(event)

    return deed


def endless(event: EndOfData) -> None:
    """Recurses until the interpreter has enough."""
    endless(event)


DEEDS: dict[str, tuple[Callable[[EndOfData], Any], str]] = {
    "raises": (raises(ValueError("broken")), "ValueError: broken"),
    "exits": (lambda event: sys.exit(3), "SystemExit: 3"),
    "has no memory": (raises(MemoryError()), "MemoryError"),
    "recurses": (endless, "RecursionError"),
    "raises what is no Exception": (raises(Odd("odd")), "Odd"),
    "gives what is no verdict": (lambda event: 250, "EndOfData cannot be answered with 250"),
    "gives a verdict of another event": (lambda event: Respond(250, "2.0.0", "ok"), "cannot be answered with Respond"),
    "gives an edit of another event": (lambda event: Rewrite("a@b"), "cannot be answered with Rewrite"),
    "gives the class for the verdict": (lambda event: Discard, "cannot be answered with <class"),
    "edits and raises": (edits(raises(ValueError("late"))), "ValueError: late"),
    "edits and gives what is no verdict": (edits(lambda event: "ok"), "cannot be answered with 'ok'"),
}


class Inline(Sink):
    """Does it on the loop."""

    def __init__(self, deed: Callable[[EndOfData], Any]) -> None:
        super().__init__()
        self.deed = deed

    @on(EndOfData, blocking=False)
    def look(self, event: EndOfData) -> Any:
        return self.deed(event)


class Later(Inline):
    """Does it when it has its turn."""

    @on(EndOfData)
    async def look(self, event: EndOfData) -> Any:
        await asyncio.sleep(0)
        return self.deed(event)


class Thread(Inline):
    """Does it in a thread."""

    @on(EndOfData)
    def look(self, event: EndOfData) -> Any:
        return self.deed(event)


class Next(Sink):
    """Who is asked after it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[str]] = []

    @on(EndOfData)
    async def look(self, event: EndOfData) -> None:
        assert event.message is not None
        self.seen.append([str(r.address) for r in event.message.recipients])


@pytest.mark.parametrize(("on_error", "code"), [("defer", 451), ("reject", 554), ("continue", None)])
@pytest.mark.parametrize("kind", [Inline, Later, Thread])
@pytest.mark.parametrize("deed", DEEDS)
async def test_it_hurts_only_itself_and_everybody_can_see_what_it_did(kind: Any, deed: str, on_error: Any, code: int | None) -> None:
    does, error = DEEDS[deed]
    after, notes = Next(), Notes()
    harness = Harness([Plug("bad", kind(does), on_error=on_error), Plug("next", after)])
    for traced in (False, True):
        harness.dispatcher.tracer = notes if traced else None
        work = message_work()
        outcome = await harness.outcome(harness.make(EndOfData, work))
        assert getattr(outcome.verdict, "code", None) == code
        assert outcome.failed is (code is not None)
        assert (addresses(work), str(work.record.envelope.sender), work.record.state) == (["bob@example.com"], "alice@example.com", {})
        assert content_of(work) == MAIL
        assert work.dirty is False
    assert after.seen == ([["bob@example.com"]] * 2 if code is None else [])
    lines = [line for line in harness.log.lines if line["event"] == "sink failed"]
    assert [(line["binding"], line["event_name"], line["message"], line["on_error"]) for line in lines] == [
        ("bad", "EndOfData", "m1", on_error)
    ] * 2
    assert all(error in line["error"] for line in lines)
    counters = harness.bindings.chain(EndOfData)[0].counters
    assert (counters.matched, counters.errors, counters.verdicts) == (2, 2, 0)
    (answered,) = [told for told in notes.told if told[:2] == ("answered", "bad")]
    assert answered[2] is None
    assert error in answered[3]


@pytest.mark.parametrize("on_error", ["defer", "continue"])
async def test_one_that_hangs_is_left_at_its_deadline_with_all_that_it_edited(on_error: Any) -> None:
    end = threading.Event()

    class HangsInThread(Sink):
        @on(EndOfData)
        def look(self, event: EndOfData) -> Any:
            return edits(lambda event: end.wait(10) and None)(event)

    class HangsOnLoop(Sink):
        @on(EndOfData)
        async def look(self, event: EndOfData) -> Any:
            edits(lambda event: None)(event)
            await asyncio.Event().wait()

    for sink in (HangsInThread(), HangsOnLoop()):
        after = Next()
        harness = Harness([Plug("bad", sink, timeout=0.05, on_error=on_error), Plug("next", after)])
        work = message_work()
        outcome = await harness.outcome(harness.make(EndOfData, work))
        assert outcome.failed is (on_error == "defer")
        assert addresses(work) == ["bob@example.com"]
        assert content_of(work) == MAIL
        assert "no answer within 0.05 s" in harness.log.lines[0]["error"]
        assert len(after.seen) == (on_error == "continue")
    end.set()
