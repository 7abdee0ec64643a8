"""How many whole lives of a message a spool carries: put and durable, read, and then done (80 %) or deferred (20 %).

    python bench/spool.py [--folder DIR] [--producers 64] [--seconds 5] [--octets 4096]

Prints, for each back-end, lives a second and CPU microseconds a life (user and system, all threads), and how long one put at a time takes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Remove, Spool
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.memory import MemorySpool


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def live(spool: Spool, number: int, data: bytes) -> None:
    """One message from acceptance to its first outcome."""
    entry = Entry(f"{time.time_ns():016x}{number:08x}", "submitted", b"r" * 120, f"c{number}", "example.org")
    await spool.commit([Put(entry, MemoryContent(data))])
    assert len(spool.content(entry).read()) == len(data)
    if number % 5:
        spool.append([Remove(entry.id)])
    else:
        later = Entry(entry.id, "deferred", entry.record, entry.content, entry.queue, time.time() + 3600)
        spool.append([Put(later)])


async def measure(name: str, spool: Spool, options: argparse.Namespace) -> None:
    await spool.open()
    data = os.urandom(options.octets)
    numbers = itertools.count()
    stop = time.monotonic() + options.seconds

    async def produce() -> None:
        while time.monotonic() < stop:
            await live(spool, next(numbers), data)

    started, burnt = time.monotonic(), cpu()
    await asyncio.gather(*(produce() for _ in range(options.producers)))
    seconds, used, lives = time.monotonic() - started, cpu() - burnt, next(numbers)
    alone = []
    for number in range(lives, lives + 200):
        before = time.perf_counter()
        await live(spool, number, data)
        alone.append(time.perf_counter() - before)
    print(
        f"{name:9} {lives / seconds:9,.0f} lives/s {used / lives * 1e6:7.1f} us CPU a life, "
        f"one at a time {statistics.median(alone) * 1e6:,.0f} us"
    )
    await spool.close()


def one_sync(folder: Path) -> float:
    """The median of what one write and fdatasync costs, in microseconds: the floor for one put at a time."""
    path = folder / "sync"
    path.write_bytes(bytes(1 << 20))
    descriptor = os.open(path, os.O_RDWR)
    times = []
    for number in range(200):
        before = time.perf_counter()
        os.pwrite(descriptor, b"x" * 4096, number * 4096)
        os.fdatasync(descriptor)
        times.append(time.perf_counter() - before)
    os.close(descriptor)
    return statistics.median(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--producers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--octets", type=int, default=4096)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        print(f"one fdatasync {one_sync(folder):,.0f} us")
        uvloop.run(measure("memory", MemorySpool(), options))
        uvloop.run(measure("embedded", EmbeddedSpool(EmbeddedSettings(folder, on_trouble=print)), options))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
