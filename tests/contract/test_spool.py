"""Every spool keeps the contract of ``storage/base.py``: one suite, run against each back-end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penstock.errors import StorageDamaged, StorageUnavailable
from penstock.mail.content import JoinedContent, MemoryContent, chunks
from penstock.storage.base import Change, Entry, Leases, Put, Query, Remove, Spool
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


async def test_nothing_is_due_in_an_empty_spool(spool: Spool) -> None:
    """No entry, no time."""
    assert spool.next_due() is None
    assert spool.due(1e12) == []
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
