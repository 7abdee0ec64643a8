"""The dispatcher: who is asked, in which order, when it stops, and what becomes of a sink that fails."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from typing import Any

import pytest

from events.harness import Harness, message_work, session_work
from penstock import Address, Match, Recipient, Sink, on
from penstock.events import Ehlo, MailFrom, RcptTo, Submission
from penstock.events.dispatch import Outcome
from penstock.events.plug import Plug
from penstock.verdicts import Defer, Discard, Reject, Rewrite, Verdict


class Says(Sink):
    """Notes that it was asked, and answers as told."""

    def __init__(self, name: str, notes: list[str], verdict: Any = None) -> None:
        super().__init__()
        self.name, self.notes, self.verdict = name, notes, verdict

    @on(RcptTo, blocking=False)
    def answer(self, event: RcptTo) -> Any:
        self.notes.append(self.name)
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict


def rcpt(harness: Harness, address: str = "bob@example.com") -> RcptTo:
    """A RCPT."""
    return RcptTo(harness.facts(message_work(), session_work()), Recipient(Address.parse(address)))


async def test_an_event_that_nobody_bound_proceeds_at_once() -> None:
    harness = Harness.of(Says("a", []))
    assert harness.dispatcher.ask(harness.make(Ehlo), harness.bindings.chain(Ehlo)) == Outcome()


async def test_bindings_are_asked_in_order_of_priority_and_ties_in_order_of_registration() -> None:
    notes: list[str] = []
    order = [("late", 30000), ("tie1", 100), ("first", 0), ("tie2", 100), ("last", 32767), ("tie3", 100)]
    harness = Harness([Plug(name, Says(name, notes), priority) for name, priority in order])
    assert await harness.ask(rcpt(harness)) is None
    assert notes == ["first", "tie1", "tie2", "tie3", "late", "last"]


async def test_the_first_final_verdict_ends_the_chain_and_names_its_binding() -> None:
    notes: list[str] = []
    refusal = Reject(550, "5.7.1", "no")
    harness = Harness.of(Says("a", notes), Says("b", notes, refusal), Says("c", notes))
    assert await harness.outcome(rcpt(harness)) == Outcome(refusal, "sink1")
    assert notes == ["a", "b"]


async def test_a_rewritten_address_is_what_the_next_binding_sees() -> None:
    class Refuses(Sink):
        @on(RcptTo)
        async def refuse(self, event: RcptTo) -> Reject:
            return Reject(550, "5.1.1", str(event.recipient.address))

    harness = Harness.of(Says("a", [], Rewrite("carol@example.com")), Refuses())
    assert await harness.ask(rcpt(harness)) == Reject(550, "5.1.1", "carol@example.com")


@pytest.mark.parametrize("mode", ["inline", "loop", "thread"])
async def test_a_rewrite_goes_on_and_the_server_sees_it_in_every_mode(mode: str) -> None:
    class Inline(Sink):
        @on(RcptTo, blocking=False)
        def rewrite(self, event: RcptTo) -> Rewrite:
            event.recipient.properties["was"] = str(event.recipient.address)
            return Rewrite("carol@example.com")

    class Loop(Sink):
        @on(RcptTo)
        async def rewrite(self, event: RcptTo) -> Rewrite:
            return Inline.rewrite(self, event)  # type: ignore[arg-type]

    class Thread(Sink):
        @on(RcptTo)
        def rewrite(self, event: RcptTo) -> Rewrite:
            return Inline.rewrite(self, event)  # type: ignore[arg-type]

    sink = {"inline": Inline, "loop": Loop, "thread": Thread}[mode]()
    harness = Harness.of(sink, Says("next", notes := []))
    assert harness.bindings.all[0].mode == mode
    event = rcpt(harness)
    assert await harness.ask(event) is None
    assert notes == ["next"]
    assert str(event.work.address) == "carol@example.com"
    assert event.work.properties == {"was": "bob@example.com"}


async def test_a_rewritten_sender_is_the_messages_sender() -> None:
    class Forge(Sink):
        @on(MailFrom, blocking=False)
        def rewrite(self, event: MailFrom) -> Rewrite:
            assert str(event.sender) == "alice@example.com"
            return Rewrite("")

    work = message_work()
    harness = Harness.of(Forge())
    await harness.ask(harness.make(MailFrom, work))
    assert work.record.envelope.sender.is_null


@pytest.mark.parametrize("bad", ["no address", "", None, 7])
async def test_a_rewrite_to_what_is_no_address_is_a_failure_and_undoes_the_handlers_edits(bad: Any) -> None:
    class Careless(Sink):
        @on(RcptTo, blocking=False)
        def rewrite(self, event: RcptTo) -> Rewrite:
            event.session.state["seen"] = True
            event.recipient.properties["seen"] = True
            return Rewrite(bad)

    harness = Harness.of(Careless())
    event = rcpt(harness)
    outcome = await harness.outcome(event)
    assert outcome.failed
    assert isinstance(outcome.verdict, Defer)
    assert event.work.properties == {}
    assert event.facts.session is not None
    assert event.facts.session.states == {}


async def test_inline_bindings_are_asked_without_a_coroutine_and_the_rest_from_the_first_that_waits() -> None:
    class Waits(Sink):
        @on(RcptTo)
        async def wait(self, event: RcptTo) -> None:
            notes.append("waits")

    notes: list[str] = []
    harness = Harness.of(Says("a", notes), Says("b", notes))
    assert isinstance(harness.dispatcher.ask(rcpt(harness), harness.bindings.chain(RcptTo)), Outcome)
    harness = Harness.of(Says("c", notes), Waits(), Says("d", notes, Discard()))
    answer = harness.dispatcher.ask(rcpt(harness), harness.bindings.chain(RcptTo))
    assert not isinstance(answer, Outcome)
    assert notes == ["a", "b", "c"]
    assert (await answer).verdict == Discard()
    assert notes == ["a", "b", "c", "waits", "d"]


async def test_each_kind_of_handler_runs_where_it_belongs() -> None:
    where: dict[str, bool] = {}
    here = threading.get_ident()

    class Loop(Sink):
        @on(RcptTo)
        async def run(self, event: RcptTo) -> None:
            where["loop"] = threading.get_ident() == here

    class Thread(Sink):
        @on(RcptTo)
        def run(self, event: RcptTo) -> None:
            where["thread"] = threading.get_ident() == here

    class Inline(Sink):
        @on(RcptTo, blocking=False)
        def run(self, event: RcptTo) -> None:
            where["inline"] = threading.get_ident() == here

    harness = Harness.of(Loop(), Thread(), Inline())
    await harness.ask(rcpt(harness))
    assert where == {"loop": True, "thread": False, "inline": True}
    assert [binding.mode for binding in harness.bindings.all] == ["loop", "thread", "inline"]
    assert [b.mode for b in Harness.of(Thread(), Inline(), run_in="loop").bindings.all] == ["inline", "inline"]
    assert [b.mode for b in Harness.of(Thread(), Inline(), run_in="thread").bindings.all] == ["thread", "thread"]


async def test_an_async_handler_past_its_deadline_is_cancelled_and_deferred() -> None:
    cancelled = []

    class Slow(Sink):
        @on(RcptTo)
        async def wait(self, event: RcptTo) -> Reject:
            event.recipient.properties["late"] = True
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
            return Reject()

    harness = Harness.of(Slow(), timeout=0.01)
    event = rcpt(harness)
    outcome = await harness.outcome(event)
    assert outcome == Outcome(Defer(451, "4.3.0", "Temporary failure, please try again later"), "sink0", failed=True)
    await asyncio.sleep(0)
    assert cancelled == [True]
    assert event.work.properties == {}
    assert "no answer within 0.01 s" in harness.log.lines[0]["error"]


async def test_an_answer_of_a_handler_that_ignored_its_cancellation_comes_too_late() -> None:
    class Stubborn(Sink):
        @on(RcptTo)
        async def wait(self, event: RcptTo) -> Reject:
            event.recipient.properties["late"] = True
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return Reject()

    harness = Harness.of(Stubborn(), timeout=0.01)
    event = rcpt(harness)
    assert (await harness.outcome(event)).failed
    assert event.work.properties == {}


async def test_a_timeout_of_the_handlers_own_is_an_error_like_any_other() -> None:
    class Asks(Sink):
        @on(RcptTo)
        async def wait(self, event: RcptTo) -> None:
            raise TimeoutError("some database")

    harness = Harness.of(Asks())
    assert (await harness.outcome(rcpt(harness))).failed
    assert harness.log.lines[0]["error"] == "TimeoutError: some database"


async def test_a_runaway_thread_edits_nothing_and_the_chain_goes_on_without_it() -> None:
    """The thread is let go after its deadline, edits all it can reach, and returns a verdict; none of it may be seen."""
    late, done = threading.Event(), threading.Event()

    class Runaway(Sink):
        @on(RcptTo)
        def run(self, event: RcptTo) -> Reject:
            late.wait()
            event.recipient.properties["late"] = True
            event.recipient.address = Address.parse("late@example.com")
            event.session.state["late"] = True
            event.message.sender = "late@example.com"
            event.message.state["late"] = True
            event.message.header.add("X-Late", "yes")
            done.set()
            return Reject(550, "5.0.0", "late")

    class Next(Sink):
        @on(RcptTo)
        async def rewrite(self, event: RcptTo) -> Rewrite:
            late.set()
            await asyncio.to_thread(done.wait)
            assert event.recipient.properties == {}
            event.recipient.properties["next"] = True
            return Rewrite("next@example.com")

    plugs = [Plug("runaway", Runaway(), timeout=0.01, on_error="continue"), Plug("next", Next())]
    harness = Harness(plugs)
    event = rcpt(harness)
    assert await harness.outcome(event) == Outcome()
    assert str(event.work.address) == "next@example.com"
    assert event.work.properties == {"next": True}
    facts = event.facts
    assert facts.session is not None
    assert facts.message is not None
    assert facts.session.states == {}
    assert facts.message.record == message_work().record
    assert [b.counters.errors for b in harness.bindings.all] == [1, 0]


@pytest.mark.parametrize(
    ("on_error", "verdict", "asked"),
    [
        ("defer", Defer(451, "4.3.0", "Temporary failure, please try again later"), ["a"]),
        ("reject", Reject(554, "5.3.0", "The message cannot be handled"), ["a"]),
        ("continue", None, ["a", "b"]),
    ],
)
@pytest.mark.parametrize("error", [ValueError("secret path /etc/x"), SystemExit(3)])
async def test_on_error_decides_what_a_failure_means(
    on_error: Any, verdict: Verdict | None, asked: list[str], error: BaseException
) -> None:
    notes: list[str] = []
    plugs = [Plug("a", Says("a", notes, error), on_error=on_error), Plug("b", Says("b", notes))]
    harness = Harness(plugs)
    outcome = await harness.outcome(rcpt(harness))
    assert outcome.verdict == verdict
    assert outcome.failed == (verdict is not None)
    assert notes == asked


async def test_the_text_of_an_exception_is_in_the_log_with_the_ids_and_never_in_the_outcome() -> None:
    harness = Harness.of(Says("a", [], ValueError("secret path /etc/x")))
    assert "secret" not in repr(await harness.outcome(rcpt(harness)))
    (line,) = harness.log.lines
    assert line["error"] == "ValueError: secret path /etc/x"
    assert (line["binding"], line["event_name"], line["message"], line["session"]) == ("sink0", "RcptTo", "m1", "s1")
    assert isinstance(line["exc_info"], ValueError)


@pytest.mark.parametrize("wrong", [True, 250, "550 no", Reject, Verdict(), object()])
async def test_an_answer_that_the_event_does_not_admit_is_the_sinks_failure(wrong: Any) -> None:
    harness = Harness.of(Says("a", [], wrong))
    outcome = await harness.outcome(rcpt(harness))
    assert outcome.failed
    assert "RcptTo cannot be answered with" in harness.log.lines[0]["error"]
    assert harness.bindings.all[0].counters.verdicts == 0


async def test_a_condition_that_raises_is_the_bindings_failure_and_not_the_servers() -> None:
    def broken(event: Any) -> bool:
        raise KeyError("oops")

    notes: list[str] = []
    for on_error, verdicts in (("defer", Defer), ("continue", type(None))):
        plugs = [Plug("a", Says("a", notes), match=Match(when=broken), on_error=on_error), Plug("b", Says("b", notes))]  # type: ignore[arg-type]
        harness = Harness(plugs)
        assert isinstance(await harness.ask(rcpt(harness)), verdicts)
        assert harness.bindings.all[0].counters.errors == 1
    assert notes == ["b"]


async def test_a_condition_that_raises_after_a_binding_that_waited_is_handled_too() -> None:
    def broken(event: Any) -> bool:
        raise KeyError("oops")

    class Waits(Sink):
        @on(RcptTo)
        async def wait(self, event: RcptTo) -> None: ...

    harness = Harness([Plug("a", Waits()), Plug("b", Waits(), match=Match(when=broken))])
    assert (await harness.outcome(rcpt(harness))).by == "b"


async def test_counters_tell_asked_matched_verdicts_errors_and_time() -> None:
    plugs = [
        Plug("no", Says("no", []), 0, Match(helo="other.example")),
        Plug("bad", Says("bad", [], ValueError()), 1, on_error="continue"),
        Plug("yes", Says("yes", [], Discard()), 2),
        Plug("never", Says("never", []), 3),
    ]
    harness = Harness(plugs)
    for _ in range(3):
        await harness.ask(rcpt(harness))
    counted = {b.name: (b.counters.asked, b.counters.matched, b.counters.verdicts, b.counters.errors) for b in harness.bindings.all}
    assert counted == {"no": (3, 0, 0, 0), "bad": (3, 3, 0, 3), "yes": (3, 3, 3, 0), "never": (0, 0, 0, 0)}
    assert harness.bindings.all[2].counters.seconds > 0
    assert harness.bindings.all[0].counters.seconds == 0


async def test_a_binding_without_a_condition_sees_no_recipients_of_the_one_before() -> None:
    class Looks(Sink):
        @on(RcptTo, blocking=False)
        def look(self, event: RcptTo) -> None:
            matched.append(len(event.matched_recipients))

    matched: list[int] = []
    harness = Harness([Plug("a", Looks(), match=Match(recipient="example.com")), Plug("b", Looks())])
    await harness.ask(rcpt(harness))
    assert matched == [1, 0]


async def test_a_stage_asks_a_binding_once_and_never_about_its_own_mail() -> None:
    asked: list[str] = []

    class Sees(Sink):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        @on(Submission)
        async def see(self, event: Submission) -> None:
            asked.append(self.name)

    work = message_work(skip=["own"])
    harness = Harness([Plug("own", Sees("own")), Plug("other", Sees("other"))])
    await harness.ask(Submission(harness.facts(work)))
    await harness.ask(Submission(harness.facts(work), 2))
    assert asked == ["other"]
    assert work.record.done == ["other:see"]


async def test_a_binding_whose_verdict_ended_the_stage_is_asked_again_next_time() -> None:
    class Holds(Sink):
        @on(Submission)
        async def hold(self, event: Submission) -> Defer | None:
            return Defer() if event.attempt == 1 else None

    work = message_work()
    harness = Harness.of(Holds())
    assert await harness.ask(Submission(harness.facts(work), 1)) == Defer()
    assert work.record.done == []
    assert await harness.ask(Submission(harness.facts(work), 2)) is None


async def test_exiting_from_a_thread_ends_the_handler_and_not_the_server() -> None:
    class Exits(Sink):
        @on(RcptTo)
        def leave(self, event: RcptTo) -> None:
            sys.exit(1)

    harness = Harness.of(Exits())
    assert (await harness.outcome(rcpt(harness))).failed
