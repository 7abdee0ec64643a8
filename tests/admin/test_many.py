"""A listing of 100,000 messages: its first line is there at once, and mail goes on meanwhile."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.mail.address import Address
from penstock.mail.content import MemoryContent
from penstock.mail.envelope import Envelope, Recipient
from penstock.mail.message import MessageRecord, encode_record
from penstock.storage.base import Entry, Put
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool

from .live import Live

COUNT = 100_000


async def _fill(live: Live, count: int) -> None:
    """Deferred messages that share one content."""
    node, shared = live.running.node, "SHARED"
    envelope = Envelope(Address.parse("carol@client.example"), [Recipient(Address.parse("ann@far.example"), reason="refused")])
    content: MemoryContent | None = MemoryContent(b"Subject: x\r\n\r\n")
    for _ in range(count // 1000):
        puts = []
        for _ in range(1000):
            record = MessageRecord(node.new_id(), node.now(), envelope, size=14)
            puts.append(Put(Entry(record.id, "routed", encode_record(record), shared, "mx:far.example", node.now() + 3600), content))
            content = None
        await live.spool.commit(puts)


@pytest.mark.slow
async def test_the_first_line_of_a_long_listing_is_there_at_once(tmp_path: Path) -> None:
    """``| head`` ends it cleanly; the whole is read in pages, between which the loop has time for its mail."""
    async with Live(tmp_path, spool=EmbeddedSpool(EmbeddedSettings(tmp_path / "spool"))) as live:
        await _fill(live, COUNT)
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.005)
                longest = max(longest, time.monotonic() - before)

        watching = asyncio.create_task(watch())
        script = f"set -o pipefail; {sys.executable} -m penstock queue list | head -n 3"
        env = {**os.environ, "PENSTOCK_CONFIG": str(live.config)}
        started = time.monotonic()
        done = await asyncio.to_thread(subprocess.run, ["/bin/bash", "-c", script], env=env, capture_output=True, check=False, timeout=60)
        first = time.monotonic() - started
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(done.stdout.splitlines()) == 3
        assert first < 5, first
        started = time.monotonic()
        out, _ = await live.run("queue", "list", "--json")
        whole = time.monotonic() - started
        watching.cancel()
        print(f"first lines after {first:.2f} s, {COUNT} in {whole:.1f} s, the loop stood still for {longest * 1000:.0f} ms at most")
        assert out.count("\n") == COUNT
        assert longest < 1.0
