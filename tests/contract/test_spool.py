"""Every spool keeps the contract of ``storage/base.py``: one suite, run against each back-end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penstock.errors import StorageDamaged, StorageUnavailable
from penstock.mail.content import JoinedContent, MemoryContent, chunks
from penstock.storage.base import Change, Entry, Leases, Put, Query, QueueCount, Remove, Spool
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.memory import LocalLeases, MemorySpool

pytestmark = pytest.mark.filterwarnings("error")


def _embedded(folder: Path, settle_after: float, cache_size: int = 1 << 20) -> EmbeddedSpool:
    return EmbeddedSpool(
        EmbeddedSettings(
            folder / "spool",
            segment_size=1 << 20,
            large_content=64 << 10,
            cache_size=cache_size,
            settle_after=settle_after,
            settle_interval=0.01,
            append_delay=0.01,
        )
    )


BACKENDS: dict[str, Callable[[Path], Spool]] = {
    "memory": lambda _: MemorySpool(),
    "embedded, all young": lambda folder: _embedded(folder, settle_after=60),
    "embedded, settled at once": lambda folder: _embedded(folder, settle_after=0),
    "embedded, without a cache": lambda folder: _embedded(folder, settle_after=60, cache_size=0),
}


@pytest.fixture(params=BACKENDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Spool]:
    """Makes a spool on the same folder each time."""
    return lambda: BACKENDS[request.param](tmp_path)


@pytest.fixture
async def spool(make: Callable[[], Spool]) -> AsyncIterator[Spool]:
    spool = make()
    await spool.open()
    yield spool
    await spool.close()


def entry(name: str, due: float = 0.0, **more: str) -> Entry:
    return Entry(name, more.pop("stage", "submitted"), b"envelope of " + name.encode(), f"content-{name}", due=due, **more)


def put(name: str, due: float = 0.0, **more: str) -> Put:
    return Put(entry(name, due, **more), MemoryContent(b"octets of " + name.encode() * 100))


async def rest(spool: Spool) -> None:
    """Lets a spool that settles in the background do so."""
    if isinstance(spool, EmbeddedSpool):
        await asyncio.sleep(0.05)


async def test_a_committed_entry_and_its_content_can_be_read(spool: Spool) -> None:
    """After the future is done, entry and content are what was given."""
    await spool.commit([put("a", 5.0, queue="example.org")])
    await rest(spool)
    assert spool.get("a") == entry("a", 5.0, queue="example.org")
    assert spool.content(entry("a")).read() == b"octets of " + b"a" * 100
    assert spool.count() == 1


async def test_an_appended_change_is_seen_at_once(spool: Spool) -> None:
    """``append`` changes what readers see before it returns."""
    spool.append([put("a"), put("b")])
    spool.append([Remove("a"), Put(entry("b", 9.0, stage="routed"))])
    assert spool.get("a") is None
    assert spool.get("b") == entry("b", 9.0, stage="routed")
    assert spool.content(entry("b")).read().startswith(b"octets of b")
    assert (spool.count(), spool.next_due()) == (1, 9.0)


async def test_an_append_after_a_commit_that_is_not_done_wins(spool: Spool) -> None:
    """Changes are applied in the order of the calls, although an append is visible first."""
    first = spool.commit([put("a", 1.0), put("b", 1.0)])
    spool.append([Put(entry("a", 7.0)), Remove("b")])
    await first
    await rest(spool)
    assert spool.get("a") == entry("a", 7.0)
    assert spool.get("b") is None
    assert spool.count() == 1


async def test_a_later_commit_wins_over_an_append(spool: Spool) -> None:
    """An entry removed and then put again is there."""
    await spool.commit([put("a")])
    spool.append([Remove("a")])
    await spool.commit([put("a", 3.0)])
    await rest(spool)
    assert spool.get("a") == entry("a", 3.0)
    assert spool.content(entry("a")).read().startswith(b"octets of a")


async def test_a_content_lives_as_long_as_an_entry_refers_to_it(spool: Spool) -> None:
    """Forks share one content; the last one to go takes it along."""
    await spool.commit([put("a")])
    forks = [Put(Entry(name, "routed", b"", "content-a")) for name in ("b", "c")]
    await spool.commit([*forks, Remove("a")])
    await rest(spool)
    spool.append([Remove("b")])
    await rest(spool)
    fork = spool.get("c")
    assert fork is not None
    assert spool.content(fork).read().startswith(b"octets of a")
    spool.append([Remove("c")])
    await rest(spool)
    with pytest.raises(StorageDamaged, match="content-a"):
        spool.content(fork)


async def test_a_fork_under_way_keeps_the_content_of_an_entry_that_is_removed_meanwhile(spool: Spool) -> None:
    """A commit pins what it refers to from the moment of the call."""
    await spool.commit([put("a")])
    fork = Entry("b", "routed", b"", "content-a")
    done = spool.commit([Put(fork)])
    spool.append([Remove("a")])
    await done
    await rest(spool)
    assert spool.content(fork).read().startswith(b"octets of a")


async def test_a_group_may_hand_a_content_over_in_any_order(spool: Spool) -> None:
    """References are counted when the whole group was applied."""
    await spool.commit([put("a")])
    fork = Entry("b", "routed", b"", "content-a")
    await spool.commit([Remove("a"), Put(fork)])
    await rest(spool)
    assert spool.content(fork).read().startswith(b"octets of a")


async def test_a_new_content_takes_the_place_of_the_old(spool: Spool) -> None:
    """An edited entry refers to its new content, and the old content is gone."""
    await spool.commit([put("a")])
    await rest(spool)
    edited = Entry("a", "routed", b"", "content-a2")
    await spool.commit([Put(edited, JoinedContent(b"X: y\n", spool.content(entry("a")), 3))])
    await rest(spool)
    assert spool.content(edited).read().startswith(b"X: y\nets of a")
    with pytest.raises(StorageDamaged):
        spool.content(entry("a"))


@pytest.mark.parametrize("size", [1000, 100_000], ids=["small", "large"])
async def test_new_bytes_under_an_old_content_id_are_the_content_of_all_that_refer_to_it(spool: Spool, size: int) -> None:
    """Ids are written once; who does otherwise gets the younger bytes everywhere, and they live as long as any reference."""
    await spool.commit([Put(entry("a"), MemoryContent(b"o" * size))])
    await spool.commit([Put(Entry("b", "routed", b"", "content-a"))])
    await rest(spool)
    await spool.commit([Put(entry("a"), MemoryContent(b"n" * size))])
    await rest(spool)
    fork = spool.get("b")
    assert fork is not None
    assert spool.content(fork).read() == spool.content(entry("a")).read() == b"n" * size
    await spool.commit([Remove("a")])
    await rest(spool)
    assert spool.content(fork).read() == b"n" * size


async def test_removing_what_is_not_there_is_no_error(spool: Spool) -> None:
    """An unknown id changes nothing."""
    await spool.commit([Remove("nobody"), put("a")])
    spool.append([Remove("nothing")])
    assert spool.count() == 1


async def test_due_entries_come_in_order_of_time_and_without_the_held(spool: Spool) -> None:
    """Held and later entries are left out; the limit counts."""
    await spool.commit([put("c", 3.0), put("a", 1.0), put("h", 0.5, held="by hand")])
    await rest(spool)
    await spool.commit([put("b", 2.0), put("d", 4.0)])
    assert spool.next_due() == 1.0
    assert [found.id for found in spool.due(3.0)] == ["a", "b", "c"]
    assert [found.id for found in spool.due(9.0, limit=2)] == ["a", "b"]
    spool.append([Put(entry("a", 8.0)), Remove("b")])
    assert spool.next_due() == 3.0
    assert [found.id for found in spool.due(9.0)] == ["c", "d", "a"]


def due_ids(spool: Spool, queue: str | None, now: float = math.inf, limit: int = 1000) -> list[str]:
    return [found.id for found in spool.due(now, limit, queue)]


async def test_entries_due_at_the_same_time_come_in_order_of_id(spool: Spool) -> None:
    """Whether young or settled, and in whatever order they came."""
    await spool.commit([put("c", 1.0, queue="x"), put("a", 1.0, queue="y")])
    await rest(spool)
    await spool.commit([put("d", 1.0, queue="x"), put("b", 1.0, queue="x")])
    assert due_ids(spool, None) == ["a", "b", "c", "d"]
    assert due_ids(spool, None, limit=3) == ["a", "b", "c"]
    assert due_ids(spool, "x") == ["b", "c", "d"]


async def test_a_queue_is_asked_for_its_own_entries_alone(spool: Spool) -> None:
    """Of the others, of the held and of what is due later nothing is seen; entries in no queue are in the one without a name."""
    await spool.commit([put("a", 4.0, queue="x"), put("b", 2.0, queue="y"), put("n", 1.0)])
    await rest(spool)
    await spool.commit([put("c", 3.0, queue="x"), put("h", 0.0, queue="x", held="by hand")])
    assert due_ids(spool, "x", now=3.5) == ["c"]
    assert due_ids(spool, "x") == ["c", "a"]
    assert due_ids(spool, "x", limit=1) == ["c"]
    assert due_ids(spool, "") == ["n"]
    assert due_ids(spool, "nobody") == []
    assert [spool.next_due(queue) for queue in ("x", "y", "", "nobody", None)] == [3.0, 2.0, 1.0, None, 1.0]


async def test_the_queues_are_those_with_an_entry_that_is_not_held(spool: Spool) -> None:
    """Each with its least due time; one whose entries are all held has none, and so is left out."""
    await spool.commit([put("a", 4.0, queue="x"), put("b", 2.0, queue="y"), put("n", 7.0)])
    await rest(spool)
    await spool.commit([put("c", 3.0, queue="x"), put("h", 0.0, queue="z", held="by hand"), put("w", 9.0, queue="w")])
    assert spool.queues() == {"": 7.0, "w": 9.0, "x": 3.0, "y": 2.0}


async def test_the_census_counts_the_held_too(spool: Spool) -> None:
    """Entries, the held among them, and the oldest of each queue that has any."""
    await spool.commit([put("b", 4.0, queue="x"), put("c", 2.0, queue="y")])
    await rest(spool)
    await spool.commit([put("a", 3.0, queue="x"), put("d", 0.0, queue="x", held="by hand"), put("e", 0.0, queue="z", held="by hand")])
    assert spool.census() == {"x": QueueCount(3, 1, "a"), "y": QueueCount(1, 0, "c"), "z": QueueCount(1, 1, "e")}


async def test_what_is_held_leaves_its_queue_until_it_is_released(spool: Spool) -> None:
    """A hold takes it out of what is due, a release brings it back, with or without a rest between."""
    await spool.commit([put("a", 1.0, queue="x"), put("b", 2.0, queue="x")])
    await rest(spool)
    spool.append([Put(entry("a", 1.0, queue="x", held="by hand"))])
    for _ in range(2):
        assert (due_ids(spool, "x"), spool.next_due("x"), spool.queues()) == (["b"], 2.0, {"x": 2.0})
        assert spool.census() == {"x": QueueCount(2, 1, "a")}
        await rest(spool)
    spool.append([Put(entry("b", 2.0, queue="x", held="by hand"))])
    assert (due_ids(spool, "x"), spool.next_due("x"), spool.queues()) == ([], None, {})
    await rest(spool)
    spool.append([Put(entry("a", 1.0, queue="x"))])
    for _ in range(2):
        assert (due_ids(spool, "x"), spool.next_due("x"), spool.queues()) == (["a"], 1.0, {"x": 1.0})
        assert spool.census() == {"x": QueueCount(2, 1, "a")}
        await rest(spool)


async def test_an_entry_that_moves_is_in_one_queue_only(spool: Spool) -> None:
    """Also while the back-end still knows it in the old one; a queue without entries is gone."""
    await spool.commit([put("a", 1.0, queue="x"), put("b", 2.0, queue="y")])
    await rest(spool)
    spool.append([Put(entry("a", 5.0, queue="y"))])
    for _ in range(2):
        assert (due_ids(spool, "x"), due_ids(spool, "y")) == ([], ["b", "a"])
        assert (spool.queues(), spool.next_due("x")) == ({"y": 2.0}, None)
        assert spool.census() == {"y": QueueCount(2, 0, "a")}
        assert [found.id for found in spool.select(Query(queue="y")).entries] == ["a", "b"]
        await rest(spool)
    spool.append([Remove("b"), Put(entry("a", 0.5, queue="x"))])
    for _ in range(2):
        assert (spool.queues(), spool.census()) == ({"x": 0.5}, {"x": QueueCount(1, 0, "a")})
        await rest(spool)


async def test_one_call_may_put_an_entry_in_two_queues_and_the_last_counts(spool: Spool) -> None:
    """In a group as among groups, the later state is the one that is kept."""
    await spool.commit([put("a", 1.0, queue="x"), Put(entry("a", 1.0, queue="y"))])
    assert (due_ids(spool, "x"), due_ids(spool, "y"), spool.queues()) == ([], ["a"], {"y": 1.0})
    assert spool.census() == {"y": QueueCount(1, 0, "a")}


async def test_a_commit_under_way_does_not_undo_the_append_behind_it(spool: Spool) -> None:
    """The queue of the later call counts, whichever is visible first, and nothing is counted twice."""
    await spool.commit([put("a", 1.0, queue="x"), put("b", 1.0, queue="x")])
    await rest(spool)
    done = spool.commit([Put(entry("a", 2.0, queue="y")), Put(entry("b", 2.0, queue="y")), put("c", 2.0, queue="y")])
    spool.append([Put(entry("a", 3.0, queue="z")), Remove("c")])
    await done
    for _ in range(2):
        assert spool.queues() == {"y": 2.0, "z": 3.0}
        assert spool.census() == {"y": QueueCount(1, 0, "b"), "z": QueueCount(1, 0, "a")}
        assert [due_ids(spool, queue) for queue in ("x", "y", "z")] == [[], ["b"], ["a"]]
        await rest(spool)


async def test_the_queues_are_as_they_were_after_a_restart(make: Callable[[], Spool]) -> None:
    """Holds, moves and removals survive, and so do the counts."""
    spool = make()
    if isinstance(spool, MemorySpool):
        pytest.skip("memory does not survive its process")
    await spool.open()
    await spool.commit([put(f"{number:03}", float(number % 7), queue=f"q{number % 5}") for number in range(100)])
    await rest(spool)
    spool.append([Put(entry(f"{number:03}", 1.0, queue="q0", held="by hand")) for number in range(1, 100, 10)])
    spool.append([Put(entry(f"{number:03}", 9.5, queue="moved")) for number in range(2, 100, 10)])
    spool.append([Remove(f"{number:03}") for number in range(3, 100, 5)])
    before = (spool.queues(), spool.census(), spool.count())
    orders = [due_ids(spool, queue) for queue in (None, *before[0])]
    assert before[1]["q0"] == QueueCount(30, 10, "000")
    assert "q3" not in before[1]
    await spool.close()
    spool = make()
    assert (await spool.open()).damaged == []
    assert (spool.queues(), spool.census(), spool.count()) == before
    assert [due_ids(spool, queue) for queue in (None, *before[0])] == orders
    await spool.close()


async def test_what_is_asked_for_lies_behind_much_that_has_just_gone(spool: Spool) -> None:
    """Many removals at the head of a queue hide nothing behind them, before and after they are settled."""
    await spool.commit([put(f"{number:04}", float(number), queue="x") for number in range(3000)])
    await rest(spool)
    spool.append([Remove(f"{number:04}") for number in range(1, 2990)])
    for _ in range(2):
        assert due_ids(spool, "x", limit=3) == ["0000", "2990", "2991"]
        assert (spool.next_due("x"), spool.census()) == (0.0, {"x": QueueCount(11, 0, "0000")})
        await rest(spool)


async def test_nothing_is_due_in_an_empty_spool(spool: Spool) -> None:
    """No entry, no time."""
    assert spool.next_due() is None
    assert spool.due(1e12) == []
    assert (spool.due(math.inf, queue="x"), spool.next_due("x"), spool.queues(), spool.census()) == ([], None, {}, {})
    assert spool.select(Query()).entries == []


async def test_a_listing_comes_in_pages_in_order_of_id(spool: Spool) -> None:
    """Following the cursor gives every entry once, whether young or settled."""
    await spool.commit([put(f"{number:03}") for number in range(0, 50, 2)])
    await rest(spool)
    await spool.commit([put(f"{number:03}") for number in range(1, 50, 2)])
    names: list[str] = []
    cursor = ""
    while True:
        page = spool.select(Query(), cursor, limit=7)
        names += [found.id for found in page.entries]
        cursor = page.cursor
        if not cursor:
            break
    assert names == [f"{number:03}" for number in range(50)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Query(queue="x"), ["a", "c"]),
        (Query(stage="routed"), ["b", "c"]),
        (Query(held=True), ["c"]),
        (Query(held=False), ["a", "b"]),
        (Query(due_before=1.5), ["a"]),
        (Query(queue="x", held=False), ["a"]),
    ],
    ids=str,
)
async def test_a_query_asks_for_all_its_conditions(spool: Spool, query: Query, names: list[str]) -> None:
    """Each given condition must hold; None asks nothing."""
    await spool.commit([put("a", 1.0, queue="x"), put("b", 2.0, stage="routed")])
    await rest(spool)
    await spool.commit([put("c", 1.0, queue="x", stage="routed", held="policy")])
    assert [found.id for found in spool.select(query).entries] == names


async def test_a_large_content_is_written_as_it_arrives(spool: Spool) -> None:
    """What the writer took is read back, whole and in parts, also when it came in odd pieces."""
    data = bytes(range(256)) * 4001
    writer = spool.writer()
    for start in range(0, len(data), 77_777):
        await writer.write(data[start : start + 77_777])
    content = await writer.finish()
    assert content.size == len(data)
    await spool.commit([Put(entry("a"), content)])
    writer.abort()
    await rest(spool)
    kept = spool.content(entry("a"))
    assert kept.read() == b"".join(chunks(kept)) == data
    assert kept.read(300_001, 5) == data[300_001:300_006]
    assert kept.read(len(data) - 3, 10) == data[-3:]
    assert kept.read(len(data)) == b""


async def test_an_empty_large_content_is_a_content(spool: Spool) -> None:
    """A writer that never got an octet finishes with nothing."""
    content = await spool.writer().finish()
    await spool.commit([Put(entry("a"), content)])
    assert spool.content(entry("a")).read() == b""


async def test_an_aborted_writer_may_be_aborted_again(spool: Spool) -> None:
    """``abort`` never raises."""
    writer = spool.writer()
    await writer.write(b"x" * 400_000)
    writer.abort()
    writer.abort()


async def test_a_content_in_a_file_may_be_committed_twice(spool: Spool) -> None:
    """The same finished content under two ids gives two contents that live and die alone."""
    writer = spool.writer()
    await writer.write(b"x" * 400_000)
    content = await writer.finish()
    await spool.commit([Put(entry("a"), content), Put(entry("b"), content)])
    await spool.commit([Remove("a")])
    await rest(spool)
    assert spool.content(entry("b")).read() == b"x" * 400_000


async def test_many_at_once_all_become_durable(spool: Spool) -> None:
    """Commits that share a group are all told."""

    async def one(number: int) -> None:
        await spool.commit([put(f"{number:04}", float(number))])
        if number % 3:
            spool.append([Remove(f"{number:04}")])

    await asyncio.gather(*(one(number) for number in range(600)))
    await rest(spool)
    assert spool.count() == 200
    assert [int(found.id) for found in spool.due(1e9)] == list(range(0, 600, 3))


async def test_a_closed_spool_takes_nothing(make: Callable[[], Spool]) -> None:
    """After ``close`` commits fail and appends raise."""
    spool = make()
    await spool.open()
    await spool.close()
    await spool.close()
    with pytest.raises(StorageUnavailable):
        await spool.commit([put("a")])
    with pytest.raises(StorageUnavailable):
        spool.append([put("a")])


async def test_what_was_asked_for_before_close_is_there_after_open(
    make: Callable[[], Spool],
) -> None:
    """Commits, appends, large contents and removals survive a restart."""
    spool = make()
    if isinstance(spool, MemorySpool):
        pytest.skip("memory does not survive its process")
    await spool.open()
    writer = spool.writer()
    await writer.write(b"y" * 300_000)
    changes: list[Change] = [put("a", 4.0), put("b", 5.0), Put(entry("l", 6.0), await writer.finish())]
    await spool.commit(changes)
    await rest(spool)
    spool.append([Remove("a"), Put(entry("b", 7.0, stage="routed"))])
    await spool.close()
    spool = make()
    recovered = await spool.open()
    assert (recovered.count, recovered.damaged) == (2, [])
    assert [found.id for found in spool.due(10.0)] == ["l", "b"]
    assert spool.get("b") == entry("b", 7.0, stage="routed")
    assert spool.content(entry("b")).read().startswith(b"octets of b")
    assert spool.content(entry("l")).read() == b"y" * 300_000
    await spool.close()


@pytest.fixture(params=[LocalLeases])
def leases(request: pytest.FixtureRequest) -> Leases:
    made: Leases = request.param()
    return made


def test_a_lease_is_one_owner_s_until_its_time_ends(leases: Leases) -> None:
    """Another one gets nothing before, and a greater number after."""
    first = leases.take("lane", "a", 10, now=100)
    assert first is not None
    assert leases.take("lane", "b", 10, now=105) is None
    second = leases.take("lane", "b", 10, now=111)
    assert second is not None
    assert second.number > first.number
    assert leases.renew(first, 10, now=112) is None


def test_a_renewed_lease_keeps_its_number(leases: Leases) -> None:
    """Renewing moves the end, and so does taking what one has."""
    first = leases.take("lane", "a", 10, now=100)
    assert first is not None
    renewed = leases.renew(first, 10, now=105)
    assert renewed is not None
    assert (renewed.number, renewed.until) == (first.number, 115)
    again = leases.take("lane", "a", 20, now=106)
    assert again is not None
    assert (again.number, again.until) == (first.number, 126)


def test_a_released_lease_is_free(leases: Leases) -> None:
    """Releasing what was lost changes nothing."""
    first = leases.take("lane", "a", 10, now=100)
    assert first is not None
    leases.release(first)
    second = leases.take("lane", "b", 10, now=101)
    assert second is not None
    leases.release(first)
    assert leases.take("lane", "c", 10, now=102) is None
