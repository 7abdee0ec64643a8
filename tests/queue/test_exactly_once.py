"""Whatever happens in whatever order: no message is worked on twice at once, none before its time, and none is forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.queue.destination import Destination
from penstock.queue.job import id_of
from support.yard import ONE_OF_EACH, Yard, yard

QUEUES = [f"mx:q{number}.example" for number in range(3)]
STEPS = (
    "mail",
    "mail",
    "later",
    "take",
    "take",
    "take",
    "settle",
    "defer",
    "fail",
    "give back",
    "skip",
    "end",
    "pass",
    "suspend",
    "now",
    "move",
)
steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.integers(0, 400)), max_size=120)


class Run:
    """A run of arbitrary steps, and what must be true all along."""

    def __init__(self, y: Yard) -> None:
        self.y = y
        self.active: dict[str, Destination] = {}
        self.tries = 0
        self.asked = False
        self._ids = 0

    def step(self, kind: str, number: int, amount: int) -> None:
        """One step; one that makes no sense now does nothing."""
        y, queue = self.y, QUEUES[number]
        destination = y.scheduler.destination(queue)
        mine = [message_id for message_id, where in self.active.items() if where is destination]
        if kind in ("mail", "later"):
            fresh = [f"m{self._ids + number:04}" for number in range(1, amount % 4 + 2)]
            self._ids += len(fresh)
            if kind == "mail":
                y.mail(queue, *fresh)
            else:
                y.put(queue, *fresh, due=y.now + amount)
                y.scheduler.later(queue, y.now + amount)
        elif kind == "pass":
            y.pass_time(amount)
        elif kind == "suspend":
            y.scheduler.suspend(queue, y.now + amount, "")
        elif kind == "now":
            self.asked = True
            y.scheduler.retry_now(queue)
        elif kind == "move":
            self._move(queue, QUEUES[(number + 1) % 3])
        elif destination is not None and destination.sessions:
            self._session(kind, destination, mine, amount)

    def _session(self, kind: str, destination: Destination, mine: list[str], amount: int) -> None:
        y = self.y
        if kind == "take":
            self.take(destination)
        elif kind == "end" and destination.sessions > len(mine):
            destination.end_session()
        elif mine:
            message_id = mine[amount % len(mine)]
            entry = y.spool.get(message_id)
            assert entry is not None
            del self.active[message_id]
            if kind == "settle":
                y.settle(destination, message_id)
            elif kind == "defer":
                y.defer(destination, message_id, y.now + amount)
            elif kind == "fail":
                y.fail(destination, message_id)
            elif kind in ("give back", "skip"):
                destination.give_back(entry, last=kind == "skip")
            else:
                self.active[message_id] = destination

    def take(self, destination: Destination) -> bool:
        """A session asks for its next message."""
        job = destination.take()
        if job is None:
            return False
        message_id = id_of(job)
        assert message_id not in self.active, "worked on twice"
        entry = self.y.spool.get(message_id)
        assert entry is not None, "settled already"
        assert entry.due <= self.y.now or self.asked, "before its time"
        assert entry.queue == destination.name
        self.active[message_id] = destination
        self.tries += 1
        return True

    def _move(self, queue: str, to: str) -> None:
        """An administrator sends what waits in one queue to another, one message of it."""
        found = next((e for e in self.y.spool.due(float("inf"), 50, queue) if self.y.scheduler.withdraw(e.id)), None)
        if found is not None:
            (entry,) = self.y.put(to, found.id, due=0.0)
            self.y.scheduler.enqueue(to, entry)

    def check(self) -> None:
        """What is counted is what there is."""
        home = self.y.scheduler._destinations
        everyone = self.y.scheduler.destinations()
        assert home.stock.ready == sum(len(d.ready) for d in everyone)
        assert home.turns.total == sum(d.sessions for d in everyone) <= 5
        assert set(self.active) == {message_id for d in everyone for message_id in d.active}
        assert all(d.sessions >= 0 for d in everyone)

    def finish(self) -> None:
        """From now on all goes well: everything is delivered."""
        for _ in range(400):
            for message_id, destination in list(self.active.items()):
                del self.active[message_id]
                self.y.settle(destination, message_id)
            for destination in self.y.scheduler.destinations():
                while destination.sessions and self.take(destination):
                    (message_id,) = self.active
                    del self.active[message_id]
                    self.y.settle(destination, message_id)
                while destination.sessions:
                    destination.end_session()
                    if destination.ready and self.y.now >= destination.until:
                        break
            if not self.y.spool.count():
                return
            self.y.pass_time(15)
        raise AssertionError(f"forgotten: {self.y.spool.due(float('inf'), 10)}")


async def run(script: list[tuple[str, int, int]], folder: Path | None) -> None:
    async with yard(ONE_OF_EACH, folder=folder, sessions=5, ready=6, ready_each=2) as y:
        trial = Run(y)
        for kind, number, amount in script:
            trial.step(kind, number, amount)
            trial.check()
        trial.finish()


@settings(max_examples=300, deadline=None)
@given(steps)
def test_every_message_is_taken_once_at_a_time_after_its_time_and_in_the_end(script: list[tuple[str, int, int]]) -> None:
    asyncio.run(run(script, None))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=steps)
def test_it_is_so_with_the_spool_on_disk(tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, int, int]]) -> None:
    asyncio.run(run(script, tmp_path_factory.mktemp("spool")))
