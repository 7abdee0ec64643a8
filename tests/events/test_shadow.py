"""Shadows: asked about a copy, in the background, and only compared with what counted."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest

from events.harness import Harness, addresses, content_of, message_work, session_work
from events.test_dispatch import rcpt
from penstock import Address, Match, PerSession, Sink, on
from penstock.events import Accepted, Ehlo, EndOfData, MailFrom, RcptTo, SessionStart, Submission, Verb
from penstock.events import shadow as module
from penstock.events.dispatch import Outcome
from penstock.events.plug import CanarySettings, Plug
from penstock.mail.reply import Reply
from penstock.verdicts import Defer, Disconnect, Drop, Reject, Respond, Rewrite


class Answers(Sink):
    """Answers RCPT as told."""

    def __init__(self, verdict: Any = None) -> None:
        super().__init__()
        self.verdict = verdict
        self.asked = 0

    @on(RcptTo, blocking=False)
    def answer(self, event: RcptTo) -> Any:
        self.asked += 1
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict


def beside(shadow: Sink[Any], *active: Sink[Any], priority: int = 20000, **more: Any) -> Harness:
    """A shadow, and bindings beside it."""
    plugs = [Plug(f"active{n}", sink, 20000 + n, where="test") for n, sink in enumerate(active)]
    return Harness([*plugs, Plug("shadow", shadow, priority, mode="shadow", where="test", **more)])


def counted(harness: Harness) -> tuple[int, int]:
    """How often the shadow agreed and differed, all its handlers together."""
    mine = [b for b in harness.bindings.all if b.name == "shadow"]
    return sum(b.counters.agreed for b in mine), sum(b.counters.differed for b in mine)


def said(harness: Harness, what: str) -> list[dict[str, Any]]:
    """The log lines of a kind."""
    return [line for line in harness.log.lines if line["event"] == what]


async def test_a_shadow_answers_nothing() -> None:
    shadow = Answers(Reject())
    harness = beside(shadow)
    assert await harness.outcome(rcpt(harness)) == Outcome()
    await harness.dispatcher.drain()
    assert shadow.asked == 1


@pytest.mark.parametrize(
    ("mine", "theirs", "agrees"),
    [
        (None, None, True),
        (Reject(550, "5.7.1", "no"), Reject(550, "5.1.1", "unknown"), True),
        (Reject(550), Reject(554), False),
        (Reject(550), None, False),
        (None, Reject(550), False),
        (Defer(451), Reject(550), False),
        (Defer(451), Disconnect(451), False),
        (Rewrite("carol@example.com"), None, False),
        (Rewrite("carol@example.com"), Rewrite("carol@example.com"), True),
        (Rewrite("carol@example.com"), Rewrite("dave@example.com"), False),
        (None, Rewrite("dave@example.com"), True),
    ],
)
async def test_it_agrees_when_kind_and_code_are_the_same_and_it_edits_nothing_else(mine: Any, theirs: Any, agrees: bool) -> None:
    harness = beside(Answers(mine), Answers(theirs))
    await harness.ask(rcpt(harness))
    await harness.dispatcher.drain()
    assert counted(harness) == ((1, 0) if agrees else (0, 1))
    assert len(said(harness, "shadow differs")) == (0 if agrees else 1)


async def test_a_difference_is_said_with_both_verdicts_and_only_once_in_a_while() -> None:
    harness = beside(Answers(Reject(550, "5.7.1", "no")), Answers(Defer(451, "4.7.1", "later")))
    for _ in range(3):
        await harness.ask(rcpt(harness))
    await harness.dispatcher.drain()
    (line,) = said(harness, "shadow differs")
    assert line["binding"] == "shadow"
    assert line["event_name"] == "RcptTo"
    assert "550" in line["verdict"]
    assert "451" in line["counted"]
    assert counted(harness) == (0, 3)


async def test_it_is_not_asked_where_somebody_before_it_decided() -> None:
    shadow = Answers(None)
    harness = beside(shadow, Answers(Reject()), priority=30000)
    await harness.ask(rcpt(harness))
    await harness.dispatcher.drain()
    assert shadow.asked == 0
    assert counted(harness) == (0, 0)


async def test_one_that_is_to_replace_a_binding_is_compared_with_that_one_alone() -> None:
    harness = beside(Answers(None), Answers(None), Answers(Reject()), canary=CanarySettings(100, replaces="active0"))
    assert isinstance(await harness.ask(rcpt(harness)), Reject)
    await harness.dispatcher.drain()
    assert counted(harness) == (1, 0)


class Busy(Sink):
    """Does all that a handler can do to a message."""

    @on(Submission)
    async def work(self, event: Submission) -> Drop:
        event.message.header.add("X-Shadow", "was here")
        event.message.sender = "shadow@example.com"
        event.message.state["seen"] = True
        event.message.recipients.add("more@example.com")
        event.message.fork([event.message.recipients[0]])
        notice = event.server.new_message(sender="", recipients=["audit@example.com"], content=b"Subject: x\r\n\r\n")
        await event.server.submit(notice)
        await event.server.queue.release("mx:example.net")
        event.server.shared("others")["n"] = 99
        return Drop("no")


async def test_nothing_of_what_it_does_to_a_message_or_the_server_counts() -> None:
    harness = beside(Busy())
    harness.server.states["others"] = {"n": 1}
    work = message_work()
    before = content_of(work)
    assert await harness.ask(Submission(harness.facts(work))) is None
    await harness.dispatcher.drain()
    assert content_of(work) == before
    assert addresses(work) == ["bob@example.com"]
    assert str(work.record.envelope.sender) == "alice@example.com"
    assert (work.forks, work.dirty, work.record.state, work.record.done) == ([], False, {}, [])
    assert harness.server.submitted == []
    assert not hasattr(harness.server, "released")
    assert harness.server.states["others"] == {"n": 1}
    (line,) = said(harness, "shadow differs")
    assert line["done"] == ["submit from <> to audit@example.com", "release mx:example.net"]


class Edits(Sink):
    """Edits the header."""

    def __init__(self, *fields: tuple[str, str]) -> None:
        super().__init__()
        self.fields = fields

    @on(EndOfData)
    async def edit(self, event: EndOfData) -> None:
        for name, value in self.fields:
            event.message.header.add(name, value)


@pytest.mark.parametrize(
    ("mine", "theirs", "agrees"),
    [
        ([("X-A", "1")], [("X-A", "1"), ("X-B", "2")], True),
        ([("X-A", "1")], [("X-A", "2")], False),
        ([("X-A", "1"), ("X-A", "1")], [("X-A", "1")], False),
        ([], [("X-A", "1")], True),
    ],
)
async def test_its_edits_must_be_among_those_that_the_others_made(mine: Any, theirs: Any, agrees: bool) -> None:
    harness = beside(Edits(*mine), Edits(*theirs))
    await harness.ask(EndOfData(harness.facts(message_work(), session_work())))
    await harness.dispatcher.drain()
    assert counted(harness) == ((1, 0) if agrees else (0, 1))
    if not agrees:
        assert said(harness, "shadow differs")[0]["edits"] == ["+header X-A: 1"]


async def test_it_is_shown_the_message_as_it_was_before_the_others_edited_it() -> None:
    seen = []

    class Looks(Sink):
        @on(EndOfData)
        async def look(self, event: EndOfData) -> None:
            seen.append("X-A" in event.message.header)

    harness = beside(Looks(), Edits(("X-A", "1")))
    await harness.ask(EndOfData(harness.facts(message_work(), session_work())))
    await harness.dispatcher.drain()
    assert seen == [False]


async def test_what_the_server_does_to_the_envelope_meanwhile_it_does_not_see() -> None:
    seen = []

    class Looks(Sink):
        @on(RcptTo, blocking=False)
        def look(self, event: RcptTo) -> None:
            seen.append((str(event.recipient.address), [str(r.address) for r in event.message.recipients], str(event.message.sender)))

    harness = beside(Looks())
    event = rcpt(harness)
    await harness.ask(event)
    event.work.address = Address.parse("changed@example.com")
    work = event.facts.message
    assert work is not None
    work.record.envelope.recipients.append(event.work)
    work.record.envelope.sender = Address.parse("changed@example.com")
    await harness.dispatcher.drain()
    assert seen == [("bob@example.com", ["bob@example.com"], "alice@example.com")]


class Remembers(Sink):
    """Remembers across the events of a session."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    @on(Ehlo)
    async def note(self, event: Ehlo) -> None:
        await asyncio.sleep(0.01)
        event.session.state["helo"] = event.name

    @on(RcptTo, blocking=False)
    def look(self, event: RcptTo) -> None:
        self.found.append((event.session.state.get("helo"), event.message.state.get("n")))
        event.message.state["n"] = event.message.state.get("n", 0) + 1


async def test_it_finds_what_it_remembered_and_nobody_else_does() -> None:
    shadow = Remembers()
    harness = beside(shadow)
    session, work = session_work(), message_work()
    await harness.ask(Ehlo(harness.facts(None, session), "client.example", []))
    for _ in range(2):
        await harness.ask(RcptTo(harness.facts(work, session), work.record.envelope.recipients[0]))
    await harness.dispatcher.drain()
    assert shadow.found == [("client.example", None), ("client.example", 1)]
    assert session.states == {}
    assert work.record.state == {}


class Visit:
    """What a sink keeps for a session."""

    closed = 0

    def __init__(self) -> None:
        self.recipients = 0

    def close(self) -> None:
        Visit.closed += 1


class Keeps(Sink):
    """Counts recipients in an object that it keeps for the session."""

    visits = PerSession(Visit)

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    @on(RcptTo, blocking=False)
    def count(self, event: RcptTo) -> None:
        self.visits[event].recipients += 1
        self.counts.append(self.visits[event].recipients)


async def test_what_it_keeps_for_a_session_is_kept_until_the_session_is_gone() -> None:
    shadow = Keeps()
    harness = beside(shadow)
    session, work = session_work(), message_work()
    for _ in range(3):
        await harness.ask(RcptTo(harness.facts(work, session), work.record.envelope.recipients[0]))
    await harness.dispatcher.drain()
    assert shadow.counts == [1, 2, 3]
    before = Visit.closed
    del session
    gc.collect()
    await asyncio.sleep(0)
    assert Visit.closed == before + 1
    assert len(shadow.visits) == 0


async def test_nobody_waits_for_it() -> None:
    class Hangs(Sink):
        @on(RcptTo)
        async def wait(self, event: RcptTo) -> None:
            await asyncio.sleep(60)

    harness = beside(Hangs(), timeout=0.2)
    began = time.monotonic()
    assert await harness.ask(rcpt(harness)) is None
    assert time.monotonic() - began < 0.1
    await harness.dispatcher.drain()
    assert said(harness, "shadow failed")[0]["error"].startswith("SinkTimeout")
    assert harness.bindings.all[0].counters.errors == 1


@pytest.mark.parametrize("error", [RuntimeError("bang"), SystemExit(3), asyncio.CancelledError(), RecursionError()])
async def test_one_that_fails_is_counted_and_hurts_nobody(error: BaseException) -> None:
    harness = beside(Answers(error), Answers(None))
    assert await harness.ask(rcpt(harness)) is None
    await harness.dispatcher.drain()
    assert counted(harness) == (0, 0)
    (shadow,) = [b for b in harness.bindings.all if b.name == "shadow"]
    assert shadow.counters.errors == 1
    assert shadow.plug.standing.last_error


async def test_a_verdict_that_does_not_fit_is_an_error() -> None:
    harness = beside(Answers(Drop()))
    await harness.ask(rcpt(harness))
    await harness.dispatcher.drain()
    assert "cannot be answered" in said(harness, "shadow failed")[0]["error"]


async def test_its_conditions_count() -> None:
    shadow = Answers(Reject())
    harness = beside(shadow, match=Match(recipient="*@other.example"))
    await harness.ask(rcpt(harness))
    await harness.dispatcher.drain()
    assert shadow.asked == 0


async def test_reports_are_told_to_it_and_compared_with_nothing() -> None:
    told = []

    class Listens(Sink):
        @on(Accepted)
        async def hear(self, event: Accepted) -> None:
            told.append(event.message.id)
            event.session.state["x"] = 1

    harness = beside(Listens())
    event = harness.make(Accepted)
    await harness.tell(event)
    assert told == ["m1"]
    assert counted(harness) == (0, 0)
    assert event.facts.session is not None
    assert event.facts.session.states == {}


async def test_too_many_that_wait_are_dropped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    harness = beside(Answers(None))
    for _ in range(5):
        await harness.ask(rcpt(harness))
    (shadow,) = harness.bindings.all
    assert shadow.counters.dropped == 2
    assert len(said(harness, "shadow is too slow")) == 1
    await harness.dispatcher.drain()
    assert counted(harness) == (3, 0)
    assert shadow.counters.waiting == 0


class Talks(Sink):
    """Asks the client for a line and the next server for its depth."""

    def __init__(self, *lines: str) -> None:
        super().__init__()
        self.heard: list[Any] = []

    @on(Verb, keyword="XCODE")
    async def ask(self, event: Verb) -> Respond:
        self.heard.append(await event.read_line(Reply(350, "", "Code?")))
        return Respond(250, "2.0.0", "Ok")

    @on(SessionStart)
    async def send(self, event: SessionStart) -> None:
        self.heard.append(str(await event.send("XQDEPTH")))


class Line:
    """A client that says one line."""

    def __init__(self) -> None:
        self.prompts = 0

    async def line(self, prompt: Reply | None) -> bytes:
        self.prompts += 1
        return b"4711"


class Remote:
    """A server that answers a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def send(self, line: str) -> Reply:
        self.lines.append(line)
        return Reply(250, "2.0.0", "7 messages")


async def test_it_hears_what_the_client_said_to_others_and_says_nothing_itself() -> None:
    shadow, client = Talks(), Line()
    harness = beside(shadow, Talks())
    await harness.ask(harness.make(Verb, keyword="XCODE", dialogue=client))
    await harness.dispatcher.drain()
    assert client.prompts == 1
    assert shadow.heard == [b"4711"]
    assert counted(harness) == (1, 0)


async def test_where_the_client_said_nothing_to_others_it_cannot_be_compared() -> None:
    client = Line()
    harness = beside(Talks())
    await harness.ask(harness.make(Verb, keyword="XCODE", dialogue=client))
    await harness.dispatcher.drain()
    assert client.prompts == 0
    assert counted(harness) == (0, 0)
    assert len(said(harness, "shadow cannot be compared")) == 1


async def test_lines_to_the_next_server_are_not_sent_twice() -> None:
    shadow, alone, server = Talks(), Talks(), Remote()
    harness = beside(shadow, Talks())
    await harness.ask(harness.make(SessionStart, wire=server))
    await harness.dispatcher.drain()
    assert server.lines == ["XQDEPTH"]
    assert shadow.heard == ["250 2.0.0 7 messages"]
    harness = beside(alone)
    await harness.ask(harness.make(SessionStart, wire=server))
    await harness.dispatcher.drain()
    assert server.lines == ["XQDEPTH"]
    assert alone.heard[0].startswith("502")


async def test_its_threads_are_its_own() -> None:
    class Plain(Sink):
        @on(MailFrom)
        def look(self, event: MailFrom) -> Reject:
            time.sleep(0.01)
            return Reject(550)

    harness = beside(Plain())
    assert await harness.ask(MailFrom(harness.facts(message_work(), session_work()))) is None
    await harness.dispatcher.drain()
    assert counted(harness) == (0, 1)
