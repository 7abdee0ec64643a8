"""The accounts: who used how much on which day."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from examples.billing import Billing

from penstock.testing import SinkTester, SinkTesters

DAY = 86400.0


@pytest.fixture
def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    made = sink_tester(Billing, database=tmp_path / "usage.db")
    made.server.now = lambda: 1_700_000_000.0  # 2023-11-14
    return made


def usage(folder: Path) -> dict[tuple[str, str], tuple[float, ...]]:
    """Sessions, seconds, messages, octets, relayed; by day and user."""
    with closing(sqlite3.connect(folder / "usage.db")) as database:
        return {(day, who): tuple(amounts) for day, who, *amounts in database.execute("SELECT * FROM usage")}


async def test_a_session_its_messages_and_copies_are_counted(tester: SinkTester, tmp_path: Path) -> None:
    tester.set_session(user="ann")
    for _ in range(2):
        tester.set_message(b"x" * 100, sender="ann@example.com")
        await tester.accepted()
    await tester.relayed()
    await tester.session_ended(seconds=2.5)
    assert usage(tmp_path) == {
        ("2023-11-14", "ann"): (1, 2.5, 2, 200, 0),
        ("2023-11-14", "ann@example.com"): (0, 0.0, 0, 0, 1),
    }


async def test_strangers_are_their_address_and_each_day_is_its_own(tester: SinkTester, tmp_path: Path) -> None:
    await tester.session_ended()
    tester.server.now = lambda: 1_700_000_000.0 + DAY
    await tester.session_ended()
    assert set(usage(tmp_path)) == {("2023-11-14", "192.0.2.1"), ("2023-11-15", "192.0.2.1")}
