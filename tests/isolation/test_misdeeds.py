"""What a sink does to its process happens to nobody else: the outcome follows ``on_error``, and the next message finds another process."""

from __future__ import annotations

import asyncio
import gc
import re

import pytest

from events.harness import content_of
from isolation.running import Isolated, alive, at_end, eventually, isolated, submission
from isolation.sinks import Misdeeds
from penstock.events.catalog import EndOfData
from penstock.events.event import Event
from penstock.events.plug import ProcessSettings
from penstock.verdicts import Defer, Reject

LITTLE = ProcessSettings(memory=400 * 1024 * 1024)


async def _well(harness: Isolated) -> None:
    """The sink answers as it should, in some process."""
    answer = await harness.ask(at_end(harness, "fine"))
    assert isinstance(answer, Reject), harness.errors
    assert answer.text.startswith("process ")


def _untouched(event: Event) -> None:
    message, session = event.facts.message, event.facts.session
    assert message is not None
    assert b"X-Half" not in content_of(message)
    assert message.forks == []
    assert session is None or session.states == {}


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("hang", "no answer within 1 s"),
        ("swallow", "no answer within 1 s"),
        ("spin", "no answer within 1 s"),
        ("leak", "MemoryError"),
        ("raise", "RuntimeError: a secret reason"),
        ("exit", "it exited with status 3"),
        ("sysexit", "SystemExit"),
        ("segfault", "it was killed by SIGSEGV"),
        ("text", "cannot be answered with '250 OK'"),
        ("wrong", "cannot be answered with Rewrite"),
        ("huge", "too much for one answer"),
        ("garbage", "what came is no frame"),
        ("frame", "a frame cannot be read"),
        ("no such deed", "AttributeError"),
    ],
)
async def test_what_a_sink_does_hurts_only_its_message(subject: str, reason: str) -> None:
    async with isolated(Misdeeds, timeout=1.0, process=LITTLE) as harness:
        event = at_end(harness, subject)
        outcome = await asyncio.wait_for(harness.outcome(event), 10)
        assert isinstance(outcome.verdict, Defer)
        assert outcome.failed
        assert "secret" not in outcome.verdict.text
        _untouched(event)
        assert reason in harness.errors
        await eventually(lambda: bool(harness.process.pids), "a process", 10)
        await _well(harness)
        (counters,) = [b.counters for b in harness.bindings.all if b.event is EndOfData]
        assert counters.errors == 1


@pytest.mark.parametrize("subject", ["hang", "spin", "exit"])
async def test_a_plain_handler_in_a_thread_hurts_only_its_message(subject: str) -> None:
    async with isolated(Misdeeds, timeout=1.0) as harness:
        event = submission(harness, subject)
        assert isinstance(await asyncio.wait_for(harness.ask(event), 10), Defer)
        _untouched(event)
        await harness.line("sink process ended")
        await _well(harness)


@pytest.mark.parametrize(("on_error", "kind"), [("defer", Defer), ("reject", Reject), ("continue", type(None))])
async def test_the_outcome_follows_on_error(on_error: str, kind: type) -> None:
    async with isolated(Misdeeds, on_error=on_error) as harness:
        assert isinstance(await harness.ask(at_end(harness, "exit")), kind)


async def test_calls_that_were_not_to_blame_are_done_again() -> None:
    async with isolated(Misdeeds, timeout=5.0) as harness:
        slow = [asyncio.ensure_future(harness.ask(at_end(harness, "slow"))) for _ in range(5)]
        await eventually(lambda: len(harness.process._seats[0]._flights) == 5, "they are under way")
        first = harness.process.pids
        assert isinstance(await harness.ask(at_end(harness, "exit")), Defer)
        answers = await asyncio.gather(*slow)
        assert all(isinstance(answer, Reject) for answer in answers), harness.errors
        assert harness.process.pids != first
        assert len(harness.lines("sink failed")) == 1


async def test_one_that_keeps_its_process_from_the_others_is_the_one_to_blame() -> None:
    async with isolated(Misdeeds, timeout=2.0) as harness:
        slow = asyncio.ensure_future(harness.ask(at_end(harness, "slow")))
        await asyncio.sleep(0.1)
        spin = asyncio.ensure_future(harness.ask(at_end(harness, "spin")))
        assert isinstance(await slow, Reject), harness.errors
        assert isinstance(await spin, Defer)
        assert len(harness.lines("sink failed")) == 1


async def test_a_call_may_use_so_much_cpu_and_no_more() -> None:
    async with isolated(Misdeeds, timeout=30.0, process=ProcessSettings(cpu=0.5)) as harness:
        assert isinstance(await asyncio.wait_for(harness.ask(at_end(harness, "spin")), 10), Defer)
        assert "it used more than 0.5 s of CPU time" in harness.errors
        assert isinstance(await asyncio.wait_for(harness.ask(submission(harness, "spin")), 10), Defer)
        await _well(harness)


async def test_a_process_that_keeps_dying_is_started_less_and_less_often() -> None:
    async with isolated(Misdeeds, timeout=2.0) as harness:
        for _ in range(4):
            await harness.ask(at_end(harness, "exit"))
        rests = [line["again_in"] for line in harness.lines("sink process ended")]
        assert rests[:3] == [0.0, 0.5, 1.0]


async def test_what_a_sink_prints_is_in_the_log_but_not_all_of_it() -> None:
    async with isolated(Misdeeds) as harness:
        await harness.ask(at_end(harness, "shout"))
        await harness.process.stop()
        written = harness.lines("sink process wrote")
        assert {"stream": "stdout", "text": "heard once"}.items() <= written[0].items() or any(
            line["text"] == "heard once" for line in written
        )
        assert len(written) <= 202
        assert sum(line["lines"] for line in harness.lines("sink process writes too much")) > 19_000


async def test_what_a_sink_started_ends_with_its_process() -> None:
    async with isolated(Misdeeds) as harness:
        assert isinstance(await harness.ask(at_end(harness, "children")), Defer)
        child = harness.lines("child")[0]["child"]
        await eventually(lambda: not alive(child), "what it started is gone")


async def test_the_loop_goes_on_while_a_sink_spins() -> None:
    async with isolated(Misdeeds, timeout=1.0) as harness:
        asked = asyncio.ensure_future(harness.ask(at_end(harness, "spin")))
        longest, loop = 0.0, asyncio.get_running_loop()
        gc.collect()
        while not asked.done():
            began = loop.time()
            await asyncio.sleep(0.01)
            longest = max(longest, loop.time() - began)
        assert longest < 0.5


async def test_a_message_that_nobody_waits_for_any_more_is_left() -> None:
    async with isolated(Misdeeds, timeout=30.0) as harness:
        asked = asyncio.ensure_future(harness.ask(at_end(harness, "hang")))
        await eventually(lambda: bool(harness.process._seats[0]._flights), "the call is under way")
        pid = harness.process.pids
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await eventually(lambda: not harness.process._seats[0]._flights, "the handler has ended")
        assert harness.process.pids == pid


async def test_each_line_about_a_process_names_its_binding() -> None:
    async with isolated(Misdeeds) as harness:
        await harness.ask(at_end(harness, "exit"))
        await harness.line("sink process ended")
        lines = [line for line in harness.log.lines if re.match("sink process", line["event"])]
        assert all(line["binding"] == "sink0" for line in lines)
