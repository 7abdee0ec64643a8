"""What a backlog costs: opening a spool that keeps it, asking it by queue, and carrying other mail while it stands.

    python -m bench.backlog [--entries 100000] [--queues 1000] [--octets 4096] [--seconds 5] [--folder DIR]

Fills a spool in DIR (about 5 KiB an entry, twice that while it runs) with entries of 400 octets whose due times are spread over a day, then
opens it in fresh processes: after a clean close, after kill -9 of a process that was filling it, and without its index. Everything was
written moments before, so the files are warm. Prints a table: how long each opening took, resident memory an entry, how long each question
takes (the median, and the longest, of many), how many lives pass through beside the backlog (as ``bench/spool.py`` counts them), and what
it costs to drain one queue. ``--queues 1`` is the case of one destination with everything.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from bench.spool import cpu, live

from penstock.mail.content import MemoryContent
from penstock.storage.base import Entry, Put, Query, Remove, Spool
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool

DAY = 86400.0
RECORD = b"r" * 400
GROUP = 50
WRITERS = 8
PAGE = 100


def spool_in(folder: Path) -> EmbeddedSpool:
    return EmbeddedSpool(EmbeddedSettings(folder, on_trouble=print))


def name_of(queue: int) -> str:
    return f"mx:domain-{queue:07}.example"


def waiting(number: int, queues: int, start: float) -> Entry:
    """An entry of the backlog; its due time has nothing to do with its id."""
    due = start + random.Random(number).random() * DAY
    return Entry(f"{int(start * 1e9):016x}{number:08x}", "routed", RECORD, f"b{number}", name_of(number % queues), due)


async def fill(folder: Path, options: argparse.Namespace, killed: bool) -> None:
    """Puts the backlog in; ends with a clean close, or with kill -9 as soon as the last of it was acknowledged."""
    spool = spool_in(folder)
    await spool.open()
    start = time.time()
    data = os.urandom(options.octets)
    numbers = iter(range(0, options.entries, GROUP))

    async def write() -> None:
        for first in numbers:
            group = range(first, min(first + GROUP, options.entries))
            content = MemoryContent(data)
            await spool.commit([Put(waiting(number, options.queues, start), content) for number in group])

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    await spool.close()


def resident() -> int:
    """Octets of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(ask: Callable[[], object], times: int = 50) -> str:
    """The median and the longest time of a question, in milliseconds."""
    took = []
    for _ in range(times):
        before = time.perf_counter()
        ask()
        took.append((time.perf_counter() - before) * 1e3)
    return f"{statistics.median(took):9.3f} ms  (longest {max(took):.3f})"


async def opened(folder: Path, _options: argparse.Namespace) -> dict[str, str]:
    """How long opening takes and how much memory it leaves in use."""
    spool = spool_in(folder)
    before = resident()
    recovered = await spool.open()
    used = resident() - before
    answer = {"open": f"{recovered.seconds:9.3f} s   ({recovered.count:,} entries, {len(recovered.damaged)} damaged)"}
    answer["memory"] = f"{used / recovered.count:9.0f} octets an entry  ({used / 2**20:.0f} MiB)"
    await spool.close()
    return answer


def questions(spool: Spool, queues: int) -> dict[str, str]:
    """What each question costs, by queue and over all."""
    names = itertools.cycle(random.Random(0).sample([name_of(queue) for queue in range(queues)], min(queues, 100)))
    soon = time.time() + DAY / 2
    return {
        "queues()": timed(spool.queues, 10),
        "census()": timed(spool.census, 10),
        f"due(inf, {PAGE}, queue)": timed(lambda: spool.due(math.inf, PAGE, next(names))),
        f"due(in 12 h, {PAGE})": timed(lambda: spool.due(soon, PAGE)),
        "next_due(queue)": timed(lambda: spool.next_due(next(names))),
        "next_due()": timed(spool.next_due),
        f"select(queue), page of {PAGE}": timed(lambda: spool.select(Query(queue=next(names)), limit=PAGE)),
        f"select(all), page of {PAGE}": timed(lambda: spool.select(Query(), limit=PAGE)),
        "select(held)": timed(lambda: spool.select(Query(held=True), limit=PAGE), 10),
        "select(unknown stage)": timed(lambda: spool.select(Query(stage="unknown"), limit=PAGE), 3),
    }


async def lives(spool: Spool, options: argparse.Namespace) -> str:
    """How many messages live their whole life beside the backlog."""
    data = os.urandom(options.octets)
    numbers = itertools.count()
    started, burnt = time.monotonic(), cpu()

    async def produce() -> None:
        while time.monotonic() < started + options.seconds:
            await live(spool, next(numbers), data)

    await asyncio.gather(*(produce() for _ in range(64)))
    done, seconds, used = next(numbers), time.monotonic() - started, cpu() - burnt
    return f"{done / seconds:9,.0f} lives/s  ({used / done * 1e6:.1f} us CPU a life)"


async def drain(spool: Spool, queue: str, at_most: int) -> str:
    """Delivers what a queue has, a hundred at a time, with one entry at its head that stays: each question must pass what is gone."""
    done, slowest, started = 0, 0.0, time.monotonic()
    stuck = spool.due(math.inf, 1, queue)[0].id
    while done < at_most:
        before = time.perf_counter()
        found = spool.due(math.inf, PAGE + 1, queue)
        spool.next_due(queue)
        took = time.perf_counter() - before
        slowest = max(slowest, took)
        ready = [entry for entry in found if entry.id != stuck]
        if not ready:
            break
        for entry in ready:
            spool.append([Remove(entry.id)])
        done += len(ready)
        await asyncio.sleep(0)
    seconds = time.monotonic() - started
    return f"{done / max(seconds, 1e-9):9,.0f} entries/s  ({done:,} entries, slowest question {slowest * 1e3:.1f} ms)"


async def asked(folder: Path, options: argparse.Namespace) -> dict[str, str]:
    """Everything that is asked of an open spool with the backlog in it."""
    spool = spool_in(folder)
    await spool.open()
    answer = questions(spool, options.queues)
    answer["lives beside it"] = await lives(spool, options)
    answer["draining one queue"] = await drain(spool, name_of(1 % options.queues), options.drain)
    await spool.close()
    return answer


def child(phase: str, folder: Path, options: argparse.Namespace) -> dict[str, str]:
    """Runs one phase in a process of its own, so that neither its memory nor its death touches the next."""
    command = [sys.executable, "-m", "bench.backlog", "--phase", phase, "--folder", str(folder)]
    for name in ("entries", "queues", "octets", "seconds", "drain"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"{phase} failed")
    said: dict[str, str] = json.loads(done.stdout) if done.stdout else {}
    return said


def run_phase(options: argparse.Namespace) -> None:
    phase, folder = options.phase, options.folder
    if phase in ("fill", "fill and be killed"):
        uvloop.run(fill(folder, options, killed=phase != "fill"))
    else:
        answer = uvloop.run((opened if phase == "open" else asked)(folder, options))
        print(json.dumps(answer))


def show(when: str, answers: dict[str, str]) -> None:
    for name, value in answers.items():
        print(f"{name + (', ' + when if when else ''):44} {value}", flush=True)


def compare(options: argparse.Namespace) -> None:
    """All phases, one after the other."""
    root = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        folder = root / "killed"
        child("fill and be killed", folder, options)
        show("killed while filling", child("open", folder, options))
        show("closed cleanly", child("open", folder, options))
        for path in folder.glob("index.sqlite*"):
            path.unlink()
        show("without an index", child("open", folder, options))
        show("", child("ask", folder, options))
    finally:
        shutil.rmtree(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument("--octets", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--drain", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--phase", choices=["fill", "fill and be killed", "open", "ask"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        run_phase(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
