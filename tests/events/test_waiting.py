"""Handlers that have to be waited for: what they cannot do to the server, to each other's messages, and to other bindings' threads."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from events.harness import Harness, message_work, session_work
from penstock import Address, Recipient, Sink, on
from penstock.errors import ConfigError
from penstock.events import Accepted, RcptTo
from penstock.events.binding import Bindings
from penstock.events.plug import Plug
from penstock.verdicts import Defer, Reject


class Loop(Sink):
    """Does as told on the loop."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self.act = act

    @on(RcptTo)
    async def run(self, event: RcptTo) -> Any:
        return await self.act()


class Thread(Sink):
    """Does as told in a thread."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self.act = act

    @on(RcptTo)
    def run(self, event: RcptTo) -> Any:
        return self.act()


class Inline(Thread):
    """Does as told on the loop, without being waited for."""

    @on(RcptTo, blocking=False)
    def run(self, event: RcptTo) -> Any:
        return self.act()


def rcpt(harness: Harness) -> RcptTo:
    """A RCPT."""
    return RcptTo(harness.facts(message_work(), session_work()), Recipient(Address.parse("bob@example.com")))


async def until(condition: Callable[[], object]) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def cancels_its_own_task() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


def raises(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "sink",
    [
        Loop(cancels_its_own_task),
        Thread(raises(asyncio.CancelledError())),
        Inline(raises(asyncio.CancelledError())),
        Thread(raises(StopIteration())),
        Thread(raises(KeyboardInterrupt())),
        Thread(raises(GeneratorExit())),
        Inline(raises(GeneratorExit())),
    ],
)
async def test_an_exception_that_means_something_to_asyncio_is_a_failure_like_any_other(sink: Sink) -> None:
    harness = Harness.of(sink)
    async with asyncio.timeout(5):
        outcome = await harness.outcome(rcpt(harness))
    assert outcome.failed
    assert isinstance(outcome.verdict, Defer)
    assert [line["event"] for line in harness.log.lines] == ["sink failed"]
    assert harness.bindings.all[0].counters.errors == 1


async def test_exiting_from_a_coroutine_ends_the_handler_and_not_the_loop() -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        sys.exit(3)

    harness = Harness.of(Loop(leave))
    assert (await harness.outcome(rcpt(harness))).failed
    assert harness.log.lines[0]["error"] == "SystemExit: 3"


async def test_a_handler_that_swallows_its_cancellation_holds_nobody_up_and_is_named_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.events.running.GRACE", 0.01)
    end = asyncio.Event()

    async def stubborn() -> Reject:
        while not end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await end.wait()
        return Reject()

    harness = Harness.of(Loop(stubborn), timeout=0.01)
    counters = harness.bindings.all[0].counters
    for _ in range(3):
        async with asyncio.timeout(1):
            assert (await harness.outcome(rcpt(harness))).failed
    assert counters.late == 3
    await until(lambda: any(line["event"] == "sink still runs after its deadline" for line in harness.log.lines))
    await asyncio.sleep(0.03)
    (line,) = [line for line in harness.log.lines if line["event"] != "sink failed"]
    assert (line["binding"], line["method"]) == ("sink0", "run")
    end.set()
    await until(lambda: counters.late == 0)


async def test_who_is_cancelled_while_he_asks_cancels_the_handler() -> None:
    cancelled = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    harness = Harness.of(Loop(wait))
    asking = asyncio.ensure_future(harness.outcome(rcpt(harness)))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(5):
        await cancelled.wait()
    assert harness.log.lines == []


async def test_a_sink_whose_calls_hang_fills_its_own_threads_and_no_others() -> None:
    end = threading.Event()
    plugs = [Plug("hangs", Thread(lambda: end.wait() and None), timeout=0.05, on_error="continue"), Plug("works", Thread(lambda: Reject()))]
    harness = Harness(plugs)
    try:
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*(harness.outcome(rcpt(harness)) for _ in range(40)))
        assert {outcome.by for outcome in outcomes} == {"works"}
        assert harness.bindings.all[0].counters.late == 4
        errors = {line["error"] for line in harness.log.lines if line["event"] == "sink failed"}
        assert any("no answer within 0.05 s" in error for error in errors)
        assert any("none of its 4 threads was free within 0.05 s" in error for error in errors)
        (line,) = [line for line in harness.log.lines if line["event"] == "binding holds all its threads"]
        assert (line["binding"], line["threads"]) == ("hangs", 4)
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("penstock-hangs") == 4
    finally:
        end.set()
    await until(lambda: harness.bindings.all[0].counters.late == 0)
    assert (await harness.outcome(rcpt(harness))).by == "works"
    assert harness.bindings.all[0].counters.errors == 40


async def test_a_call_waits_for_a_free_thread_and_has_its_whole_time_then() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.6)
        with lock:
            running -= 1

    harness = Harness.of(Thread(work), threads=2, timeout=1.0)
    outcomes = await asyncio.gather(*(harness.outcome(rcpt(harness)) for _ in range(4)))
    assert [outcome.failed for outcome in outcomes] == [False] * 4
    assert most == 2


async def test_a_call_that_is_cancelled_while_it_waits_for_a_thread_takes_none() -> None:
    end = threading.Event()
    harness = Harness.of(Thread(lambda: end.wait() and None), threads=1)
    first, second, third = (asyncio.ensure_future(harness.outcome(rcpt(harness))) for _ in range(3))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0.01)
    end.set()
    async with asyncio.timeout(5):
        await asyncio.gather(first, third)
        await harness.outcome(rcpt(harness))
    assert second.cancelled()


async def test_threads_are_used_again_and_end_when_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.events.threads.IDLE", 0.05)
    used: set[int] = set()
    harness = Harness([Plug("busy", Thread(lambda: used.add(threading.get_ident())))])
    for _ in range(5):
        await harness.outcome(rcpt(harness))
    assert len(used) == 1
    await until(lambda: all(thread.name != "penstock-busy" for thread in threading.enumerate()))
    assert (await harness.outcome(rcpt(harness))).verdict is None


HANGS = """
import asyncio, threading
from events.harness import Harness
from events.test_waiting import Thread, rcpt

async def main():
    harness = Harness.of(Thread(threading.Event().wait), timeout=0.01)
    print((await harness.outcome(rcpt(harness))).failed)

asyncio.run(main())
"""


def test_a_thread_that_hangs_does_not_keep_the_process_from_ending() -> None:
    path = ":".join(entry for entry in sys.path if entry)
    ended = subprocess.run([sys.executable, "-c", HANGS], env={"PYTHONPATH": path}, timeout=20, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


def test_a_binding_has_at_least_one_thread() -> None:
    with pytest.raises(ConfigError, match="at least one thread"):
        Bindings([Plug("none", Thread(int), threads=0, where="x")])


async def test_reports_that_nobody_takes_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.events.dispatch.MOST_REPORTS", 10)
    end, told = asyncio.Event(), []

    class Slow(Sink):
        @on(Accepted)
        async def note(self, event: Accepted) -> None:
            await end.wait()
            told.append(event)

    harness = Harness.of(Slow())
    counters = harness.bindings.all[0].counters
    for _ in range(25):
        harness.dispatcher.tell(harness.make(Accepted), harness.bindings.chain(Accepted))
    assert (counters.waiting, counters.dropped) == (10, 15)
    (line,) = harness.log.lines
    assert (line["event"], line["binding"]) == ("reports are dropped", "sink0")
    end.set()
    await harness.dispatcher.drain()
    assert len(told) == 10
    assert counters.waiting == 0
    await harness.tell(harness.make(Accepted))
    assert len(told) == 11


async def test_a_handler_that_blocks_the_loop_is_named_in_the_log_once_a_minute() -> None:
    harness = Harness.of(Inline(lambda: time.sleep(0.3)), Inline(lambda: None))
    for _ in range(2):
        await harness.outcome(rcpt(harness))
    (line,) = harness.log.lines
    assert (line["event"], line["binding"], line["method"]) == ("sink blocks the loop", "sink0", "run")
    assert line["seconds"] >= 0.3


async def test_the_line_about_a_failure_names_the_method_and_which_time_it_was() -> None:
    harness = Harness.of(Inline(raises(ValueError())))
    await harness.outcome(rcpt(harness))
    assert (harness.log.lines[0]["method"], harness.log.lines[0]["attempt"]) == ("run", 1)
