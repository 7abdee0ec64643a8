"""What the index knows, what the journal must still be read for, and what may be deleted keep their order, whatever stops in between."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Remove
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool


@pytest.fixture
def settings(tmp_path: Path) -> EmbeddedSettings:
    return EmbeddedSettings(
        tmp_path / "spool",
        segment_size=1 << 20,
        large_content=100_000,
        settle_after=0.05,
        settle_interval=0.02,
        append_delay=0.001,
        prewrite=False,
    )


def entry(name: str, stage: str = "submitted", content: str = "", due: float = 0.0) -> Entry:
    return Entry(name, stage, b"envelope", content or "c-" + name, due=due)


def put(name: str, size: int = 1000) -> Put:
    return Put(entry(name), MemoryContent(name.encode().ljust(size, b".")))


class Slow(MemoryContent):
    """A content that the writer can read only when it may."""

    __slots__ = ("may",)

    def __init__(self, data: bytes, may: threading.Event) -> None:
        super().__init__(data)
        self.may = may

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        self.may.wait(30)
        return super().read(offset, length)


async def opened(settings: EmbeddedSettings) -> EmbeddedSpool:
    spool = EmbeddedSpool(settings)
    recovered = await spool.open()
    assert recovered.damaged == []
    return spool


def copied(settings: EmbeddedSettings) -> EmbeddedSettings:
    """The files as kill -9 would leave them now."""
    copy = replace(settings, directory=settings.directory.with_name("copy"))
    shutil.copytree(settings.directory, copy.directory)
    return copy


async def test_a_mail_deferred_on_a_quiet_server_keeps_its_content(settings: EmbeddedSettings) -> None:
    """Its content is older than its last state, and no other mail comes to bring either to the index."""
    made = replace(settings, settle_after=0.3)
    spool = await opened(made)
    for name in "abc":
        await spool.commit([put(name)])
        spool.append([Put(entry(name, "routed", due=time.time() + 900))])
        await asyncio.sleep(0.5)
    assert [spool.content(entry(name)).read()[:1] for name in "abc"] == [b"a", b"b", b"c"]
    await spool.close()
    spool = await opened(made)
    assert [spool.content(entry(name)).read()[:1] for name in "abc"] == [b"a", b"b", b"c"]
    await spool.close()


@pytest.mark.parametrize("again", [False, True], ids=["as it came", "put again before"])
@pytest.mark.parametrize("change", [Put(entry("a", "routed")), Remove("a")], ids=["put again", "removed"])
async def test_the_index_does_not_pass_what_an_unwritten_append_hides(
    settings: EmbeddedSettings, change: Put | Remove, again: bool
) -> None:
    """The machine stops before the append is durable, and after the index has settled; the mail is then as it was before."""
    spool = await opened(replace(settings, settle_after=0.2, append_delay=60))
    await spool.commit([put("a")])
    if again:
        await spool.commit([Put(entry("a", "accepted"))])
    spool.append([change, put("b")])
    await asyncio.sleep(0.5)
    copy = copied(settings)
    await spool.close()
    spool = await opened(copy)
    found = spool.get("a")
    assert found is not None
    assert spool.content(found).read().startswith(b"a")
    assert found.stage == ("accepted" if again else "submitted")
    assert spool.get("b") is None
    await spool.close()


async def test_a_large_content_outlives_a_removal_that_is_not_durable(settings: EmbeddedSettings) -> None:
    """It is written after an append has removed its entry, and the machine stops before that append is written."""
    first, second = threading.Event(), threading.Event()
    first.set()

    def sync(descriptor: int) -> None:
        first.wait(30)
        os.fdatasync(descriptor)

    spool = await opened(replace(settings, settle_after=60, sync=sync))
    await spool.commit([put("a")])
    first.clear()
    spool.append([Put(entry("a", "routed", "large"), MemoryContent(b"y" * 500_000))])
    other = spool.commit([put("other")])
    await asyncio.sleep(0.05)
    spool.append([Remove("a"), Put(entry("bounce"), Slow(b"sorry", second))])
    await asyncio.sleep(0.05)
    first.set()
    await other
    await asyncio.sleep(0.1)
    copy = copied(settings)
    second.set()
    await spool.close()
    spool = await opened(copy)
    found = spool.get("a")
    assert found is not None
    assert spool.content(found).read() == b"y" * 500_000
    await spool.close()


async def test_closing_while_a_step_of_settling_fails_loses_nothing(settings: EmbeddedSettings) -> None:
    """What the failed step had taken goes into the next one, which is chosen only then."""
    spool = await opened(settings)
    index = spool._index  # no disk fails twice and then works, at will
    settle, failures = index.settle, 0

    def failing(*arguments: Any) -> list[str]:
        nonlocal failures
        failures += 1
        if failures <= 2:  # the second time is with the reserved room
            time.sleep(0.2)
            raise sqlite3.OperationalError("database is locked")
        return settle(*arguments)

    index.settle = failing  # type: ignore[method-assign]
    await spool.commit([put("a")])
    while not failures:
        await asyncio.sleep(0.01)
    await spool.close()
    spool = await opened(settings)
    assert spool.content(entry("a")).read().startswith(b"a")
    await spool.close()


async def test_recovery_makes_the_last_group_durable_before_it_deletes_because_of_it(settings: EmbeddedSettings) -> None:
    """The process was killed within its sync, so the octets may be in memory alone, in pages that the system takes for clean."""
    hanging = threading.Event()
    may = threading.Event()

    def hang(descriptor: int) -> None:
        if hanging.is_set():
            may.wait(30)
        os.fdatasync(descriptor)

    spool = await opened(replace(settings, settle_after=60, sync=hang))
    await spool.commit([put("a", 500_000)])
    hanging.set()
    spool.append([Put(entry("a", "routed", "rewritten"), MemoryContent(b"rewritten"))])
    await asyncio.sleep(0.1)
    copy = copied(settings)
    may.set()
    await spool.close()
    (segment,) = (copy.directory / "journal").glob("*.segment")
    octets = segment.read_bytes()
    os.utime(segment, (1, 1))
    seen: list[tuple[bool, int]] = []

    def sync(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == segment.stat().st_ino:
            seen.append((segment.stat().st_mtime > 1, len(list((copy.directory / "large").iterdir()))))
        os.fdatasync(descriptor)

    spool = await opened(replace(copy, sync=sync))
    assert seen == [(True, 1)]
    assert not list((copy.directory / "large").iterdir())
    assert segment.read_bytes() == octets
    assert spool.content(entry("a", content="rewritten")).read() == b"rewritten"
    await spool.close()


async def test_a_content_that_was_written_anew_is_not_moved_as_it_was(settings: EmbeddedSettings) -> None:
    """Its old segment is emptied before the index knows the new bytes."""
    made = replace(settings, slack_segments=0, settle_after=1.0)
    spool = await opened(made)
    await spool.commit([put("a", 3000), put("b", 3000)])
    await asyncio.sleep(1.3)
    for number in range(20):
        name = f"x{number}"
        await spool.commit([put(name, 90_000)])
        spool.append([Remove(name)])
    await asyncio.sleep(0.7)
    await spool.commit([Put(entry("a"), MemoryContent(b"anew"))])
    await asyncio.sleep(2.5)
    assert spool.content(entry("a")).read() == b"anew"
    await spool.close()
    spool = await opened(made)
    assert spool.content(entry("a")).read() == b"anew"
    await spool.close()
