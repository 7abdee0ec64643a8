"""Disks that are full, read-only, failing, not ours or already in use: the caller is told what, nothing acknowledged is lost, and the spool
goes on when the disk does."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from penstock.errors import StorageFull, StorageLocked, StorageUnavailable
from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Query, Remove
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from support.blockdevice import SmallDisk
from support.needs import needs, needs_root


def put(name: str, size: int = 3000) -> Put:
    return Put(Entry(name, "submitted", b"envelope", "c-" + name), MemoryContent(name.encode().ljust(size, b".")))


def settings(folder: Path) -> EmbeddedSettings:
    return EmbeddedSettings(folder, segment_size=1 << 20, settle_after=0.05, settle_interval=0.02, append_delay=0.001, retry_delay=0.02)


async def names(made: EmbeddedSettings) -> list[str]:
    """What a new start finds, with contents as they should be."""
    spool = EmbeddedSpool(made)
    await spool.open()
    entries = spool.select(Query(), limit=100_000).entries
    for entry in entries:
        assert spool.content(entry).read().rstrip(b".") == entry.id.encode()
    await spool.close()
    return [entry.id for entry in entries]


@dataclass(slots=True)
class Disk:
    """The sync of a disk that fails for ever or so many times; it has been written to all the same."""

    failing: bool = False
    times: int = 0
    error: int = errno.EIO

    def sync(self, descriptor: int) -> None:
        self.times -= 1
        if self.failing or self.times >= 0:
            raise OSError(self.error, os.strerror(self.error))
        os.fdatasync(descriptor)


@pytest.mark.parametrize(("number", "kind"), [(errno.EIO, StorageUnavailable), (errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull)])
async def test_a_failed_sync_fails_its_callers_and_what_failed_does_not_come_back(
    tmp_path: Path, number: int, kind: type[Exception]
) -> None:
    """The octets are on the disk, but nobody was told that they are; so they are void."""
    disk = Disk(error=number)
    made = replace(settings(tmp_path / "spool"), sync=disk.sync)
    spool = EmbeddedSpool(made)
    await spool.open()
    await spool.commit([put("before")])
    disk.failing = True
    results = await asyncio.gather(*(spool.commit([put(f"failed-{n}")]) for n in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [kind] * 5
    assert spool.get("failed-1") is None
    assert spool.count() == 1
    disk.failing = False
    await spool.commit([put("later")])
    await spool.close()
    assert await names(made) == ["before", "later"]


async def test_a_segment_whose_sync_failed_is_never_written_again(tmp_path: Path) -> None:
    """Asking again would only be told what the cache has."""
    disk = Disk()
    spool = EmbeddedSpool(replace(settings(tmp_path / "spool"), sync=disk.sync))
    await spool.open()
    await spool.commit([put("before")])
    (first,) = (tmp_path / "spool" / "journal").glob("*.segment")
    disk.failing = True
    with pytest.raises(StorageUnavailable):
        await spool.commit([put("failed")])
    octets = first.read_bytes()
    disk.failing = False
    await spool.commit([put("later")])
    assert first.read_bytes() == octets
    assert len(list((tmp_path / "spool" / "journal").glob("*.segment"))) == 2
    await spool.close()


async def test_what_failed_does_not_come_back_after_a_crash(tmp_path: Path) -> None:
    """Before the callers are told, the next segment says on the disk that what failed is void."""
    disk = Disk()
    made = replace(settings(tmp_path / "spool"), sync=disk.sync)
    spool = EmbeddedSpool(made)
    await spool.open()
    await spool.commit([put("before")])
    disk.times = 1
    with pytest.raises(StorageUnavailable):
        await spool.commit([put("failed")])
    copy = replace(made, directory=tmp_path / "copy")
    shutil.copytree(made.directory, copy.directory)
    await spool.close()
    assert await names(copy) == ["before"]


async def test_an_append_is_tried_until_it_is_durable(tmp_path: Path) -> None:
    """A removal that met a failing disk is written when the disk works again, in its order."""
    disk = Disk()
    made = replace(settings(tmp_path / "spool"), sync=disk.sync)
    spool = EmbeddedSpool(made)
    await spool.open()
    await asyncio.gather(*(spool.commit([put(name)]) for name in "abc"))
    disk.failing = True
    spool.append([Remove("a")])
    spool.append([Put(Entry("b", "routed", b"", "c-b"))])
    await asyncio.sleep(0.1)
    assert spool.get("a") is None
    disk.failing = False
    await spool.commit([Remove("c")])
    await spool.close()
    assert await names(made) == ["b"]


async def test_closing_a_spool_whose_disk_fails_says_what_is_lost(tmp_path: Path) -> None:
    """``close`` raises when an append could not be made durable; the lock is given back all the same."""
    disk = Disk()
    made = replace(settings(tmp_path / "spool"), sync=disk.sync)
    spool = EmbeddedSpool(made)
    await spool.open()
    await spool.commit([put("a")])
    disk.failing = True
    spool.append([Remove("a")])
    with pytest.raises(StorageUnavailable, match="1 changes"):
        await spool.close()
    disk.failing = False
    assert await names(made) in ([], ["a"])


async def test_a_content_that_cannot_be_read_fails_its_own_call_alone(tmp_path: Path) -> None:
    """A commit that shares the group with a broken one is not touched."""

    class Broken(MemoryContent):
        __slots__ = ()

        def read(self, offset: int = 0, length: int = -1) -> bytes:
            raise ValueError("broken")

    spool = EmbeddedSpool(settings(tmp_path / "spool"))
    await spool.open()
    bad = Put(Entry("bad", "s", b"", "c-bad"), Broken(b"x"))
    results = await asyncio.gather(spool.commit([put("a")]), spool.commit([bad]), spool.commit([put("b")]), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    await spool.close()
    assert await names(settings(tmp_path / "spool")) == ["a", "b"]


async def _fill(spool: EmbeddedSpool) -> list[str]:
    """Puts mail until there is no room."""
    kept: list[str] = []
    while True:
        try:
            await spool.commit([put(f"{len(kept):05}")])
        except StorageFull:
            return kept
        kept.append(f"{len(kept):05}")


@pytest.mark.root
async def test_a_full_disk_refuses_mail_and_takes_it_again_when_there_is_room(tmp_path: Path) -> None:
    """Removals are still taken, and the room they give back is enough to go on, without a restart; nothing kept is lost."""
    needs_root("a small file system")
    needs("mount")
    with SmallDisk(tmp_path / "disk", 8) as disk:
        made = settings(disk.path / "spool")
        spool = EmbeddedSpool(made)
        await spool.open()
        kept = await _fill(spool)
        assert len(kept) > 500
        with pytest.raises(StorageFull):
            await spool.commit([put("large", 3 << 20)])
        writer = spool.writer()
        with pytest.raises(StorageFull):
            await writer.write(bytes(9 << 20))
        writer.abort()
        spool.append([Remove(name) for name in kept[:-10]])
        await asyncio.wait_for(_retry(spool, put("again")), 10)
        await spool.close()
        assert await names(made) == [*kept[-10:], "again"]


async def _retry(spool: EmbeddedSpool, change: Put) -> None:
    """What the other side does after a 452."""
    while True:
        try:
            await spool.commit([change])
        except StorageFull:
            await asyncio.sleep(0.05)
        else:
            return


@pytest.mark.root
async def test_a_spool_adapts_its_segments_to_a_small_disk(tmp_path: Path) -> None:
    """With the settings of a large server it works on 8 MiB."""
    needs_root("a small file system")
    needs("mount")
    with SmallDisk(tmp_path / "disk", 8) as disk:
        made = EmbeddedSettings(disk.path / "spool")
        spool = EmbeddedSpool(made)
        await spool.open()
        await asyncio.gather(*(spool.commit([put(f"{number:03}")]) for number in range(300)))
        await spool.close()
        assert len(await names(made)) == 300


@pytest.mark.root
async def test_a_disk_that_others_filled_is_used_again_when_they_are_gone(tmp_path: Path) -> None:
    """The spool recovers by itself."""
    needs_root("a small file system")
    needs("mount")
    with SmallDisk(tmp_path / "disk", 16) as disk:
        spool = EmbeddedSpool(settings(disk.path / "spool"))
        await spool.open()
        await spool.commit([put("first")])
        ballast = disk.fill()
        kept = await _fill(spool)
        ballast.unlink()
        await spool.commit([put("second")])
        await spool.close()
        assert await names(settings(disk.path / "spool")) == [*kept, "first", "second"]


@pytest.mark.root
async def test_a_spool_on_a_disk_that_became_read_only_says_so(tmp_path: Path) -> None:
    """What can be read is still read, new mail is refused, and a start names folder and reason."""
    needs_root("a small file system")
    needs("mount")
    with SmallDisk(tmp_path / "disk", 16) as disk:
        spool = EmbeddedSpool(settings(disk.path / "spool"))
        await spool.open()
        await spool.commit([put("a")])
        await spool.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk.path)], check=True)
        with pytest.raises(StorageUnavailable, match=rf"{disk.path}/spool.*Read-only"):
            await EmbeddedSpool(settings(disk.path / "spool")).open()
        subprocess.run(["mount", "-o", "remount,rw", str(disk.path)], check=True)
        assert await names(settings(disk.path / "spool")) == ["a"]


async def test_a_folder_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match=r"file/spool.*Not a directory"):
        await EmbeddedSpool(settings(tmp_path / "file" / "spool")).open()


async def test_a_spool_is_for_one_process(tmp_path: Path) -> None:
    """The second one is refused with the number of the first, and gets it when the first is gone, however it went."""
    program = f"""
import asyncio, pathlib, sys
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
async def main():
    spool = EmbeddedSpool(EmbeddedSettings(pathlib.Path({str(tmp_path / "spool")!r}), segment_size=1 << 20))
    await spool.open()
    print("open", flush=True)
    sys.stdin.read()
asyncio.run(main())
"""
    first = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(StorageLocked, match=f"process {first.pid}$"):
            await EmbeddedSpool(settings(tmp_path / "spool")).open()
    finally:
        first.kill()
        first.communicate()
    assert await names(settings(tmp_path / "spool")) == []


async def test_a_deferred_mail_does_not_pin_the_journal(tmp_path: Path) -> None:
    """A few old entries among much that is dead are moved, one of them with a large content, whose file stays where it is.

    The journal stays small, and is enough to find them all.
    """
    made = replace(settings(tmp_path / "spool"), slack_segments=2)
    spool = EmbeddedSpool(made)
    await spool.open()
    old = [f"old-{number}" for number in range(5)]
    for number in range(1500):
        if number % 300 == 0:
            await spool.commit([put(old[number // 300], 300_000 if number == 600 else 3000)])
        await spool.commit([put(f"new-{number}", 8000)])
        spool.append([Remove(f"new-{number}")])
    await asyncio.sleep(0.4)
    assert len(list((tmp_path / "spool" / "journal").glob("*.segment"))) <= 4
    await spool.close()
    for path in made.directory.glob("index*"):
        path.unlink()
    assert await names(made) == old
