"""Damage of every kind is found, named and set aside, and all that is whole is kept.

The disk is damaged here by changing the files of a closed spool, or of a copy taken while it worked, which has no mark of a clean end.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.errors import SpoolDamaged, StorageDamaged
from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Query, Recovered, Remove
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.embedded.format import BLOCK, Record, SegmentHeader, scan

SECTOR = 512


@pytest.fixture
def settings(tmp_path: Path) -> EmbeddedSettings:
    """A spool that keeps everything young, so that all of it is replayed."""
    return EmbeddedSettings(
        tmp_path / "spool", segment_size=1 << 20, large_content=100_000, settle_after=600, append_delay=0.001, prewrite=False
    )


def data_of(name: str) -> bytes:
    return random.Random(name).randbytes(3000)


def put(name: str) -> Put:
    return Put(Entry(name, "submitted", b"envelope", "c-" + name), MemoryContent(data_of(name)))


async def opened(settings: EmbeddedSettings) -> tuple[EmbeddedSpool, Recovered]:
    spool = EmbeddedSpool(settings)
    return spool, await spool.open()


async def kept(settings: EmbeddedSettings) -> tuple[list[str], Recovered]:
    """The entries whose contents are right, and what recovery said; also that a second recovery sees the same entries."""
    spool, recovered = await opened(settings)
    names = whole(spool)
    await spool.commit([put("after")])
    await spool.close()
    spool, _ = await opened(settings)
    assert whole(spool) == sorted([*names, "after"])
    await spool.commit([Remove("after")])
    await spool.close()
    return names, recovered


def whole(spool: EmbeddedSpool) -> list[str]:
    names = []
    for entry in spool.select(Query(), limit=100_000).entries:
        try:
            assert spool.content(entry).read() == data_of(entry.id)
            names.append(entry.id)
        except StorageDamaged:
            pass
    return names


async def working_copy(settings: EmbeddedSettings, groups: list[list[str]]) -> EmbeddedSettings:
    """The files of a spool that did not end cleanly, after one batch for each group."""
    spool, _ = await opened(settings)
    for group in groups:
        await asyncio.gather(*(spool.commit([put(name)]) for name in group))
    copy = replace(settings, directory=settings.directory.with_name("copy"))
    shutil.copytree(settings.directory, copy.directory)
    await spool.close()
    return copy


def segments(settings: EmbeddedSettings) -> list[Path]:
    return sorted((settings.directory / "journal").glob("*.segment"))


def records(path: Path) -> list[Record]:
    data = path.read_bytes()
    header = SegmentHeader.unpack(data[:BLOCK])
    assert header is not None
    return list(scan(data, header))


def flip(path: Path, offset: int) -> None:
    """Turns one bit around."""
    with path.open("r+b") as file:
        file.seek(offset)
        (octet,) = file.read(1)
        file.seek(offset)
        file.write(bytes([octet ^ 0x10]))


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


OLD = [f"old-{number}" for number in range(5)]
LAST = [f"zlast-{number}" for number in range(6)]


def _last_batch(path: Path) -> tuple[int, int]:
    """Where the last batch begins and ends, in whole sectors."""
    found = records(path)
    batch = [record for record in found if record.batch == found[-1].batch]
    return batch[0].offset, -(-batch[-1].end // SECTOR) * SECTOR


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("filling", ["zeros", "old octets of a recycled segment", "another order"])
async def test_a_torn_last_batch_costs_nothing_that_was_acknowledged(settings: EmbeddedSettings, seed: int, filling: str) -> None:
    """Some sectors of the last batch did not reach the disk; what was durable before is whole, and no record is half there."""
    copy = await working_copy(settings, [OLD, LAST])
    chance = random.Random(seed)
    path = segments(copy)[-1]
    start, end = _last_batch(path)
    octets = path.read_bytes()
    lost = [at for at in range(start, end, SECTOR) if chance.random() < 0.2]
    sources = chance.sample(lost, len(lost))
    for at, source in zip(lost, sources, strict=True):
        if filling == "zeros":
            overwrite(path, at, bytes(SECTOR))
        elif filling == "another order":
            overwrite(path, at, octets[source : source + SECTOR])
        else:  # records that were right in their time, with the salt that the segment had then
            old = octets[start : start + SECTOR].replace(octets[16:24], b"\1" * 8) if seed % 2 else octets[BLOCK : BLOCK + SECTOR]
            overwrite(path, at, old.replace(_salt(octets), b"oldsalt!"))
    names, recovered = await kept(copy)
    assert set(OLD) <= set(names) <= {*OLD, *LAST}
    assert recovered.count == len(names)
    assert all("the last group" in line for line in recovered.damaged)


def _salt(octets: bytes) -> bytes:
    header = SegmentHeader.unpack(octets[:BLOCK])
    assert header is not None
    return header.salt


async def test_a_recycled_segment_gives_back_none_of_its_old_records(settings: EmbeddedSettings) -> None:
    """Octets behind the new records are old, whole and of the same spool, and yet nobody takes them for new ones."""
    spool, _ = await opened(replace(settings, settle_after=0, settle_interval=0.01, slack_segments=1))
    for number in range(900):
        name = f"{number:04}"
        await spool.commit([put(name)])
        await spool.commit([Remove(name)])
        if len(segments(settings)) >= 3 and number > 600:
            break
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    await spool.commit([put("present")])
    await spool.close()
    path = segments(settings)[-1]
    assert int(path.stem) > 2
    for index in settings.directory.glob("index*"):
        index.unlink()
    names, recovered = await kept(settings)
    assert (names, recovered.damaged) == (["present"], [])


async def test_a_flipped_bit_in_an_envelope_costs_that_record_alone(settings: EmbeddedSettings) -> None:
    """The record is named and set aside; its neighbours in the same batch and all others are kept."""
    copy = await working_copy(settings, [OLD, LAST, ["end"]])
    path = segments(copy)[-1]
    victim = records(path)[2]
    flip(path, victim.offset + 50)
    names, recovered = await kept(copy)
    assert victim.meta is not None
    assert sorted(names) == sorted({*OLD, *LAST, "end"} - {victim.meta.changes[0].id})
    (line,) = recovered.damaged
    assert f"record {victim.sequence} at {victim.offset}" in line
    assert Path(line.rsplit(" ", 1)[1]).stat().st_size == path.stat().st_size


async def test_a_flipped_bit_in_a_record_s_header_costs_that_record_alone(settings: EmbeddedSettings) -> None:
    """Without a length that can be trusted the next record is still found."""
    copy = await working_copy(settings, [OLD, LAST, ["end"]])
    path = segments(copy)[-1]
    victim = records(path)[3]
    flip(path, victim.offset + 20)
    names, recovered = await kept(copy)
    assert len(names) == len(OLD) + len(LAST)
    assert f"records {victim.sequence} to {victim.sequence} are missing" in recovered.damaged[0]


async def test_a_flipped_bit_in_a_content_leaves_the_envelope(settings: EmbeddedSettings) -> None:
    """The entry is kept, so that somebody can be told; reading the content raises and keeps a copy of the octets."""
    copy = await working_copy(settings, [OLD, ["end"]])
    path = segments(copy)[-1]
    victim = records(path)[1]
    assert victim.meta is not None
    name = victim.meta.changes[0].id
    flip(path, victim.end - 100)
    spool, recovered = await opened(copy)
    assert name in recovered.damaged[0]
    entry = spool.get(name)
    assert entry is not None
    with pytest.raises(StorageDamaged, match="damaged") as raised:
        spool.content(entry).read()
    assert len(Path(raised.value.kept_as).read_bytes()) == 3000
    assert len(whole(spool)) == len(OLD)
    await spool.close()


async def test_a_flipped_bit_in_the_last_batch_of_a_clean_end_is_damage(settings: EmbeddedSettings) -> None:
    """After a clean end even the last batch is known to have been durable."""
    spool, _ = await opened(settings)
    await spool.commit([put("a")])
    await spool.close()
    path = segments(settings)[-1]
    flip(path, records(path)[0].offset + 45)
    for index in settings.directory.glob("index*"):
        index.unlink()
    _, recovered = await kept(settings)
    assert ": damaged: record 1" in recovered.damaged[0]


async def test_damage_is_reported_once(settings: EmbeddedSettings) -> None:
    """What was the torn tail at one recovery is not news at the next."""
    copy = await working_copy(settings, [OLD, LAST])
    flip(segments(copy)[-1], _last_batch(segments(copy)[-1])[0] + 45)
    spool, recovered = await opened(copy)
    assert len(recovered.damaged) == 1
    await spool.commit([put("new")])
    await spool.close()
    spool, recovered = await opened(copy)
    assert recovered.damaged == []
    await spool.close()


@pytest.mark.parametrize("place", ["header", "meta data", "content"])
async def test_what_is_damaged_after_a_recovery_kept_it_is_reported(settings: EmbeddedSettings, place: str) -> None:
    """The last batch before a crash was whole, and is damaged later: it was acknowledged, so its loss is news."""
    copy = await working_copy(settings, [OLD, LAST])
    spool, recovered = await opened(copy)
    assert recovered.damaged == []
    await spool.commit([put("new")])
    await spool.close()
    path = segments(copy)[0]
    victim = records(path)[-1]
    flip(path, victim.end - 100 if place == "content" else victim.offset + (20 if place == "header" else 45))
    for index in copy.directory.glob("index*"):
        index.unlink()
    spool, recovered = await opened(copy)
    if place == "header":  # the last number cannot be missed but for the next one
        assert f"records {victim.sequence} to {victim.sequence} are missing" in recovered.damaged[0]
    else:
        assert ": damaged: " in recovered.damaged[0]
    assert (spool.get(LAST[-1]) is not None) == (place == "content")
    await spool.close()


@pytest.mark.parametrize("offset", [0, BLOCK // 2])
async def test_one_bad_sector_does_not_cost_a_segment_s_header(settings: EmbeddedSettings, offset: int) -> None:
    """The header is there twice."""
    copy = await working_copy(settings, [OLD])
    overwrite(segments(copy)[0], offset, b"\xff" * SECTOR)
    names, recovered = await kept(copy)
    assert (names, recovered.damaged) == (OLD, [])


async def test_a_segment_without_header_is_moved_aside_and_the_others_are_read(settings: EmbeddedSettings) -> None:
    """A whole lost segment is named; the spool opens."""
    names = [f"{number:04}" for number in range(900)]
    copy = await working_copy(settings, [names[start : start + 50] for start in range(0, 900, 50)])
    paths = segments(copy)
    assert len(paths) >= 3
    gone = [change.id for record in records(paths[1]) if record.meta for change in record.meta.changes]
    overwrite(paths[1], 0, bytes(BLOCK))
    found, recovered = await kept(copy)
    assert found == sorted(set(names) - set(gone))
    assert any("no whole header" in line for line in recovered.damaged)
    assert list((copy.directory / "damaged").glob(paths[1].name + "*"))


async def test_a_truncated_segment_keeps_what_is_left_of_it(settings: EmbeddedSettings) -> None:
    """The records before the cut are kept, those behind it named, those of later segments kept."""
    names = [f"{number:04}" for number in range(500)]
    copy = await working_copy(settings, [names[start : start + 50] for start in range(0, 500, 50)])
    first, *_ = segments(copy)
    left = [record for record in records(first) if record.end < 500_000 and record.meta]
    gone = [change.id for record in records(first)[len(left) :] if record.meta for change in record.meta.changes]
    with first.open("r+b") as file:
        file.truncate(500_000)
    found, recovered = await kept(copy)
    assert found == sorted(set(names) - set(gone))
    assert ": damaged: " in recovered.damaged[0]


async def settled_copy(settings: EmbeddedSettings, names: list[str]) -> EmbeddedSettings:
    """A cleanly closed spool whose entries are all in the index."""
    spool, _ = await opened(settings)
    for name in names:
        await spool.commit([put(name)])
    await spool.close()
    return settings


async def test_a_missing_index_is_made_again(settings: EmbeddedSettings) -> None:
    """The journal is enough."""
    copy = await settled_copy(settings, OLD)
    for path in copy.directory.glob("index*"):
        path.unlink()
    names, recovered = await kept(copy)
    assert (names, recovered.damaged) == (OLD, [])


@pytest.mark.parametrize("kind", ["garbage", "zeros", "empty", "flipped bits"])
async def test_a_damaged_index_is_set_aside_and_made_again(settings: EmbeddedSettings, kind: str) -> None:
    """Whatever happened to it, it is not believed."""
    copy = await settled_copy(settings, OLD)
    path = copy.directory / "index.sqlite"
    size = path.stat().st_size
    if kind == "flipped bits":
        for offset in range(4096, size, 64):
            flip(path, offset)
    else:
        path.write_bytes({"garbage": random.Random(1).randbytes(size), "zeros": bytes(size), "empty": b""}[kind])
    names, recovered = await kept(copy)
    assert names == OLD
    if kind != "empty":
        assert "the index is damaged" in recovered.damaged[0]
        assert list((copy.directory / "damaged").glob("index.sqlite*"))


async def test_an_index_found_damaged_while_working_is_made_again_at_the_next_start(settings: EmbeddedSettings) -> None:
    """A row that does not match its checksum raises, not as damage of one message, and is not believed a second time."""
    copy = await settled_copy(settings, OLD)
    with sqlite3.connect(copy.directory / "index.sqlite") as database:
        database.execute("UPDATE entries SET checksum = checksum + 1 WHERE id = ?", (OLD[0],))
    database.close()
    spool, _ = await opened(copy)
    with pytest.raises(SpoolDamaged, match="next start"):
        spool.get(OLD[0])
    await spool.close()
    names, recovered = await kept(copy)
    assert names == OLD
    assert "the index was found damaged" in recovered.damaged[0]


async def test_an_index_newer_than_the_journal_is_not_believed(settings: EmbeddedSettings, tmp_path: Path) -> None:
    """When the journal lost its end, the index must not hide that: what the journal has is kept, the rest is named."""
    spool, _ = await opened(settings)
    await spool.commit([put("a")])
    await spool.commit([put("b")])
    await spool.close()
    last = records(segments(settings)[-1])
    overwrite(segments(settings)[-1], last[1].offset, bytes(last[-1].end - last[1].offset))
    names, recovered = await kept(settings)
    assert names == ["a"]
    assert "the index is newer than the journal" in recovered.damaged[0]
    assert list((settings.directory / "damaged").glob("index.sqlite*"))


async def test_an_index_of_another_spool_is_not_believed(settings: EmbeddedSettings, tmp_path: Path) -> None:
    """Each segment's salt tells whose index it is."""
    other = replace(settings, directory=tmp_path / "other")
    await settled_copy(other, LAST)
    await settled_copy(settings, OLD)
    shutil.copy(other.directory / "index.sqlite", settings.directory / "index.sqlite")
    names, recovered = await kept(settings)
    assert names == OLD
    assert "another journal" in recovered.damaged[0]


@pytest.mark.parametrize("kind", ["missing", "short", "flipped"])
async def test_a_damaged_large_content_costs_itself_alone(settings: EmbeddedSettings, kind: str) -> None:
    """It is named at the start when that can be seen without reading it all, and raises when it is read."""
    spool, _ = await opened(settings)
    writer = spool.writer()
    await writer.write(b"x" * 400_000)
    large = Entry("large", "submitted", b"", "c-large")
    await spool.commit([Put(large, await writer.finish()), put("small")])
    await spool.close()
    (path,) = (settings.directory / "large").iterdir()
    if kind == "missing":
        path.unlink()
    elif kind == "short":
        overwritten = path.read_bytes()[:1000]
        path.write_bytes(overwritten)
    else:
        flip(path, 300_000)
    spool, recovered = await opened(settings)
    assert len(recovered.damaged) == (kind != "flipped")
    with pytest.raises(StorageDamaged) as raised:
        spool.content(large).read()
    assert bool(raised.value.kept_as) == (kind != "missing")
    if kind == "flipped":
        assert spool.content(large).read(0, 1000) == b"x" * 1000
    assert spool.content(put("small").entry).read() == data_of("small")
    await spool.close()


async def test_a_large_content_that_was_never_committed_is_removed_at_the_next_start(settings: EmbeddedSettings) -> None:
    """A crash while a message arrives leaves a file that no record names."""
    spool, _ = await opened(settings)
    await spool.writer().write(b"x" * 400_000)
    await spool.close()
    assert list((settings.directory / "large").iterdir())
    spool, recovered = await opened(settings)
    assert recovered.damaged == []
    assert not list((settings.directory / "large").iterdir())
    await spool.close()


async def test_a_mail_cannot_pretend_to_be_a_record(settings: EmbeddedSettings) -> None:
    """A content made of a whole journal, damaged around it, brings no record into the spool."""
    forged = await working_copy(settings, [["forged"]])
    octets = segments(forged)[0].read_bytes()[: 3 * BLOCK]
    target = replace(settings, directory=settings.directory.with_name("target"))
    spool, _ = await opened(target)
    await spool.commit([Put(Entry("a", "s", b"", "c-a"), MemoryContent(octets))])
    await spool.commit([put("b")])
    await spool.close()
    flip(segments(target)[0], records(segments(target)[0])[0].offset + 20)
    for index in target.directory.glob("index*"):
        index.unlink()
    names, _ = await kept(target)
    assert names == ["b"]
