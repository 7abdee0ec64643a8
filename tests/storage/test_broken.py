"""Faults that are nobody's disk: a writer that stops, a change that cannot be written, an index that cannot be read while the spool works.

Nobody waits for ever, what is shown is what is kept, and what a new start repairs asks for one.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.errors import SpoolDamaged, StorageUnavailable
from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Query, Remove
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.embedded.table import HIDING


def put(name: str) -> Put:
    return Put(Entry(name, "submitted", b"envelope", "c-" + name), MemoryContent(b"octets of " + name.encode()))


@pytest.fixture
def settings(tmp_path: Path) -> EmbeddedSettings:
    return EmbeddedSettings(
        tmp_path / "spool", segment_size=1 << 20, settle_after=0.05, settle_interval=0.02, append_delay=0.001, retry_delay=0.02
    )


async def opened(settings: EmbeddedSettings) -> EmbeddedSpool:
    spool = EmbeddedSpool(settings)
    recovered = await spool.open()
    assert recovered.damaged == []
    return spool


def names(spool: EmbeddedSpool) -> list[str]:
    """The entries, all of whose contents are as they should be."""
    entries = spool.select(Query(), limit=1000).entries
    assert [spool.content(entry).read() for entry in entries] == [b"octets of " + entry.id.encode() for entry in entries]
    return [entry.id for entry in entries]


async def test_a_writer_that_stops_fails_every_call_and_asks_for_a_new_start(settings: EmbeddedSettings) -> None:
    """Whatever it was that stopped it; the new start has all that was acknowledged, and nothing that was refused."""
    faults: list[Exception] = []
    lines: list[str] = []
    asked: list[bool] = []

    def sync(descriptor: int) -> None:
        if faults:
            raise faults.pop()
        os.fdatasync(descriptor)

    made = replace(settings, sync=sync, on_trouble=lines.append, on_broken=lambda: asked.append(True))
    spool = await opened(made)
    await spool.commit([put("before")])
    faults.append(RuntimeError("a fault of our own"))
    for name in ("during", "after"):
        with pytest.raises(StorageUnavailable, match="a fault of our own"):
            await asyncio.wait_for(spool.commit([put(name)]), 5)
    assert asked == [True]
    assert any("a fault of our own" in line for line in lines)
    spool.append([Remove("before")])
    with pytest.raises(StorageUnavailable, match="1 changes"):
        await asyncio.wait_for(spool.close(), 5)
    spool = await opened(settings)
    assert names(spool) == ["before"]
    await spool.close()


async def test_an_index_damaged_while_the_spool_works_is_not_taken_for_damage_of_a_message(settings: EmbeddedSettings) -> None:
    """Whatever is asked of it, it is the spool that cannot go on; the new start has everything."""
    asked: list[bool] = []
    spool = await opened(replace(settings, on_broken=lambda: asked.append(True)))
    for name in ("a", "b"):
        await spool.commit([put(name)])
        await asyncio.sleep(0.2)
    path = settings.directory / "index.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
    spool._index._reader.execute("PRAGMA shrink_memory")
    entry = put("a").entry
    with pytest.raises(SpoolDamaged):
        spool.content(entry)
    with pytest.raises(SpoolDamaged):
        spool.get("a")
    spool.append([Put(Entry("a", "routed", b"", "c-a"))])
    end = time.monotonic() + 5
    while not asked:
        await asyncio.sleep(0.01)
        assert time.monotonic() < end
    await spool.close()
    spool = EmbeddedSpool(settings)
    recovered = await spool.open()
    assert "the index was found damaged" in recovered.damaged[0]
    assert names(spool) == ["a", "b"]
    await spool.close()


async def test_a_question_after_the_end_says_nothing_against_the_index(settings: EmbeddedSettings) -> None:
    """Whoever reads a content when the spool was closed is told that, and the next start believes the index."""
    spool = await opened(settings)
    await spool.commit([put("a")])
    await spool.close()
    with pytest.raises(StorageUnavailable):
        spool._index.get("a")
    spool = await opened(settings)
    assert names(spool) == ["a"]
    await spool.close()


async def test_a_segment_is_freed_only_when_the_index_is_durable_beyond_it(settings: EmbeddedSettings) -> None:
    """While somebody reads an old state of the index, what was settled since cannot be made durable."""
    spool = await opened(settings)
    await spool.commit([put("first")])
    await asyncio.sleep(0.2)
    reader = sqlite3.connect(settings.directory / "index.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchall()
    for number in range(20):
        name = f"{number:02}"
        await spool.commit([Put(Entry(name, "s", b"", "c-" + name), MemoryContent(b"x" * 100_000))])
        spool.append([Remove(name)])
    spool.append([Remove("first")])
    await spool.commit([put("last")])
    await asyncio.sleep(0.3)
    first = settings.directory / "journal" / "000000000001.segment"
    assert first.exists()
    reader.close()
    await spool.commit([put("more")])
    await asyncio.sleep(0.3)
    assert not first.exists()
    await spool.close()


class Broken(MemoryContent):
    """A content that cannot be read."""

    __slots__ = ()

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        raise ValueError("broken")


def bad(name: str) -> Put:
    return Put(Entry(name, "rewritten", b"", "c-bad"), Broken(b"x"))


@pytest.mark.parametrize("settled", [False, True], ids=["young", "settled"])
@pytest.mark.parametrize(
    "calls",
    [
        lambda: [[bad("a")]],
        lambda: [[Remove("a"), bad("new")]],
        lambda: [[bad("a"), Remove("a")]],
        lambda: [[bad("a")], [Put(Entry("a", "later", b"", "c-bad"))]],
        lambda: [[bad("new")], [Put(Entry("a", "later", b"", "c-bad"))], [Remove("new")]],
    ],
    ids=["put again", "removed", "put and removed", "put again twice", "new, and removed"],
)
async def test_an_append_that_cannot_be_written_is_as_if_it_had_never_been_made(
    settings: EmbeddedSettings, settled: bool, calls: Callable[[], list[list[Put | Remove]]]
) -> None:
    """Its content cannot be read; the entries are as they were, now and after a restart, and so is what only they refer to."""
    lines: list[str] = []
    spool = await opened(replace(settings, settle_after=0.01 if settled else 60, on_trouble=lines.append))
    await spool.commit([put("a"), put("b")])
    await asyncio.sleep(0.2)
    for group in calls():
        spool.append(group)
    spool.append([Remove("b")])
    await spool.commit([])
    await asyncio.sleep(0.2)
    assert any("broken" in line for line in lines)
    assert (names(spool), spool.count(), spool.get("a")) == (["a"], 1, put("a").entry)
    assert [entry.id for entry in spool.due(1.0)] == ["a"]
    await spool.close()
    spool = await opened(settings)
    assert (names(spool), spool.count(), spool.get("a")) == (["a"], 1, put("a").entry)
    await spool.close()


async def test_an_append_over_one_that_cannot_be_written_counts(settings: EmbeddedSettings) -> None:
    """It does not need what was refused."""
    spool = await opened(replace(settings, settle_after=60))
    await spool.commit([put("a"), put("b")])
    spool.append([bad("a"), bad("b"), bad("c")])
    spool.append([Put(Entry("a", "later", b"", "c-a")), Remove("b"), Remove("c")])
    await spool.commit([])
    assert (names(spool), spool.count(), spool.get("a")) == (["a"], 1, Entry("a", "later", b"", "c-a"))
    await spool.close()
    spool = await opened(settings)
    assert (names(spool), spool.count()) == (["a"], 1)
    await spool.close()


async def test_an_index_of_an_older_version_gets_the_orders_that_it_lacks(settings: EmbeddedSettings) -> None:
    """It is not taken for damaged and made again from the journal: that would take minutes with a great backlog."""
    spool = await opened(settings)
    await spool.commit([Put(Entry(name, "routed", b"", queue="x", due=due)) for name, due in (("a", 2.0), ("b", 1.0))])
    await spool.close()
    path = settings.directory / "index.sqlite"
    made = path.stat().st_ino
    database = sqlite3.connect(path)
    for name in ("entries_waiting", "entries_queue_waiting", "entries_held"):
        database.execute(f"DROP INDEX {name}")
    database.execute("CREATE INDEX entries_due ON entries (due, id) WHERE held = ''")
    database.commit()
    database.close()
    spool = await opened(settings)
    assert ([found.id for found in spool.due(9.0, queue="x")], spool.queues()) == (["b", "a"], {"x": 1.0})
    assert path.stat().st_ino == made
    await spool.close()


async def test_what_hides_many_rows_settles_before_its_time(settings: EmbeddedSettings) -> None:
    """Otherwise each question in a queue that is being drained would pass all that has just gone."""
    spool = await opened(settings)
    await spool.commit([Put(Entry(f"{number:05}", "routed", b"", queue="x")) for number in range(2 * HIDING)])
    await spool.close()
    spool = await opened(replace(settings, settle_after=3600.0))
    spool.append([Remove(f"{number:05}") for number in range(2 * HIDING - 1)])
    deadline = time.monotonic() + 10
    while len(spool._table.slots) > HIDING:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert [found.id for found in spool.due(9.0, queue="x")] == [f"{2 * HIDING - 1:05}"]
    await spool.close()
