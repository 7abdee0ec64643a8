"""Whatever is done to it in whatever order, the embedded spool shows what the memory spool shows, also after restarts and crashes."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.errors import StorageDamaged
from penstock.mail.content import MemoryContent
from penstock.storage.base import Change, Entry, Put, Query, Remove, Spool
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool, recovery, table
from penstock.storage.memory import MemorySpool

NAMES = [f"entry-{number}" for number in range(8)]
CONTENTS = [f"content-{number}" for number in range(5)]

puts = st.builds(
    lambda name, content, due, held, queue: Put(Entry(name, "stage", b"r", content, queue, due, held)),
    st.sampled_from(NAMES),
    st.sampled_from(["", *CONTENTS]),
    st.sampled_from([0.0, 1.0, 2.5, 9.0]),
    st.sampled_from(["", "", "held"]),
    st.sampled_from(["", "x", "y"]),
)
changes = st.lists(st.one_of(puts, st.builds(Remove, st.sampled_from(NAMES))), min_size=1, max_size=4)


class Broken(MemoryContent):
    """A content that cannot be read."""

    __slots__ = ()

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        raise ValueError("broken on purpose")


class Model(RuleBasedStateMachine):
    """Drives both spools with the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.lives = 0
        self.moment = 0.0
        self.memory = MemorySpool()
        self.kept: set[str] = set()
        self.pending: list[asyncio.Future[None]] = []
        self.serial = 0
        self.troubles: list[str] = []
        self.spool = self._open()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def _open(self) -> EmbeddedSpool:
        spool = EmbeddedSpool(
            EmbeddedSettings(
                self.folder / str(self.lives),
                segment_size=256 << 10,
                large_content=50_000,
                cache_size=100_000,
                settle_after=0,
                settle_interval=1000,
                append_delay=0.001,
                slack_segments=1,
                prewrite=False,
                on_trouble=self.troubles.append,
            )
        )
        recovered = self.run(spool.open())
        assert recovered.damaged == []
        self.run(self.memory.open())
        return spool

    def _with_contents(self, group: list[Change], sizes: int) -> list[Change]:
        """Gives a content to each Put that refers to one that is not kept by an entry now."""
        made: list[Change] = []
        known = {entry.content for entry in self.memory.select(Query()).entries}
        for change in group:
            if isinstance(change, Put) and change.entry.content and change.entry.content not in known:
                self.serial += 1
                data = (f"{change.entry.content} {self.serial} ".encode() * sizes)[:sizes]
                known.add(change.entry.content)
                made.append(Put(change.entry, MemoryContent(data)))
            else:
                made.append(change)
        return made

    @rule(group=changes, size=st.sampled_from([10, 30_000, 60_000]), wait=st.booleans())
    def commit(self, group: list[Change], size: int, wait: bool) -> None:
        group = self._with_contents(group, size)

        async def call() -> None:
            await self.memory.commit(group)
            self.pending.append(self.spool.commit(group))

        self.run(call())
        if wait:
            self._wait()

    @rule(group=changes, size=st.sampled_from([10, 30_000, 60_000]))
    def append(self, group: list[Change], size: int) -> None:
        group = self._with_contents(group, size)

        async def call() -> None:
            self.memory.append(group)
            self.spool.append(group)

        self.run(call())

    @rule(group=changes, later=changes)
    def append_what_cannot_be_written(self, group: list[Change], later: list[Change]) -> None:
        """It is as if it had never been called, also below what is appended before that is known."""
        self.serial += 1
        bad = Put(Entry("entry-0", "stage", b"r", f"bad-{self.serial}"), Broken(b"x"))
        refused = [*self._with_contents(group, 10), bad]
        later = self._with_contents(later, 10)

        async def call() -> None:
            self.spool.append(refused)
            self.spool.append(later)
            self.memory.append(later)

        self.run(call())

    @rule()
    def settle(self) -> None:
        """Brings all to the index, and gives back room."""
        self._wait()

        async def call() -> None:
            barrier = threading.Event()
            keeper = self.spool._keeper
            keeper._not_before = 0.0
            keeper._settle()
            keeper._jobs.put(barrier.set)
            await asyncio.to_thread(barrier.wait)

        self.run(call())

    @rule()
    def let_time_pass(self) -> None:
        """What is asked for from now on is younger than what was asked for before."""
        self.moment = time.monotonic()

    @rule(limit=st.sampled_from([1, 3, 100]), hiding=st.sampled_from([0, 2, 2000]))
    def settle_some(self, limit: int, hiding: int) -> None:
        """Brings only the oldest to the index, and as many more as must be for few rows to be hidden."""
        table.HIDING = hiding
        self._wait()

        async def call() -> None:
            barrier = threading.Event()
            settling = self.spool._table.settle(self.moment, limit)
            settling.more = False
            self.spool._keeper._jobs.put(lambda: self.spool._keeper._take(settling))
            self.spool._keeper._jobs.put(barrier.set)
            await asyncio.to_thread(barrier.wait)

        self.run(call())

    @rule()
    def reopen(self) -> None:
        self._wait()
        self.run(self.spool.close())
        self.spool = self._open()

    @rule(step=st.sampled_from([2, 20_000]))
    def reopen_without_index(self, step: int) -> None:
        """The journal alone is enough, also when its replay goes to the index in small steps."""
        recovery._SETTLE_EACH = step
        self._wait()
        self.run(self.spool.close())
        for path in (self.folder / str(self.lives)).glob("index.sqlite*"):
            path.unlink()
        self.spool = self._open()

    @rule()
    def crash(self) -> None:
        """The next life begins with the files as they are at this moment, which is what kill -9 leaves."""
        self._wait()
        old, before = self.spool, self.folder / str(self.lives)
        self.lives += 1
        shutil.copytree(before, self.folder / str(self.lives))
        self.run(old.close())
        shutil.rmtree(before)
        self.spool = self._open()

    def _wait(self) -> None:
        """Waits until everything asked for is durable."""

        async def call() -> None:
            self.pending.append(self.spool.commit([]))
            await asyncio.gather(*self.pending)

        self.run(call())
        self.pending.clear()

    @invariant()
    def both_show_the_same(self) -> None:
        self._wait()
        assert self.spool.count() == self.memory.count()
        assert _all(self.spool) == _all(self.memory)
        assert [self.spool.get(name) for name in NAMES] == [self.memory.get(name) for name in NAMES]
        assert self.spool.queues() == self.memory.queues()
        assert self.spool.census() == self.memory.census()
        for queue in (None, "", "x", "y", "z"):
            assert self.spool.next_due(queue) == self.memory.next_due(queue)
            for now, limit in ((0.0, 1), (2.0, 1000), (9.0, 2), (math.inf, 1000)):
                assert self.spool.due(now, limit, queue) == self.memory.due(now, limit, queue)
            for held, before in ((None, None), (True, None), (False, 2.5)):
                query = Query(queue=queue, held=held, due_before=before)
                assert self.spool.select(query, "entry-1", 3) == self.memory.select(query, "entry-1", 3)
        for entry in self.memory.select(Query()).entries:
            assert _content(self.spool, entry) == _content(self.memory, entry)
        assert [line for line in self.troubles if "broken on purpose" not in line] == []

    def teardown(self) -> None:
        self.run(self.spool.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)


def _all(spool: Spool) -> list[Entry]:
    """All entries, in small pages."""
    found: list[Entry] = []
    cursor = ""
    while True:
        page = spool.select(Query(), cursor, limit=3)
        found += page.entries
        cursor = page.cursor
        if not cursor:
            return found


def _content(spool: Spool, entry: Entry) -> bytes | None:
    try:
        return spool.content(entry).read()
    except StorageDamaged:
        return None


TestModel = pytest.mark.slow(Model.TestCase)
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
