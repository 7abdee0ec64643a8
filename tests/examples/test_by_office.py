"""Attributes from a directory, from Resolve to the next hop."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from examples.by_office import ByOffice

from penstock import Address, Recipient
from penstock.testing import SinkTester, SinkTesters


@pytest.fixture
def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    with closing(sqlite3.connect(tmp_path / "people.db")) as directory, directory:
        directory.execute("CREATE TABLE person (address TEXT PRIMARY KEY, office TEXT)")
        directory.execute("INSERT INTO person VALUES ('ann@example.com', 'paris'), ('ben@example.com', 'rome'), ('eve@example.com', NULL)")
    return sink_tester(ByOffice, directory=tmp_path / "people.db", servers={"paris": "[192.0.2.11]:25"})


async def test_what_the_directory_says_is_noted_and_nothing_is_decided(tester: SinkTester) -> None:
    items = await tester.resolve("Ann@example.com", "ben@example.com", "eve@example.com", "new@example.com")
    assert [item.attributes for item in items] == [{"office": "paris"}, {"office": "rome"}, {}, {}]
    assert all(not item.decided for item in items)


async def test_the_mail_goes_to_the_office_that_has_a_server(tester: SinkTester) -> None:
    found = {"ann": {"office": "paris"}, "ben": {"office": "rome"}, "new": {}}
    tester.set_message(
        recipients=[Recipient(Address(name, "example.com"), properties={"attributes": attributes}) for name, attributes in found.items()]
    )
    assert await tester.post_categorize() is None
    assert [recipient.route for recipient in tester.message.recipients] == ["[192.0.2.11]:25", "", ""]


async def test_without_the_directory_the_message_waits(tester: SinkTester, tmp_path: Path) -> None:
    (tmp_path / "people.db").unlink()
    with pytest.raises(sqlite3.OperationalError):
        await tester.resolve("ann@example.com")
