"""What an administrator sees who asks where mail is: of a queue that rests each message says until when, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from admin.live import Live

QUEUE = "mx:far.example"


def _down(live: Live, reason: str = "connect to [192.0.2.1]:25: refused") -> float:
    """A destination that could not be reached; until when it rests."""
    transport = live.running.node.transport
    assert transport is not None
    transport.scheduler.later(QUEUE, 0.0)
    destination = transport.scheduler.destination(QUEUE)
    assert destination is not None
    return destination.failed(reason)


async def _row(live: Live, *words: str) -> dict[str, Any]:
    out, _ = await live.run("queue", "list", "--json", *words)
    (line,) = out.splitlines()
    return dict(json.loads(line))


async def test_a_message_whose_queue_backs_off_is_deferred(tmp_path: Path) -> None:
    """It is due, but nobody is going to try it: it says when its destination is tried, and what went wrong there."""
    async with Live(tmp_path) as live:
        message = await live.keep(due=0.0)
        until = _down(live)
        row = await _row(live)
        assert (row["queue_name"], row["reason"]) == ("deferred", "connect to [192.0.2.1]:25: refused")
        assert row["recipients"][0]["delay_reason"] == "connect to [192.0.2.1]:25: refused"
        assert abs(row["due"] - until) < 1
        assert (await _row(live, "--reason", "REFUSED"))["queue_id"] == message
        shown, _ = await live.run("queue", "show", message)
        assert "state:           deferred" in shown
        assert "next_try:        20" in shown
        mailq, _ = await live.run("mailq")
        assert f"{message}*" not in mailq
        assert "(connect to [192.0.2.1]:25: refused)" in mailq


async def test_its_own_time_and_reason_come_first(tmp_path: Path) -> None:
    """Where the message was put off for longer than its queue rests."""
    async with Live(tmp_path) as live:
        first = await live.keep(due=0.0)
        until = _down(live)
        second = await live.keep(due=until + 5000, reason="450 4.2.0 greylisted")
        row = await _row(live, second)
        assert (row["due"], row["reason"]) == (until + 5000, "450 4.2.0 greylisted")
        assert (await _row(live, first))["due"] < until + 1


async def test_a_suspended_queue_says_so(tmp_path: Path) -> None:
    """Nothing is tried until it is resumed, for which there is no time."""
    async with Live(tmp_path) as live:
        message = await live.keep(due=0.0)
        await live.run("queue", "suspend", QUEUE, "--text", "they asked for it")
        row = await _row(live)
        assert (row["queue_name"], row["due"], row["reason"]) == ("deferred", 0, "suspended: they asked for it")
        shown, _ = await live.run("queue", "show", message)
        assert "next_try" not in shown
        await live.run("queue", "resume", QUEUE)
        assert (await _row(live))["queue_name"] == "active"


async def test_a_queue_on_demand_says_what_it_waits_for(tmp_path: Path) -> None:
    """Also when nothing of it is in memory."""
    async with Live(tmp_path) as live:
        transport = live.running.node.transport
        assert transport is not None
        transport.scheduler.set_schedule(QUEUE, "on-demand")
        await live.keep(due=0.0)
        assert transport.scheduler.destination(QUEUE) is None
        row = await _row(live)
        assert (row["queue_name"], row["due"], row["reason"]) == ("deferred", 0, "waits until somebody asks for it (on-demand)")
        await live.run("queue", "flush", QUEUE)
        assert (await _row(live))["queue_name"] == "active"


async def test_next_try_of_a_held_message_is_never(tmp_path: Path) -> None:
    """It does not say "now" of what nobody is going to try."""
    async with Live(tmp_path) as live:
        message = await live.keep(held="looks odd", due=0.0)
        shown, _ = await live.run("queue", "show", message)
        assert "state:           hold" in shown
        assert "next_try" not in shown


async def test_a_stage_that_there_is_not_is_named(tmp_path: Path) -> None:
    """It does not look as if there were no such mail."""
    async with Live(tmp_path) as live:
        _, err = await live.run("queue", "list", "--stage", "routing", code=64)
        assert "--stage: there is no stage 'routing'" in err
        assert "routed" in err


async def test_nothing_is_suspended_that_can_be_no_queue(tmp_path: Path) -> None:
    """A slip would stop nothing, and the command would say that it did."""
    async with Live(tmp_path) as live:
        _, err = await live.run("queue", "suspend", "[192.0.2.1:25", code=64)
        assert "[192.0.2.1:25" in err
        await live.run("queue", "suspend", "far.example")
        await live.run("queue", "suspend", "[192.0.2.1]:25;bulk")
