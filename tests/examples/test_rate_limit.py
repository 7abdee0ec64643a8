"""The rate limit: so many recipients in one go, and time makes room again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from examples.rate_limit import RateLimit

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Defer


@pytest.fixture
def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    made = sink_tester(RateLimit, database=tmp_path / "rates.db", recipients=10, seconds=100.0)
    made.set_session(user="ann")
    return made


async def taken(tester: SinkTester, asked: int, at: float) -> int:
    """Of so many recipients at this time, how many were taken."""
    tester.server.now = lambda: 1_700_000_000.0 + at
    verdicts = [await tester.rcpt_to(f"user{number}@example.net") for number in range(asked)]
    assert all(verdict is None or isinstance(verdict, Defer) for verdict in verdicts)
    return verdicts.count(None)


async def test_a_user_may_write_to_so_many_and_then_waits(tester: SinkTester) -> None:
    assert await taken(tester, 15, at=0) == 10
    assert await taken(tester, 15, at=30) == 3
    assert await taken(tester, 15, at=10_000) == 10
    assert {line["who"] for line in tester.log.named("too many recipients")} == {"ann"}


async def test_each_user_has_his_own_measure_and_strangers_that_of_their_address(tester: SinkTester) -> None:
    assert await taken(tester, 15, at=0) == 10
    tester.set_session(user="ben")
    assert await taken(tester, 15, at=0) == 10
    tester.set_session("198.51.100.7", user="")
    assert await taken(tester, 15, at=0) == 10


async def test_a_refused_try_costs_nothing(tester: SinkTester) -> None:
    assert await taken(tester, 1000, at=0) == 10
    assert await taken(tester, 1, at=10.1) == 1


async def test_workers_share_the_measure(tester: SinkTester, sink_tester: SinkTesters, tmp_path: Path) -> None:
    others = [sink_tester(RateLimit, database=tmp_path / "rates.db", recipients=10, seconds=100.0) for _ in range(3)]
    for other in (*others, tester):
        await other.start()
        other.set_session(user="ann")
    assert sum(await asyncio.gather(*(taken(other, 8, at=0) for other in (*others, tester)))) == 10
