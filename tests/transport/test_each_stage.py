"""What every stage after Submission admits, and how a message goes on after a crash within each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hosts.running import Running
from penstock import Sink, on
from penstock.errors import StorageFull
from penstock.events import Categorized, Item, PostCategorize, PreCategorize, Resolve, Submission
from penstock.events.plug import Plug
from penstock.mail.message import decode_record
from penstock.storage.base import Change
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.memory import MemorySpool
from penstock.verdicts import Bounce, Defer, Drop, Quarantine, Split
from transport.directories import AtStages, Box, Directory
from transport.sinks import deliver_one, empty

STAGES = ["PreCategorize", "Categorized", "PostCategorize"]


async def test_the_stages_come_in_their_order_once_each() -> None:
    """PreCategorize, Resolve, Categorized, PostCategorize."""
    stages, box = AtStages(), Box()
    async with Running(stages, Directory(all=["x", "y"]), box) as server:
        await deliver_one(server, "all@example.com")
        await empty(server)
    assert stages.seen == [("PreCategorize", 1, ["all"]), ("Categorized", 1, ["x", "y"]), ("PostCategorize", 1, ["x", "y"])]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("verdict", "delivered", "kept"),
    [(Drop("no"), [], 0), (Bounce("5.7.1", "not you"), ["a"], 0), (Quarantine("odd"), [], 1)],
)
async def test_a_verdict_ends_the_message_there(stage: str, verdict: Any, delivered: list[str], kept: int) -> None:
    """Nothing is delivered; the sender hears of it, or not; what is set aside waits with its reason."""
    box = Box()
    # Only the message itself: the report about it goes its way.
    stages = AtStages(**{stage: lambda event: verdict if event.origin == "smtp" else None})
    async with Running(stages, box) as server:
        await deliver_one(server, "bob@example.com")
        await server.until(lambda: [entry.held for entry in server.kept()] == ["odd"] * kept and box.who == delivered, "it ended")
    assert [name for name, _, who in stages.seen if who == ["bob"]] == STAGES[: STAGES.index(stage) + 1]


@pytest.mark.parametrize("stage", STAGES)
async def test_a_released_message_goes_on_behind_who_put_it_aside(stage: str) -> None:
    """It is not put aside again, and no stage is begun anew."""
    box, first, second = Box(), AtStages(**{stage: lambda event: Quarantine("odd")}), AtStages()
    async with Running(first, second, box) as server:
        await deliver_one(server, "bob@example.com")
        await server.until(lambda: server.kept() and server.kept()[0].held, "held")
        assert (await server.transport.operations.release(server.kept()[0].id)).value == "done"
        await empty(server)
    assert box.who == ["bob"]
    assert [name for name, _, _ in first.seen] == [name for name, _, _ in second.seen] == STAGES


@pytest.mark.parametrize("stage", STAGES)
async def test_a_deferred_stage_is_begun_again_with_its_edits(stage: str) -> None:
    """The try is counted, edits of who came before are kept, and stages before it are not repeated."""

    def later(event: Any) -> Defer | None:
        if event.attempt == 1:
            event.message.header.add("X-Try", "1")
            return Defer(after=timedelta(milliseconds=5))
        return None

    box, sink = Box(), AtStages(**{stage: later})
    async with Running(sink, box) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)
    index = STAGES.index(stage)
    wanted = [(s, 1) for s in STAGES[:index]] + [(stage, 1), (stage, 2)] + [(s, 1) for s in STAGES[index + 1 :]]
    assert [(name, attempt) for name, attempt, _ in sink.seen] == wanted
    assert box.contents[0].count(b"X-Try: 1") == 1


@pytest.mark.parametrize("stage", STAGES)
async def test_each_copy_meets_its_own_fate(stage: str) -> None:
    """Of four parts one goes on, one is dropped, one bounced, one put off; all by a sink behind the one that split."""
    first_time: list[int] = []

    def split(event: Any) -> None:
        for recipient in event.message.recipients[1:]:
            event.message.fork([recipient])

    def judge(event: Any) -> Any:
        local = event.message.recipients[0].address.local
        if local == "later" and not first_time:
            first_time.append(1)
            return Defer(after=timedelta(milliseconds=5))
        return {"drop": Drop("no"), "bounce": Bounce()}.get(local)

    box = Box()
    async with Running(AtStages(**{stage: split}), AtStages(**{stage: judge}), box) as server:
        await deliver_one(server, *(f"{who}@example.com" for who in ("good", "drop", "bounce", "later")))
        await empty(server)
    assert box.who == ["a", "good", "later"]


async def test_split_makes_a_copy_of_each_group_and_shares_the_content() -> None:
    """Who is in no group stays; sinks behind see each part; there is one content in the spool."""
    spool, box = MemorySpool(), Box()
    contents: list[int] = []

    def split(event: Categorized) -> Split:
        event.message.recipients.add("new@example.com")
        return Split((("b@example.com", "c@example.com"), (event.message.recipients[-1],)))

    def hold(event: PostCategorize) -> Defer | None:
        contents.append(len(spool._contents))
        return Defer(after=timedelta(milliseconds=30)) if event.attempt == 1 else None

    behind = AtStages(PostCategorize=hold)
    async with Running(AtStages(Categorized=split), behind, box, spool=spool) as server:
        await deliver_one(server, *(f"{who}@example.com" for who in "abcd"))
        await server.until(lambda: len(server.kept()) == 3 and all(e.due for e in server.kept()), "three parts wait")
        assert len({entry.content for entry in server.kept()}) == 1
        await empty(server)
    parts = sorted(who for name, attempt, who in behind.seen if name == "Categorized")
    assert parts == [["a", "d"], ["b", "c"], ["new"]]
    assert set(contents) == {1}
    assert box.who == ["a", "b", "c", "d", "new"]


async def test_split_of_somebody_who_is_not_there_is_the_sinks_fault() -> None:
    """With on_error = "continue" the message goes on whole."""
    box = Box()
    stages = Plug("split", AtStages(Categorized=lambda event: Split((("ghost@example.com",),))), on_error="continue")
    async with Running(stages, box) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)
    assert box.who == ["bob"]


async def test_variants_share_one_content_and_are_told_to_who_is_asked() -> None:
    """Three lists with owners and one direct recipient: four messages, one content; the common group stands first."""
    spool, box, told = MemorySpool(), Box(), list[list[list[str]]]()

    def listed(owner: str, *members: str) -> Callable[[Item], None]:
        return lambda item: item.expand([f"{m}@example.com" for m in members], sender=f"{owner}@example.com")

    def look(event: Categorized) -> None:
        told.append([[r.address.local for r in group] for group in event.variants])

    def wait(event: PostCategorize) -> Defer | None:
        return Defer(after=timedelta(milliseconds=30)) if event.attempt == 1 else None

    directory = Directory(l1=listed("o1", "a1", "a2"), l2=listed("o2", "b1"), l3=listed("o3", "c1"))
    async with Running(directory, AtStages(Categorized=look, PostCategorize=wait), box, spool=spool) as server:
        await deliver_one(server, "l1@example.com", "direct@example.com", "l2@example.com", "l3@example.com")
        await server.until(lambda: len(server.kept()) == 4 and all(e.due for e in server.kept()), "four variants wait")
        assert len(spool._contents) == 1
        await empty(server)
    assert told == [[["direct"], ["a1", "a2"], ["b1"], ["c1"]]]
    assert sorted((sender, r.address.local) for sender, r in box.got) == [
        ("a@client.example", "direct"),
        ("o1@example.com", "a1"),
        ("o1@example.com", "a2"),
        ("o2@example.com", "b1"),
        ("o3@example.com", "c1"),
    ]


class Crash(Sink[None]):
    """Hangs at one stage the first time, as if the process had died there; notes which stages it sees."""

    def __init__(self, at: str, hang: bool) -> None:
        super().__init__()
        self.at, self.hang = at, hang
        self.seen: list[tuple[str, int]] = []
        self.reached = asyncio.Event()

    @on(Submission, PreCategorize, Resolve, Categorized, PostCategorize)
    async def run(self, event: Submission | PreCategorize | Resolve | Categorized | PostCategorize) -> None:
        name = type(event).__name__
        self.seen.append((name, event.attempt))
        if name == self.at and self.hang:
            self.reached.set()
            await asyncio.Event().wait()


ALL = ["Submission", "PreCategorize", "Resolve", "Categorized", "PostCategorize"]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("stage", ALL)
async def test_after_a_crash_the_message_goes_on_at_the_stage_that_was_not_over(tmp_path: Path, stage: str, durable: bool) -> None:
    """No stage before it is repeated, but Resolve, which changed nothing; the one of the crash sees that it is the second time."""
    spool: Any = EmbeddedSpool(EmbeddedSettings(tmp_path)) if durable else MemorySpool()
    first = Crash(stage, hang=True)
    async with Running(first, spool=spool) as server:
        await deliver_one(server, "a@example.com", "b@example.com")
        await asyncio.wait_for(first.reached.wait(), 5.0)
    second, box = Crash(stage, hang=False), Box()
    async with Running(second, box, spool=EmbeddedSpool(EmbeddedSettings(tmp_path)) if durable else spool) as server:
        await empty(server)
    assert first.seen == [(name, 1) for name in ALL[: ALL.index(stage) + 1]]
    begin = ALL.index(stage) - (stage == "Categorized")
    assert [name for name, _ in second.seen] == ALL[begin:]
    assert dict(second.seen)[stage] == 2 or stage == "Categorized"
    assert box.who == ["a", "b"]


async def test_a_fork_that_is_recorded_after_a_start_is_asked_for_the_first_time(tmp_path: Path) -> None:
    """Only what another process may have begun is a second attempt."""
    first = Crash("Submission", hang=True)
    async with Running(first, spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        await deliver_one(server, "a@example.com", "b@example.com")
        await asyncio.wait_for(first.reached.wait(), 5.0)

    class Forks(Sink[None]):
        @on(Submission)
        async def split(self, event: Submission) -> None:
            event.message.fork([event.message.recipients[1]])

    stages, box = AtStages(), Box()
    async with Running(Forks(), stages, box, spool=EmbeddedSpool(EmbeddedSettings(tmp_path))) as server:
        await empty(server)
    assert {attempt for _, attempt, _ in stages.seen} == {1}
    assert box.who == ["a", "b"]


class FullOnce(MemorySpool):
    """Has no room for the first group that is committed with new content after the message was accepted."""

    refused = 0

    def commit(self, changes: Any) -> asyncio.Future[None]:
        if self.count() and not self.refused:
            self.refused += 1
            future = asyncio.get_running_loop().create_future()
            future.set_exception(StorageFull("no room"))
            return future
        return super().commit(changes)

    def append(self, changes: Any) -> None:
        assert not any(isinstance(c, Change) and getattr(c, "content", None) and c.content.size > 64 * 1024 for c in changes)
        super().append(changes)


async def test_much_new_content_on_a_full_disk_puts_the_message_off() -> None:
    """It is committed, not appended; without room the stage is repeated later, and the edit is made again."""
    spool, box, times = FullOnce(), Box(), list[int]()

    def grow(event: PreCategorize) -> None:
        times.append(1)
        event.message.replace_content(b"Subject: big\r\n\r\n" + b"x" * 100_000)

    async with Running(AtStages(PreCategorize=grow), box, spool=spool) as server:
        await deliver_one(server, "bob@example.com")
        await server.until(lambda: server.kept() and server.kept()[0].due > server.node.now(), "put off")
        assert decode_record(server.kept()[0].record).done == []
        server.node.ahead = 100
        server.transport.scheduler.wake()
        await empty(server)
    assert (len(times), spool.refused) == (2, 1)
    assert len(box.contents[0]) > 100_000
