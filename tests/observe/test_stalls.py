"""What blocks the loop is named in the log, with its stack, while it does so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from events.harness import Harness
from penstock import Match, Sink, on
from penstock.events import Event, RcptTo
from penstock.events.blame import blame
from penstock.events.plug import Plug
from penstock.observe.stalls import Stalls


@asynccontextmanager
async def watched(*plugs: Plug) -> AsyncIterator[Harness]:
    """A server whose loop is watched."""
    harness = Harness(list(plugs))
    stalls = Stalls(harness.log, blame, limit=0.05)  # type: ignore[arg-type]
    stalls.start()
    try:
        yield harness
    finally:
        stalls.stop()


def said(harness: Harness, event: str) -> list[dict[str, Any]]:
    """The lines of this event."""
    return [line for line in harness.log.lines if line["event"] == event]


def block(harness: Harness) -> None:
    """Blocks the loop until somebody notices."""
    deadline = time.monotonic() + 10
    while not said(harness, "the loop is blocked") and time.monotonic() < deadline:
        time.sleep(0.01)


async def runs_again(harness: Harness) -> dict[str, Any]:
    """The line that ends it."""
    async with asyncio.timeout(10):
        while not (lines := said(harness, "the loop runs again")):
            await asyncio.sleep(0.01)
    return lines[0]


class Blocks(Sink):
    """Blocks the loop without a task of its own."""

    harness: Harness
    again = False

    @on(RcptTo, blocking=False)
    def inline(self, event: RcptTo) -> None:
        if self.again:
            time.sleep(0.4)
        block(self.harness)


class BlocksInTheMiddle(Sink):
    """Has given the loop back once, and then keeps it."""

    harness: Harness

    @on(RcptTo)
    async def middle(self, event: RcptTo) -> None:
        await asyncio.sleep(0)
        block(self.harness)


@pytest.mark.parametrize(("sink", "method"), [(Blocks, "inline"), (BlocksInTheMiddle, "middle")])
async def test_a_handler_that_blocks_the_loop_is_named_with_its_stack(sink: Any, method: str) -> None:
    made = sink()
    async with watched(Plug("slow", made)) as harness:
        made.harness = harness
        await harness.ask(harness.make(RcptTo))
        again = await runs_again(harness)
    (line,) = said(harness, "the loop is blocked")
    assert (line["binding"], line["method"]) == ("slow", method)
    assert any("time.sleep(0.01)" in frame and "test_stalls.py" in frame for frame in line["stack"])
    assert again["binding"] == "slow"
    assert again["seconds"] >= 0.05


async def test_a_coroutine_that_blocks_counts_as_one_that_blocks() -> None:
    made = BlocksInTheMiddle()
    async with watched(Plug("slow", made)) as harness:
        made.harness = harness
        await harness.ask(harness.make(RcptTo))
        await runs_again(harness)
    assert harness.bindings.all[0].counters.blocked == 1


async def test_a_condition_that_blocks_is_named_too() -> None:
    def slow(event: Event) -> bool:
        block(holder[0])
        return False

    async with watched(Plug("slow", BlocksInTheMiddle(), match=Match(when=slow))) as harness:
        holder = [harness]
        await harness.ask(harness.make(RcptTo))
        await runs_again(harness)
    assert said(harness, "the loop is blocked")[0]["binding"] == "slow"


async def test_what_is_no_sink_is_shown_by_its_stack_alone() -> None:
    async with watched() as harness:
        await asyncio.sleep(0)
        block(harness)
        await runs_again(harness)
    (line,) = said(harness, "the loop is blocked")
    assert "binding" not in line
    assert any(" in block: " in frame for frame in line["stack"])


async def test_a_loop_that_only_waits_is_not_blocked() -> None:
    async with watched() as harness:
        await asyncio.sleep(0.3)
    assert harness.log.lines == []


async def test_the_same_culprit_is_named_once_a_minute() -> None:
    made = Blocks()
    async with watched(Plug("slow", made)) as harness:
        made.harness = harness
        await harness.ask(harness.make(RcptTo))
        await runs_again(harness)
        made.again = True
        await harness.ask(harness.make(RcptTo))
        await asyncio.sleep(0.3)
        assert len(said(harness, "the loop is blocked")) == len(said(harness, "the loop runs again")) == 1
