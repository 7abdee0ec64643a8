"""Faults that are nobody's disk: a writer that stops, a change that cannot be written, an index that cannot be read while the spool works.

Nobody waits for ever, what is shown is what is kept, and what a new start repairs asks for one.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.errors import StorageUnavailable
from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Query, Remove
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool


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
