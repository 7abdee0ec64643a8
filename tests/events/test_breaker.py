"""A binding that keeps failing is left alone for a while: questions follow on_error at once, and one call tries if it works again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from events.harness import Harness, message_work
from penstock import Match, Sink, on
from penstock.errors import ClientGone
from penstock.events import Accepted, RcptTo
from penstock.events.binding import Bindings
from penstock.events.dispatch import Dispatcher
from penstock.events.plug import BreakerSettings, Plug
from penstock.verdicts import Defer, Discard, Reject

SETTINGS = BreakerSettings(failures=3, rest=10.0, longest=35.0)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fragile(Sink):
    """Raises what it is given, and counts its calls."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    @on(RcptTo)
    async def look(self, event: RcptTo) -> Discard | None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return None

    @on(Accepted, blocking=False)
    def told(self, event: Accepted) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


class Inline(Fragile):
    """The same without waiting."""

    @on(RcptTo, blocking=False)
    def look(self, event: RcptTo) -> Discard | None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return None


def bound(sink: Sink[Any], **settings: Any) -> tuple[Harness, Clock]:
    """A binding with a breaker, and its clock."""
    clock = Clock()
    settings = {"breaker": SETTINGS, "on_error": "continue", **settings}
    harness = Harness([Plug("fragile", sink, **settings)])
    harness.dispatcher = Dispatcher(harness.log, clock)  # type: ignore[arg-type]
    return harness, clock


async def ask(harness: Harness, times: int = 1) -> Any:
    """Asks about a recipient, so often; the last verdict."""
    verdict = None
    for _ in range(times):
        verdict = await harness.ask(harness.make(RcptTo, message_work()))
    return verdict


def said(harness: Harness, event: str) -> list[dict[str, Any]]:
    """The lines of this event."""
    return [line for line in harness.log.lines if line["event"] == event]


@pytest.mark.parametrize("kind", [Fragile, Inline])
@pytest.mark.parametrize(("on_error", "code"), [("defer", 451), ("reject", 554), ("continue", None)])
async def test_an_open_breaker_answers_as_on_error_says_without_a_call(kind: type[Fragile], on_error: Any, code: int | None) -> None:
    sink = kind(ValueError("broken"))
    harness, _ = bound(sink, on_error=on_error)
    verdict = await ask(harness, 5)
    assert sink.calls == 3
    assert (verdict.code if isinstance(verdict, Defer | Reject) else None) == code
    counters = harness.bindings.chain(RcptTo)[0].counters
    assert (counters.matched, counters.errors, counters.refused) == (3, 3, 2)
    assert len(said(harness, "sink failed")) == 3
    (line,) = said(harness, "breaker opens")
    assert line == {"event": "breaker opens", "binding": "fragile", "failures": 3, "rest": 10.0, "error": "ValueError: broken"}


async def test_after_its_rest_one_call_tries_and_a_success_closes_the_breaker() -> None:
    sink = Fragile(ValueError("broken"))
    harness, clock = bound(sink)
    await ask(harness, 3)
    clock.now += 10
    sink.error = None
    await ask(harness, 2)
    assert sink.calls == 5
    assert said(harness, "breaker closes") == [{"event": "breaker closes", "binding": "fragile", "failures": 3}]
    standing = harness.plugs[0].standing
    assert (standing.failures, standing.open_until, standing.rest) == (0, 0.0, 0.0)
    assert standing.last_error == "ValueError: broken"


async def test_each_trial_that_fails_doubles_the_rest_up_to_the_longest() -> None:
    sink = Fragile(ValueError("broken"))
    harness, clock = bound(sink)
    await ask(harness, 3)
    for rest in (20.0, 35.0, 35.0):
        clock.now = harness.plugs[0].standing.open_until
        await ask(harness, 2)
        assert harness.plugs[0].standing.open_until == clock.now + rest
    assert sink.calls == 6


async def test_while_the_trial_is_under_way_all_others_are_spared() -> None:
    sink = Fragile(ValueError("broken"))
    harness, clock = bound(sink)
    await ask(harness, 3)
    clock.now += 10
    go = asyncio.Event()

    class Slow(Fragile):
        """Never mind."""

    async def look(event: RcptTo) -> None:
        sink.calls += 1
        await go.wait()

    harness.bindings.chain(RcptTo)[0].handler = look
    trial = asyncio.ensure_future(ask(harness))
    while sink.calls < 4:
        await asyncio.sleep(0)
    await ask(harness, 5)
    assert sink.calls == 4
    go.set()
    await trial
    await ask(harness)
    assert sink.calls == 5


async def test_a_trial_that_is_cancelled_leaves_the_next_one_to_try() -> None:
    sink = Fragile(ValueError("broken"))
    harness, clock = bound(sink)
    await ask(harness, 3)
    clock.now += 10
    started = asyncio.Event()

    async def look(event: RcptTo) -> None:
        started.set()
        await asyncio.Event().wait()

    works = harness.bindings.chain(RcptTo)[0].handler
    harness.bindings.chain(RcptTo)[0].handler = look
    trial = asyncio.ensure_future(ask(harness))
    await started.wait()
    trial.cancel()
    await asyncio.wait((trial,))
    harness.bindings.chain(RcptTo)[0].handler = works
    sink.error = None
    await ask(harness)
    assert sink.calls == 4
    assert harness.plugs[0].standing.open_until == 0


async def test_a_success_in_between_begins_the_count_anew() -> None:
    sink = Fragile(ValueError("broken"))
    harness, _ = bound(sink)
    for _ in range(4):
        sink.error = ValueError("broken")
        await ask(harness, 2)
        sink.error = None
        await ask(harness)
    assert sink.calls == 12
    assert not said(harness, "breaker opens")


async def test_a_breaker_of_no_failures_never_opens() -> None:
    sink = Fragile(ValueError("broken"))
    harness, _ = bound(sink, breaker=BreakerSettings(failures=0))
    await ask(harness, 50)
    assert sink.calls == 50


async def test_the_handlers_of_one_binding_share_its_breaker_and_reports_are_skipped() -> None:
    sink = Fragile(ValueError("broken"))
    harness, _ = bound(sink)
    await ask(harness, 3)
    await harness.tell(harness.make(Accepted, message_work()))
    assert sink.calls == 3
    assert harness.bindings.chain(Accepted)[0].counters.refused == 1


async def test_a_condition_that_raises_opens_it_too_and_is_not_logged_again_while_it_rests() -> None:
    def broken(event: Any) -> bool:
        raise KeyError("when")

    sink = Fragile()
    harness, clock = bound(sink, match=Match(when=broken), on_error="defer")
    assert (await ask(harness, 6)).code == 451
    assert len(said(harness, "sink failed")) == 3
    assert harness.bindings.chain(RcptTo)[0].counters.refused == 3
    clock.now += 10
    await ask(harness, 2)
    assert len(said(harness, "sink failed")) == 4
    assert harness.plugs[0].standing.rest == 20.0


async def test_what_a_client_does_opens_no_breaker() -> None:
    sink = Fragile(ClientGone("gone"))
    harness, _ = bound(sink)
    await ask(harness, 10)
    assert sink.calls == 10
    assert harness.plugs[0].standing.failures == 0


async def test_a_call_from_before_it_opened_does_not_lengthen_its_rest() -> None:
    sink = Fragile(ValueError("broken"))
    harness, clock = bound(sink)
    go = asyncio.Event()
    works = harness.bindings.chain(RcptTo)[0].handler

    async def look(event: RcptTo) -> None:
        await go.wait()
        raise ValueError("late")

    harness.bindings.chain(RcptTo)[0].handler = look
    early = asyncio.ensure_future(ask(harness))
    await asyncio.sleep(0)
    harness.bindings.chain(RcptTo)[0].handler = works
    await ask(harness, 3)
    clock.now += 5
    go.set()
    await early
    assert harness.plugs[0].standing.open_until == 1010.0


async def test_a_reload_keeps_it_open_for_the_same_sink_and_closes_it_for_another() -> None:
    sink = Fragile(ValueError("broken"))
    harness, _ = bound(sink)
    await ask(harness, 3)
    same = Bindings([Plug("fragile", sink, priority=1)], harness.bindings)
    assert same.plugs[0].standing is harness.plugs[0].standing
    other = Bindings([Plug("fragile", Fragile())], harness.bindings)
    assert other.plugs[0].standing.open_until == 0
    assert other.chain(RcptTo)[0].counters.errors == 3
