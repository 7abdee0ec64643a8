"""A disk without room: nobody waits for it, nothing is left lying about, and the spool can always become empty, also across restarts."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.errors import StorageFull, StorageUnavailable
from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Query, Remove
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.embedded.segments import Segments
from support.blockdevice import SmallDisk
from support.needs import needs, needs_root


def put(name: str, size: int = 3000) -> Put:
    return Put(Entry(name, "submitted", b"envelope", "c-" + name), MemoryContent(name.encode().ljust(size, b".")))


@pytest.fixture
def settings(tmp_path: Path) -> EmbeddedSettings:
    return EmbeddedSettings(
        tmp_path / "spool", segment_size=1 << 20, large_content=100_000, settle_after=0.05, settle_interval=0.02, retry_delay=0.02
    )


async def opened(settings: EmbeddedSettings) -> EmbeddedSpool:
    spool = EmbeddedSpool(settings)
    recovered = await spool.open()
    assert recovered.damaged == []
    return spool


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Callable[[EmbeddedSettings], None]:
    """From now on no segment can be made, and there is none to spare."""

    def full(settings: EmbeddedSettings) -> None:
        for path in (settings.directory / "journal").glob("*.spare"):
            path.unlink()
        monkeypatch.setattr(Segments, "_make", _no_room)

    return full


def _no_room(*_: object, **__: object) -> Path:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_commit_is_refused_at_once_while_an_append_cannot_be_written(
    settings: EmbeddedSettings, no_room: Callable[[EmbeddedSettings], None]
) -> None:
    """Whoever waits behind an append for which there is no room hears that there is none."""
    spool = await opened(settings)
    await spool.commit([put("a")])
    await spool.close()
    no_room(settings)
    spool = await opened(replace(settings, retry_delay=0.2))
    spool.append([Put(Entry("a", "routed", b"", "c-a"))])
    await asyncio.sleep(0.3)
    for _ in range(3):
        with pytest.raises(StorageFull):
            await asyncio.wait_for(spool.commit([put("b")]), 2)
    with pytest.raises(StorageUnavailable, match="1 changes"):
        await spool.close()


async def test_a_large_content_that_was_refused_leaves_no_file(
    settings: EmbeddedSettings, no_room: Callable[[EmbeddedSettings], None]
) -> None:
    """Neither one that the caller wrote and gives back, nor one that was made for the call."""
    spool = await opened(settings)
    await asyncio.sleep(0.1)
    await spool.close()
    no_room(settings)
    spool = await opened(settings)
    writer = spool.writer()
    await writer.write(b"x" * 300_000)
    for content in (await writer.finish(), MemoryContent(b"y" * 300_000)):
        with pytest.raises(StorageFull):
            await spool.commit([Put(Entry("large", "submitted", b"", "c-large"), content)])
    writer.abort()
    assert not list((settings.directory / "large").iterdir())
    await spool.close()


async def test_a_large_content_that_is_refused_with_an_unreadable_one_leaves_no_file(settings: EmbeddedSettings) -> None:
    """The group is refused as a whole."""

    class Broken(MemoryContent):
        __slots__ = ()

        def read(self, offset: int = 0, length: int = -1) -> bytes:
            raise ValueError("broken")

    spool = await opened(settings)
    bad = Put(Entry("bad", "s", b"", "c-bad"), Broken(b"x"))
    with pytest.raises(ValueError, match="broken"):
        await spool.commit([put("large", 300_000), bad])
    assert not list((settings.directory / "large").iterdir())
    await spool.close()


async def _fill(spool: EmbeddedSpool, chance: random.Random) -> list[str]:
    """Puts mail until there is no room."""
    kept: list[str] = []
    while True:
        try:
            await spool.commit([put(f"{len(kept):05}", chance.choice([3000, 50_000]))])
        except StorageFull:
            return kept
        kept.append(f"{len(kept):05}")


@pytest.mark.root
async def test_a_full_spool_becomes_empty_across_restarts(tmp_path: Path) -> None:
    """Each start needs a segment for its first removal; what is removed stays removed, and in the end there is room for mail again."""
    needs_root("a small file system")
    needs("mount")
    chance = random.Random(1)
    with SmallDisk(tmp_path / "disk", 24) as disk:
        made = EmbeddedSettings(disk.path / "spool", settle_after=0.05, settle_interval=0.02, append_delay=0.001, retry_delay=0.02)
        spool = await opened(made)
        kept = await _fill(spool, chance)
        assert len(kept) > 100
        await spool.close()
        chance.shuffle(kept)
        for _ in range(4):
            spool = await opened(made)
            gone, kept = kept[:20], kept[20:]
            for name in gone:
                spool.append([Remove(name)])
            await spool.close()
        spool = await opened(made)
        assert sorted(entry.id for entry in spool.select(Query(), limit=10_000).entries) == sorted(kept)
        for name in kept:
            spool.append([Remove(name)])
        async with asyncio.timeout(10):
            while True:
                try:
                    await spool.commit([put("again")])
                except StorageFull:
                    await asyncio.sleep(0.05)
                else:
                    break
        await spool.close()
