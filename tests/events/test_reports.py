"""Reports: told in the background, to everybody who wants them, whatever one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from events.harness import Harness, message_work
from penstock import Match, Sink, on
from penstock.events import Accepted
from penstock.events.plug import Plug
from penstock.verdicts import Reject


class Told(Sink):
    """Keeps what it was told, or fails."""

    def __init__(self, act: Callable[[Accepted], Any]) -> None:
        super().__init__()
        self.act = act

    @on(Accepted)
    async def told(self, event: Accepted) -> None:
        return self.act(event)  # type: ignore[no-any-return]


async def test_a_report_is_told_to_all_in_the_background_whatever_one_of_them_does() -> None:
    told: list[str] = []

    def fail(event: Accepted) -> None:
        raise ValueError("broken")

    harness = Harness.of(
        Told(lambda e: told.append(e.message.id)), Told(fail), Told(lambda e: Reject()), Told(lambda e: told.append("end"))
    )
    harness.dispatcher.tell(harness.make(Accepted), harness.bindings.chain(Accepted))
    assert told == []
    await harness.dispatcher.drain()
    assert told == ["m1", "end"]
    assert [line["on_error"] for line in harness.log.lines] == ["ignored", "ignored"]
    assert "Accepted cannot be answered with Reject" in harness.log.lines[1]["error"]


async def test_the_conditions_of_a_report_are_judged_when_it_happened() -> None:
    told: list[str] = []
    plug = Plug("a", Told(lambda e: told.append(str(e.matched_recipients[0].address))), match=Match(recipient="bob@example.com"))
    harness = Harness([plug])
    work = message_work()
    harness.dispatcher.tell(harness.make(Accepted, work), harness.bindings.chain(Accepted))
    work.record.envelope.recipients = []
    await harness.dispatcher.drain()
    assert told == ["bob@example.com"]


async def test_each_binding_of_a_report_sees_the_recipients_that_met_its_own_condition() -> None:
    told: list[list[str]] = []
    sink = Told(lambda e: told.append([str(r.address) for r in e.matched_recipients]))
    plugs = [Plug(name, sink, match=Match(recipient=f"{name}@x") if name != "c" else None) for name in "abc"]
    harness = Harness(plugs)
    await harness.tell(harness.make(Accepted, message_work(recipients=("a@x", "b@x"))))
    assert told == [["a@x"], ["b@x"], []]


async def test_a_report_that_nobody_wants_makes_no_task() -> None:
    harness = Harness.of(Told(lambda e: None), match=Match(sender="nobody@example.com"))
    before = asyncio.all_tasks()
    harness.dispatcher.tell(harness.make(Accepted), harness.bindings.chain(Accepted))
    assert asyncio.all_tasks() == before


async def test_a_slow_listener_to_reports_is_given_up_and_the_next_is_told() -> None:
    class Slow(Sink):
        @on(Accepted)
        async def told(self, event: Accepted) -> None:
            await asyncio.Event().wait()

    told: list[str] = []
    harness = Harness.of(Slow(), Told(lambda e: told.append(e.message.id)), timeout=0.01)
    await harness.tell(harness.make(Accepted))
    assert told == ["m1"]
