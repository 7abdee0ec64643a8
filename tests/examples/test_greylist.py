"""Greylisting: the first try waits, a later one passes, and the clock is the server's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from examples.greylist import Greylist

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Defer


@pytest.fixture
def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    return sink_tester(Greylist, database=tmp_path / "greylist.db", wait=300.0, keep=86400.0)


async def asked(tester: SinkTester, after: float = 0.0, sender: str = "ann@client.example", recipient: str = "bob@example.com") -> bool:
    """Whether a recipient is let in so many seconds from now."""
    tester.server.now = lambda: time.time() + after
    await tester.mail_from(sender)
    verdict = await tester.rcpt_to(recipient)
    assert verdict is None or isinstance(verdict, Defer)
    return verdict is None


async def test_the_first_try_is_put_off_and_a_later_one_passes(tester: SinkTester) -> None:
    assert not await asked(tester)
    assert not await asked(tester, after=200)
    assert await asked(tester, after=301)
    assert await asked(tester, after=302)


async def test_who_writes_to_somebody_else_or_as_somebody_else_is_new(tester: SinkTester) -> None:
    await asked(tester)
    assert not await asked(tester, after=301, recipient="carol@example.com")
    assert not await asked(tester, after=301, sender="eve@client.example")
    assert await asked(tester, after=301, recipient="BOB@example.com")


async def test_a_large_sender_may_come_back_from_a_neighbouring_address(tester: SinkTester) -> None:
    await asked(tester)
    tester.set_session("192.0.2.200")
    assert await asked(tester, after=301)
    tester.set_session("198.51.100.1")
    assert not await asked(tester, after=301)
    tester.set_session("2001:db8::1")
    assert not await asked(tester, after=301)
    tester.set_session("2001:db8::ffff")
    assert await asked(tester, after=700)


async def test_who_stays_away_for_long_is_new_again(tester: SinkTester) -> None:
    await asked(tester)
    assert await asked(tester, after=301)
    assert not await asked(tester, after=400 + 86400)


async def test_what_it_knows_outlives_a_restart(tester: SinkTester, sink_tester: SinkTesters, tmp_path: Path) -> None:
    await asked(tester)
    again = sink_tester(Greylist, database=tmp_path / "greylist.db", wait=300.0, keep=86400.0)
    assert await asked(again, after=301)


async def test_without_its_database_it_lets_everybody_in(tester: SinkTester, tmp_path: Path) -> None:
    await tester.start()
    for path in tmp_path.glob("greylist.db*"):
        path.unlink()
    tester.bound(on_error="continue")
    assert await asked(tester)
    assert tester.log.errors
