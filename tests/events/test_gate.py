"""What keeps a binding from being asked although its conditions hold, and how many of its calls run at once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from events.harness import NOW, Harness, message_work, session_work
from penstock import Sink, on
from penstock.errors import ConfigError, SinkError
from penstock.events import Accepted, Connected, EndOfData, RcptTo, ServerStarted, Submission
from penstock.events.binding import Binding, Bindings
from penstock.events.event import Event
from penstock.events.plug import BreakerSettings, CanarySettings, Plug
from penstock.events.work import Facts
from penstock.verdicts import Discard, Drop, Reject


class Counts(Sink):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    @on(EndOfData, blocking=False)
    def look(self, event: EndOfData) -> Discard | None:
        assert event.message is not None
        self.seen.append(event.message.id)
        return None

    @on(Accepted)
    async def told(self, event: Accepted) -> None:
        self.seen.append(event.message.id)

    @on(Connected, blocking=False)
    def connected(self, event: Connected) -> None:
        self.seen.append(event.session.id)

    @on(ServerStarted)
    async def started(self, event: ServerStarted) -> None:
        self.seen.append("start")


async def ask(harness: Harness, times: int = 1) -> None:
    """Asks about so many messages."""
    for number in range(times):
        await harness.ask(harness.make(EndOfData, message_work(id=f"m{number}")))


def bound(**settings: Any) -> tuple[Harness, Counts]:
    """One binding."""
    sink = Counts()
    return Harness.of(sink, **settings), sink


async def test_a_disabled_binding_is_listed_and_never_asked() -> None:
    harness, sink = bound(enabled=False)
    await ask(harness)
    assert sink.seen == []
    assert not harness.bindings.chain(EndOfData)
    assert [b.name for b in harness.bindings.listed(EndOfData)] == ["sink0"]
    assert harness.bindings.all
    assert harness.bindings.plugs


def test_a_disabled_binding_stands_in_the_list_at_its_place() -> None:
    plugs = [Plug("c", Counts(), priority=3), Plug("b", Counts(), priority=2, enabled=False), Plug("a", Counts(), priority=1)]
    bindings = Bindings(plugs)
    assert [b.name for b in bindings.listed(EndOfData)] == ["a", "b", "c"]
    assert [b.name for b in bindings.chain(EndOfData)] == ["a", "c"]
    assert bindings.listed(RcptTo) == ()


async def test_a_binding_that_expired_is_not_asked() -> None:
    for expires, times in ((NOW, 0), (NOW + 1, 3)):
        harness, sink = bound(expires=expires)
        await ask(harness, 3)
        assert len(sink.seen) == times
        assert harness.bindings.chain(EndOfData)[0].counters.refused == 3 - times


async def test_a_binding_fires_so_many_times_at_all_its_events_and_a_reload_does_not_forget() -> None:
    harness, sink = bound(max_firings=3)
    await ask(harness, 2)
    for _ in range(2):
        await harness.tell(harness.make(Accepted, message_work()))
    await ask(harness, 2)
    assert len(sink.seen) == 3
    after = Harness([Plug("sink0", sink, max_firings=4)])
    after.bindings = Bindings(after.plugs, harness.bindings)
    await ask(after, 5)
    assert len(sink.seen) == 4


async def test_a_sample_takes_its_share_of_messages_and_always_the_same() -> None:
    harness, sink = bound(sample=25.0)
    await ask(harness, 1000)
    assert 180 < len(sink.seen) < 320
    first, sink.seen = sink.seen, []
    await ask(harness, 1000)
    assert sink.seen == first
    assert harness.bindings.chain(EndOfData)[0].counters.refused == 2000 - 2 * len(first)


async def test_samples_of_two_bindings_are_not_the_same_messages() -> None:
    one, other = Counts(), Counts()
    harness = Harness([Plug("one", one, sample=50.0), Plug("other", other, sample=50.0)])
    await ask(harness, 200)
    assert 20 < len(set(one.seen) & set(other.seen)) < 80


async def test_before_there_is_a_message_the_session_decides_and_what_is_of_neither_is_always_in() -> None:
    harness, sink = bound(sample=50.0)
    for _ in range(2):
        for number in range(100):
            await harness.ask(Connected(Facts(harness.server, session_work(id=f"s{number}"))))
    assert 60 < len(sink.seen) < 140
    assert sorted(sink.seen[: len(sink.seen) // 2]) == sorted(sink.seen[len(sink.seen) // 2 :])
    sink.seen.clear()
    harness, sink = bound(sample=0.001)
    await harness.tell(ServerStarted(harness.facts()))
    assert sink.seen == ["start"]


async def test_a_canary_takes_its_share_and_the_binding_that_it_replaces_the_rest() -> None:
    new, old = Counts(), Counts()
    canary = CanarySettings(percent=30.0, replaces="old")
    harness = Harness([Plug("new", new, canary=canary), Plug("old", old)])
    await ask(harness, 300)
    assert 50 < len(new.seen) < 130
    assert sorted(new.seen + old.seen) == sorted(f"m{n}" for n in range(300))


async def test_a_canary_that_fails_too_often_is_taken_back_and_its_calls_were_told() -> None:
    class Broken(Counts):
        @on(EndOfData, blocking=False)
        def look(self, event: EndOfData) -> Discard | None:
            raise ValueError("new")

    old = Counts()
    canary = CanarySettings(percent=50.0, replaces="old", after=10)
    breaker = BreakerSettings(failures=0)
    harness = Harness([Plug("new", Broken(), canary=canary, on_error="continue", breaker=breaker), Plug("old", old)])
    await ask(harness, 300)
    assert "failed" in harness.bindings.plugs[0].standing.rolled_back
    assert harness.bindings.listed(EndOfData)[0].counters.matched == 10
    # The last message that the canary failed at is the first that is the other one's again.
    assert len(old.seen) == 291


def test_a_binding_without_limits_has_no_gate() -> None:
    harness, _ = bound()
    assert harness.bindings.all[0].gate is None


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"sample": 0.0}, "sample"),
        ({"sample": 101.0}, "sample"),
        ({"max_firings": -1}, "max_firings"),
        ({"concurrency": -1}, "concurrency"),
        ({"breaker": BreakerSettings(rest=0)}, "breaker"),
        ({"breaker": BreakerSettings(failures=-1)}, "breaker"),
        ({"breaker": BreakerSettings(rest=10, longest=5)}, "breaker"),
        ({"canary": CanarySettings(percent=0)}, "canary"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=f"here.{where}"):
        Bindings([Plug("a", Counts(), where="here", **settings)])


# How many calls run at once.


class Crowd(Sink):
    """Waits in each call until it is let go, and knows how many there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.go = asyncio.Event()
        self.free = threading.Event()
        self.lock = threading.Lock()

    def come(self) -> None:
        """One more."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    @on(RcptTo)
    async def on_loop(self, event: RcptTo) -> Reject | None:
        self.come()
        await self.go.wait()
        self.now -= 1
        return None

    @on(Submission)
    def in_thread(self, event: Submission) -> Drop | None:
        self.come()
        self.free.wait(10)
        with self.lock:
            self.now -= 1
        return None


async def crowd(harness: Harness, event: type[Event], count: int) -> list[asyncio.Future[Any]]:
    """So many questions at once, as far as they get."""
    asked: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(harness.outcome(harness.make(event, message_work(id=f"m{n}")))) for n in range(count)
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    return asked


async def test_a_coroutine_too_runs_so_many_times_at_once_and_the_others_wait_their_turn() -> None:
    sink = Crowd()
    harness = Harness.of(sink, concurrency=2)
    asked = await crowd(harness, RcptTo, 6)
    assert sink.now == 2
    sink.go.set()
    assert [outcome.failed for outcome in await asyncio.gather(*asked)] == [False] * 6
    assert sink.most == 2


async def test_the_handlers_of_a_binding_share_its_places_wherever_they_run() -> None:
    sink = Crowd()
    harness = Harness.of(sink, concurrency=3)
    asked = await crowd(harness, RcptTo, 2)
    asked += await crowd(harness, Submission, 4)
    async with asyncio.timeout(5):
        while sink.now < 3:
            await asyncio.sleep(0.001)
    assert sink.now == 3
    sink.go.set()
    sink.free.set()
    await asyncio.gather(*asked)
    assert sink.most == 3


async def test_a_call_that_waits_for_its_place_does_not_wait_longer_than_a_call_may_take() -> None:
    sink = Crowd()
    harness = Harness.of(sink, concurrency=1, timeout=0.05, on_error="continue")
    outcomes = await asyncio.gather(*await crowd(harness, RcptTo, 3))
    assert not any(outcome.failed for outcome in outcomes)
    errors = [line["error"] for line in harness.log.lines if line["event"] == "sink failed"]
    assert any("1 of its calls run, and none ended within 0.05 s" in error for error in errors)
    assert any("no answer within 0.05 s" in error for error in errors)


async def test_a_call_that_runs_on_after_its_deadline_keeps_its_place() -> None:
    sink = Crowd()
    harness = Harness.of(sink, concurrency=1, timeout=0.05, on_error="continue")
    await harness.outcome(harness.make(Submission, message_work()))
    await harness.outcome(harness.make(Submission, message_work()))
    assert sink.most == 1
    sink.free.set()
    async with asyncio.timeout(5):
        while sink.now:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    await harness.outcome(harness.make(Submission, message_work()))
    assert [line["event"] for line in harness.log.lines].count("sink failed") == 2


async def test_a_question_that_is_withdrawn_gives_up_its_turn() -> None:
    sink = Crowd()
    harness = Harness.of(sink, concurrency=1)
    first, second, third = await crowd(harness, RcptTo, 3)
    second.cancel()
    await asyncio.wait((second,))
    sink.go.set()
    await asyncio.gather(first, third)
    assert sink.now == 0


async def test_a_reload_that_allows_more_lets_in_who_waits() -> None:
    sink = Crowd()
    harness = Harness.of(sink, concurrency=1)
    asked = await crowd(harness, RcptTo, 3)
    assert sink.now == 1
    harness.bindings = Bindings([Plug("sink0", sink, concurrency=3)], harness.bindings)
    asked += await crowd(harness, RcptTo, 1)
    assert sink.now == 3
    sink.go.set()
    await asyncio.gather(*asked)


# Sink processes.


class FakeRemote:
    """Answers as a sink process would."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def call(self, binding: Binding, event: Event) -> Any:
        """The answer, with an edit."""
        self.calls.append(binding.method)
        assert isinstance(event, EndOfData)
        assert event.message is not None
        event.message.header.add("X-Remote", "yes")
        return None


async def test_a_sink_with_a_process_is_called_there_and_its_edits_count() -> None:
    remote = FakeRemote()
    harness = Harness([Plug("far", object.__new__(Counts), run_in="process", remote=remote)])
    work = message_work()
    assert await harness.ask(harness.make(EndOfData, work)) is None
    assert remote.calls == ["look"]
    assert work.record.header is not None
    assert b"X-Remote: yes" in work.record.header


async def test_a_sink_whose_process_was_not_started_fails_as_on_error_says() -> None:
    harness = Harness([Plug("far", object.__new__(Counts), run_in="process")])
    outcome = await harness.outcome(harness.make(EndOfData, message_work()))
    assert outcome.failed
    assert harness.log.lines[0]["error"].startswith(SinkError.__name__)
