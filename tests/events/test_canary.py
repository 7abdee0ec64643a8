"""Canaries: which part of the traffic they get, who is asked about the rest, and when they are taken back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from events.harness import Harness, message_work, session_work
from penstock import Address, Match, Recipient, Sink, on
from penstock.events import Ehlo, RcptTo, Submission
from penstock.events.binding import Bindings
from penstock.events.canary import is_refusal, share
from penstock.events.plug import BreakerSettings, CanarySettings, Plug
from penstock.verdicts import Defer, Reject, Respond, Rewrite

NO_BREAKER = BreakerSettings(failures=0)


class Counts(Sink):
    """Notes the ids that it was asked about."""

    def __init__(self, verdict: Any = None) -> None:
        super().__init__()
        self.verdict = verdict
        self.ids: list[str] = []

    @on(RcptTo, blocking=False)
    def answer(self, event: RcptTo) -> Any:
        assert event.message is not None
        self.ids.append(event.message.id)
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict


def pair(new: Sink[Any], old: Sink[Any], more: dict[str, Any] | None = None, **canary: Any) -> Harness:
    """A canary that is to replace another binding."""
    settings = CanarySettings(**{"percent": 30, "replaces": "old", "after": 20, **canary})
    plugs = [Plug("old", old, where="test", on_error="continue")]
    harness = Harness([*plugs, Plug("new", new, where="test", canary=settings, on_error="continue", **(more or {}))])
    harness.bindings = Bindings(harness.plugs, log=harness.log)  # type: ignore[arg-type]
    return harness


async def ask(harness: Harness, number: int, session: str = "", to: str = "bob@example.com") -> Any:
    """Asks about a recipient of one of many messages."""
    facts = harness.facts(message_work(id=f"m{number}"), session_work(id=session or f"s{number}"))
    return await harness.ask(RcptTo(facts, Recipient(Address.parse(to))))


def rolled_back(harness: Harness) -> str:
    """Why the canary was taken back."""
    return next(plug for plug in harness.bindings.plugs if plug.name == "new").standing.rolled_back


async def test_each_message_goes_to_one_of_the_two_and_always_to_the_same() -> None:
    new, old = Counts(), Counts()
    harness = pair(new, old)
    for number in range(1000):
        await ask(harness, number)
        await ask(harness, number)
    assert not set(new.ids) & set(old.ids)
    assert len(set(new.ids) | set(old.ids)) == 1000
    assert len(new.ids) == 2 * len(set(new.ids))
    assert 250 < len(set(new.ids)) < 350
    other = pair(Counts(), Counts())
    assert [await ask(other, n) for n in range(3)] == [None] * 3
    assert {i for i in ("m0", "m1", "m2") if share("new", i) < 30} == {i for i in new.ids if i in ("m0", "m1", "m2")}


async def test_by_session_all_messages_of_a_session_go_the_same_way() -> None:
    new, old = Counts(), Counts()
    harness = pair(new, old, sticky="session")
    for number in range(400):
        await ask(harness, number, session=f"s{number // 10}")
    sizes = {sum(1 for i in new.ids if int(i[1:]) // 10 == session) for session in range(40)}
    assert sizes == {0, 10}


async def test_by_session_a_message_in_transport_goes_the_way_of_the_session_it_came_in() -> None:
    asked = []

    class Late(Sink):
        @on(Ehlo, blocking=False)
        def early(self, event: Ehlo) -> None:
            asked.append(("early", event.session.id))

        @on(Submission, blocking=False)
        def late(self, event: Submission) -> None:
            asked.append(("late", event.message.id.removeprefix("m-")))

    settings = CanarySettings(40, sticky="session")
    harness = Harness([Plug("new", Late(), where="test", canary=settings)])
    for number in range(50):
        await harness.ask(Ehlo(harness.facts(None, session_work(id=f"s{number}")), "x", []))
        await harness.ask(Submission(harness.facts(message_work(id=f"m-s{number}", session=f"s{number}"))))
    early, late = ({i for what, i in asked if what == which} for which in ("early", "late"))
    assert early == late
    assert 0 < len(early) < 50


async def test_without_conditions_of_its_own_that_hold_the_old_one_is_asked() -> None:
    """Else a canary for one domain would leave all others without a policy."""
    new, old = Counts(), Counts()
    harness = pair(new, old, {"match": Match(recipient="*@new.example")}, percent=100)
    await ask(harness, 1, to="bob@old.example")
    await ask(harness, 2, to="bob@new.example")
    assert (old.ids, new.ids) == (["m1"], ["m2"])


async def test_at_an_event_that_the_canary_does_not_handle_the_old_one_is_asked() -> None:
    class Both(Counts):
        @on(Ehlo, blocking=False)
        def greet(self, event: Ehlo) -> None:
            self.ids.append("ehlo")

    new, old = Counts(), Both()
    harness = pair(new, old, percent=100)
    await harness.ask(Ehlo(harness.facts(None, session_work()), "x", []))
    await ask(harness, 1)
    assert (old.ids, new.ids) == (["ehlo"], ["m1"])


@pytest.mark.parametrize("more", [{"enabled": False}, {"expires": 1.0}, {"max_firings": 1}, {"mode": "shadow"}, {"sample": 0.0001}])
async def test_a_canary_that_is_not_asked_replaces_nothing(more: dict[str, Any]) -> None:
    new, old = Counts(), Counts()
    harness = pair(new, old, more, percent=100)
    await ask(harness, 1)
    await ask(harness, 2)
    await harness.dispatcher.drain()
    assert "m2" in old.ids


async def test_errors_take_it_back_and_the_old_one_gets_all_again() -> None:
    new, old = Counts(RuntimeError("bang")), Counts()
    harness = pair(new, old, {"breaker": NO_BREAKER}, percent=50)
    for number in range(200):
        await ask(harness, number)
    assert len(new.ids) == 20
    assert rolled_back(harness).startswith("100.0 % of its calls failed")
    (line,) = [line for line in harness.log.lines if line["event"] == "canary rolled back"]
    assert (line["binding"], line["replaces"]) == ("new", "old")
    before = len(old.ids)
    for number in range(100):
        await ask(harness, number)
    assert len(old.ids) == before + 100


async def test_a_few_errors_do_not() -> None:
    class Seldom(Counts):
        @on(RcptTo, blocking=False)
        def answer(self, event: RcptTo) -> None:
            self.ids.append("x")
            if len(self.ids) % 50 == 25:
                raise RuntimeError("bang")

    harness = pair(Seldom(), Counts(), percent=100, most_errors=6)
    for number in range(300):
        await ask(harness, number)
    assert rolled_back(harness) == ""


async def test_old_calls_are_forgotten_so_that_a_late_fault_is_seen() -> None:
    new = Counts()
    harness = pair(new, Counts(), {"breaker": NO_BREAKER}, percent=100)
    for number in range(5000):
        await ask(harness, number)
    new.verdict = RuntimeError("bang")
    for number in range(20):
        await ask(harness, number)
    assert rolled_back(harness)


async def test_slowness_takes_it_back() -> None:
    class Slow(Sink):
        @on(RcptTo)
        async def wait(self, event: RcptTo) -> None:
            await asyncio.sleep(0.02)

    harness = pair(Slow(), Counts(), percent=100, after=5, slowest=0.01)
    for number in range(6):
        await ask(harness, number)
    assert "in the mean" in rolled_back(harness)


@pytest.mark.parametrize(("old", "back"), [(None, True), (Reject(), False)])
async def test_refusing_more_than_the_old_one_takes_it_back(old: Any, back: bool) -> None:
    harness = pair(Counts(Reject()), Counts(old), percent=50)
    for number in range(300):
        await ask(harness, number)
    assert bool(rolled_back(harness)) is back
    if back:
        assert rolled_back(harness).startswith("it refused 100.0 % of its calls, old refused 0.0 %")


async def test_one_that_replaces_nothing_may_refuse_so_much_at_most() -> None:
    harness = Harness([Plug("new", Counts(Defer()), where="test", canary=CanarySettings(100, after=10))])
    for number in range(12):
        await ask(harness, number)
    assert rolled_back(harness)


async def test_it_stays_taken_back_over_a_reload_until_what_is_tried_is_another() -> None:
    new, old = Counts(Reject()), Counts()
    harness = pair(new, old, percent=50)
    for number in range(300):
        await ask(harness, number)
    assert rolled_back(harness)
    harness.bindings = Bindings(harness.plugs, harness.bindings)
    assert rolled_back(harness)
    again = pair(Counts(), old, percent=50)
    harness.bindings = Bindings(again.plugs, harness.bindings)
    assert rolled_back(harness) == ""
    for number in range(100):
        await ask(harness, number)
    assert len(again.plugs[1].sink.ids) > 30


def test_what_counts_as_a_refusal() -> None:
    assert all(map(is_refusal, (Reject(), Defer(), Respond(500, "", "no"))))
    assert not any(map(is_refusal, (None, Rewrite("a@b.example"), Respond())))
