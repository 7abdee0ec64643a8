"""The catch-all: who is in the directory keeps his mail, who is not is caught, and nobody else is touched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from examples.catch_all import CatchAll

from penstock.testing import SinkTester, SinkTesters


@pytest.fixture
def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    with sqlite3.connect(tmp_path / "people.db") as directory:
        directory.execute("CREATE TABLE person (address TEXT PRIMARY KEY)")
        directory.execute("INSERT INTO person VALUES ('ann@example.com')")
    directory.close()
    return sink_tester(CatchAll, directory=tmp_path / "people.db", domain="example.com", keeper="office@example.com")


async def test_a_known_address_keeps_its_mail_and_an_unknown_one_is_caught(tester: SinkTester) -> None:
    known, unknown = await tester.resolve("Ann@example.com", "nobody@example.com")
    assert (known.decision, known.members) == ("resolved", ())
    assert unknown.decision == "rewritten"
    assert [str(member) for member in unknown.members] == ["office@example.com"]


async def test_recipients_elsewhere_are_left_to_others_and_none_is_lost(tester: SinkTester) -> None:
    items = await tester.resolve("nobody@example.com", "dora@example.net", sender="ghost@example.com")
    assert {str(item.address): item.decision for item in items} == {
        "ghost@example.com": "",
        "nobody@example.com": "rewritten",
        "dora@example.net": "",
    }


async def test_the_keeper_is_known_so_that_catching_ends(tester: SinkTester) -> None:
    [keeper] = await tester.resolve("office@example.com")
    assert keeper.decision == "resolved"


async def test_without_the_directory_nothing_is_caught_and_the_server_does_not_start(tester: SinkTester, tmp_path: Path) -> None:
    (tmp_path / "people.db").unlink()
    with pytest.raises(sqlite3.OperationalError):
        await tester.start()
