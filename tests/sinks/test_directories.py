"""Directories over a connection: what rows mean, who is refused at RCPT, and what an outage does; with real databases."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock import Sink
from penstock.errors import ConfigError
from penstock.sinks import (
    DomainRecipients,
    LocalRecipients,
    LocalRecipientsSettings,
    Postgresql,
    PostgresqlSettings,
    Sqlite,
    SqliteSettings,
)
from penstock.sinks.directory import Directory, DirectorySettings
from penstock.sinks.lookup import Entry
from penstock.verdicts import Defer, Reject
from support.databases import Postgres, running_postgres

from .asking import at_rcpt, members, resolved

UNKNOWN = Reject(550, "5.1.1", "No such user here")
AWAY = Defer(451, "4.4.3", "The directory cannot be asked now")
TABLE = """
CREATE TABLE people (address TEXT, destination TEXT, owner TEXT, quota INTEGER);
INSERT INTO people VALUES ('alice@example.com', NULL, NULL, 10);
INSERT INTO people VALUES ('bob@example.com', 'bob@other.example', NULL, 0);
INSERT INTO people VALUES ('carol@example.com', 'carol@example.com, carol@other.example', NULL, 0);
INSERT INTO people VALUES ('team@example.com', 'alice bob@example.com', 'boss@example.com', 0);
INSERT INTO people VALUES ('team@example.com', 'dave@other.example', 'boss@example.com', 0);
INSERT INTO people VALUES ('broken@example.com', 'not@@an address', NULL, 0);
INSERT INTO people VALUES ('@catch.example', 'alice@example.com', NULL, 0);
INSERT INTO people VALUES ('o''brien@example.com', NULL, NULL, 1);
"""
SCALAR = "SELECT destination, owner, quota FROM people WHERE address = :address"
ARRAY = "SELECT address, destination, owner, quota FROM people WHERE address = ANY($1)"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An SQLite file with the table."""
    with sqlite3.connect(tmp_path / "people.db") as connection:
        connection.executescript(TABLE)
    connection.close()
    return tmp_path / "people.db"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL with the table."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        server.run(TABLE)
        yield server


async def check_rows(sink: Sink[Any]) -> None:
    """What rows mean, however they were had."""
    alice, detail, bob, team, nobody, broken, quote, injected = await resolved(
        sink, "Alice@example.com", "alice+lists@example.com", "bob@example.com", "team@example.com", "nobody@example.com",
        "broken@example.com", "o'brien@example.com", "\"x' OR '1'='1\"@example.com",
    )  # fmt: skip
    assert (alice.decision, alice.attributes) == ("resolved", {"quota": 10})
    assert detail.decision == "resolved"
    assert (bob.decision, [str(m) for m in bob.members]) == ("forwarded", ["bob@other.example"])
    assert (team.decision, str(team.sender)) == ("expanded", "boss@example.com")
    assert sorted(map(str, team.members)) == ["alice@example.com", "bob@example.com", "dave@other.example"]
    assert nobody.decision == ""
    assert (broken.decision, broken.status) == ("deferred", "4.3.5")
    assert quote.decision == "resolved"
    assert injected.decision == ""
    assert sorted(await members(sink, "carol@example.com")) == ["carol@example.com", "carol@other.example"]
    assert await members(sink, "anybody@catch.example") == ["alice@example.com"]
    (team,) = await resolved(sink, "team@example.com", sender="")
    assert (team.decision, team.sender) == ("expanded", None)


async def test_rows_of_sqlite(database: Path) -> None:
    await check_rows(Sqlite(SqliteSettings(path=database, query=SCALAR)))


async def test_rows_of_postgresql_asked_for_one_by_one(postgres: Postgres) -> None:
    sink = Postgresql(PostgresqlSettings(dsn=postgres.dsn, query=SCALAR.replace(":address", "$1")))
    await check_rows(sink)
    await sink.stop()


async def test_rows_of_postgresql_asked_for_at_once(postgres: Postgres) -> None:
    sink = Postgresql(PostgresqlSettings(dsn=postgres.dsn, query=ARRAY))
    await check_rows(sink)
    await sink.stop()


async def test_a_query_of_one_column_says_who_exists(postgres: Postgres) -> None:
    query = "SELECT address FROM people WHERE address = ANY($1)"
    sink = Postgresql(PostgresqlSettings(dsn=postgres.dsn, query=query, domains=["example.com"]))
    assert await at_rcpt("alice+x@example.com", sink) is None
    assert await at_rcpt("nobody@example.com", sink) == UNKNOWN
    await sink.stop()


async def test_an_authoritative_directory_refuses_at_rcpt_whom_nobody_knows(database: Path) -> None:
    """Postmaster always exists, and other domains are none of its business."""
    sink = Sqlite(SqliteSettings(path=database, query=SCALAR, domains=["example.com"]))
    assert await at_rcpt("nobody@example.com", sink) == UNKNOWN
    for name in ("alice@example.com", "alice+x@example.com", "Postmaster@example.com", "nobody@other.example"):
        assert await at_rcpt(name, sink) is None
    nobody, postmaster, other = await resolved(sink, "nobody@example.com", "postmaster@example.com", "nobody@other.example")
    assert (nobody.decision, nobody.status) == ("failed", "5.1.1")
    assert (postmaster.decision, other.decision) == ("", "")


async def test_a_directory_among_others_says_whom_it_knows(database: Path) -> None:
    """Then LocalRecipients, which is asked last, has the last word."""
    sink = Sqlite(SqliteSettings(path=database, query=SCALAR, domains=["example.com"], authoritative=False))
    last = LocalRecipients(LocalRecipientsSettings({"example.com": DomainRecipients(["zoe"])}))
    assert await at_rcpt("alice@example.com", sink, last) is None
    assert await at_rcpt("zoe@example.com", sink, last) is None
    assert await at_rcpt("nobody@example.com", sink, last) == UNKNOWN
    (nobody,) = await resolved(sink, "nobody@example.com")
    assert nobody.decision == ""


async def test_an_outage_puts_off_what_was_asked_about_and_nothing_else(tmp_path: Path) -> None:
    sink = Sqlite(SqliteSettings(path=tmp_path / "missing.db", query=SCALAR, domains=["example.com"]))
    assert await at_rcpt("alice@example.com", sink) == AWAY
    assert await at_rcpt("alice@other.example", sink) is None
    here, there = await resolved(sink, "alice@example.com", "alice@other.example")
    assert (here.decision, here.status, there.decision) == ("deferred", "4.4.3", "")
    with pytest.raises(ConfigError, match=r"missing\.db"):
        await sink.start()


async def test_a_postgresql_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with running_postgres(tmp_path) as server:
        server.run(TABLE)
        sink = Postgresql(PostgresqlSettings(dsn=server.dsn, query=ARRAY, domains=["example.com"]))
        assert await at_rcpt("nobody@example.com", sink) == UNKNOWN
        server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL")
        assert await at_rcpt("nobody@example.com", sink) == UNKNOWN
    assert await at_rcpt("nobody@example.com", sink) == AWAY
    await sink.stop()


async def test_a_slow_query_ends_at_its_time(postgres: Postgres) -> None:
    query = "SELECT address FROM people, pg_sleep(30) WHERE address = ANY($1)"
    sink = Postgresql(PostgresqlSettings(dsn=postgres.dsn, query=query, domains=["example.com"], seconds=0.3))
    async with asyncio.timeout(5):
        assert await at_rcpt("alice@example.com", sink) == AWAY
    await sink.stop()


async def test_a_wrong_password_and_a_wrong_query_put_off(postgres: Postgres) -> None:
    for settings in (
        PostgresqlSettings(dsn=postgres.dsn, password="wrong", query=ARRAY, domains=["example.com"]),
        PostgresqlSettings(dsn=postgres.dsn, query="SELECT nothing", domains=["example.com"]),
        PostgresqlSettings(dsn=postgres.dsn, query="SELECT 1 FROM people WHERE address = $1 OR address = $2", domains=["example.com"]),
    ):
        sink = Postgresql(settings)
        assert await at_rcpt("alice@example.com", sink) == AWAY
        assert "secret" not in repr(settings)
        assert "wrong" not in repr(settings)
        await sink.stop()


async def test_an_endless_query_of_sqlite_leaves_its_thread(database: Path) -> None:
    query = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT sum(x) FROM n WHERE :address > ''"
    sink = Sqlite(SqliteSettings(path=database, query=query, seconds=0.2))
    (item,) = await resolved(sink, "alice@example.com")
    assert item.decision == "deferred"
    async with asyncio.timeout(5):
        await asyncio.get_running_loop().shutdown_default_executor()


async def test_a_batch_is_one_question() -> None:
    class Counted(Directory, Sink[DirectorySettings]):
        questions: list[list[str]] = []

        async def look_up(self, keys: Sequence[str]) -> Mapping[str, Entry]:
            self.questions.append(list(keys))
            return {}

    await resolved(Counted(DirectorySettings()), "a@example.com", "b+x@example.com")
    assert Counted.questions == [["a@example.com", "@example.com", "b+x@example.com", "b@example.com"]]
