"""An administrator can list, print, verify, export and import a spool."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Query
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool, tools
from penstock.storage.memory import MemorySpool


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[EmbeddedSpool]:
    spool = EmbeddedSpool(EmbeddedSettings(tmp_path / "spool", segment_size=1 << 20, large_content=50_000))
    await spool.open()
    await spool.commit(
        [
            Put(Entry("a", "queued", b"\x00\xff", "c", "x", 5.0), MemoryContent(b"small")),
            Put(Entry("b", "queued", b"r", "c", "y", 6.0, "held")),
            Put(Entry("l", "queued", b"r", "large"), MemoryContent(b"x" * 300_000)),
            Put(Entry("n", "report", b"r")),
        ]
    )
    yield spool
    await spool.close()


async def test_entries_are_listed_and_printed(spool: EmbeddedSpool) -> None:
    """Listing takes a query; printing an unknown entry is a KeyError."""
    assert [entry.id for entry in tools.entries(spool)] == ["a", "b", "l", "n"]
    assert [entry.id for entry in tools.entries(spool, Query(held=True))] == ["b"]
    output = io.BytesIO()
    tools.cat(spool, "b", output)
    assert output.getvalue() == b"small"
    with pytest.raises(KeyError):
        tools.cat(spool, "nobody", output)


async def test_what_was_exported_can_be_imported_elsewhere(spool: EmbeddedSpool, tmp_path: Path) -> None:
    """Entries and contents are the same afterwards, in whatever kind of spool."""
    assert tools.export(spool, tmp_path / "out") == []
    assert (tmp_path / "out" / "a.eml").read_bytes() == b"small"
    other = MemorySpool()
    await other.open()
    assert await tools.bring_back(other, tmp_path / "out") == 4
    assert list(tools.entries(other)) == list(tools.entries(spool))
    for entry in tools.entries(spool, Query(stage="queued")):
        assert other.content(entry).read() == spool.content(entry).read()


async def test_a_check_finds_nothing_wrong_with_a_whole_spool(spool: EmbeddedSpool, tmp_path: Path) -> None:
    """It counts what it has read, also beside a working spool."""
    report = tools.check(tmp_path / "spool")
    assert (report.segments, report.records, report.files, report.problems) == (1, 1, 1, [])


async def test_a_check_names_all_damage_and_changes_nothing(spool: EmbeddedSpool, tmp_path: Path) -> None:
    """Journal, large contents and index are all read."""
    await spool.close()
    folder = tmp_path / "spool"
    for path, offset in (("journal/000000000001.segment", 4096 + 45), ("index.sqlite", 4096)):
        octets = bytearray((folder / path).read_bytes())
        octets[offset : offset + 9] = b"\xaa" * 9
        (folder / path).write_bytes(octets)
    (large,) = (folder / "large").iterdir()
    large.write_bytes(b"y" + large.read_bytes()[1:])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    problems = "\n".join(tools.check(folder).problems)
    for words in ("record 1 at 4096", "no record names it", "index.sqlite"):
        assert words in problems
    assert {path: path.read_bytes() for path in before} == before
