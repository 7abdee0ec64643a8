"""Whatever sinks do at the stages, and wherever the process dies: each recipient is served as it should be, and nobody twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.running import Node
from penstock import Address, Recipient, Sink, on
from penstock.events import Categorized, LocalDelivery, PostCategorize, PreCategorize, Resolve, Route, Submission
from penstock.events.binding import Bindings
from penstock.events.dispatch import Dispatcher
from penstock.events.plug import Plug
from penstock.events.work import MessageWork
from penstock.mail.content import MemoryContent
from penstock.mail.envelope import Envelope
from penstock.mail.message import MessageRecord
from penstock.queue.policy import RetryPolicy
from penstock.storage.memory import MemorySpool
from penstock.transport.pipeline import Parts, Transport, TransportSettings
from penstock.verdicts import Defer, Delivered, Forward, Hold, Split

# A recipient's local part says what happens to it: a letter for each of these moments, then a number.
MOMENTS = ("Submission", "PreCategorize", "Resolve", "Categorized", "PostCategorize", "LocalDelivery")
CHOICES = ("-fxd", "-fxd", "-elnw", "-fsxd", "-fxd", "-odh")


def members(local: str) -> list[str]:
    """Those of a list: what happens to it happens to them, but that they are no lists."""
    return [f"{local[:2]}-{local[3:]}{n}" for n in "ab"]


@pytest.fixture(autouse=True, scope="module")
def no_pause() -> Iterator[None]:
    """Between two looks into the spool there is a pause, which is long for deferrals of milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.queue.work.PAUSE", 0.001)
        yield


@dataclass
class World(Sink[None]):
    """Does what the local parts say; remembers over restarts, as the world outside does."""

    def __post_init__(self) -> None:
        super().__init__()
        self.delivered: Counter[str] = Counter()
        self.once: set[tuple[str, str]] = set()

    def first(self, moment: str, local: str) -> bool:
        known = (moment, local) in self.once
        self.once.add((moment, local))
        return not known

    @staticmethod
    def wish(moment: str, recipient: Recipient) -> str:
        local = recipient.address.local
        return "-" if local.startswith("to") else local[MOMENTS.index(moment)]

    @on(Submission, PreCategorize, Categorized, PostCategorize)
    async def stage(self, event: Submission | PreCategorize | Categorized | PostCategorize) -> Any:
        moment, recipients = type(event).__name__, event.message.recipients
        await asyncio.sleep(0)
        if any(self.wish(moment, r) == "d" and self.first(moment, r.address.local) for r in recipients):
            return Defer(after=timedelta(milliseconds=1))
        for recipient in recipients:
            if self.wish(moment, recipient) == "x":
                recipients.remove(recipient)
            elif self.wish(moment, recipient) == "f" and len(recipients) > 1:
                event.message.fork([recipient])
        apart = tuple((r,) for r in recipients if self.wish(moment, r) == "s")
        return Split(apart) if apart and isinstance(event, Categorized) else None

    @on(Resolve)
    async def resolve(self, event: Resolve) -> None:
        await asyncio.sleep(0)
        for item in event.open:
            local = item.address.local
            wish = "-" if item.kind == "sender" else self.wish("Resolve", Recipient(item.address))
            if wish in ("e", "l"):
                item.expand([f"{name}@x.example" for name in members(local)], sender="owner@x.example" if wish == "l" else None)
            elif wish == "n":
                item.fail()
            elif wish == "w" and self.first("Resolve", local):
                item.defer()

    @on(Route)
    async def route(self, event: Route) -> Hold | None:
        await asyncio.sleep(0)
        return None

    @on(LocalDelivery)
    async def deliver(self, event: LocalDelivery) -> Any:
        wish, local = self.wish("LocalDelivery", event.recipient), event.recipient.address.local
        await asyncio.sleep(0)
        if wish == "d" and self.first("LocalDelivery", local):
            return Defer(after=timedelta(milliseconds=1))
        if wish == "o":
            return Forward((f"to{local[6:]}@y.example", f"too{local[6:]}@y.example"))
        self.delivered[local] += 1
        return Delivered()


def expected(locals_: list[str]) -> Counter[str]:
    """What should be delivered, worked out without any stage: lists and forwards become their members."""
    found: Counter[str] = Counter()
    for local in locals_:
        wishes = dict(zip(MOMENTS, local, strict=False))
        if "x" in (wishes["Submission"], wishes["PreCategorize"]) or wishes["Resolve"] == "n":
            continue
        if "x" in (wishes["Categorized"], wishes["PostCategorize"]):
            continue
        names = members(local) if wishes["Resolve"] in "el" else [local]
        for name in names:
            for final in [f"to{name[6:]}", f"too{name[6:]}"] if wishes["LocalDelivery"] == "o" else [name]:
                found[final] += 1
    return found


class Quiet:
    """A log that keeps errors only: of these there must be none."""

    def info(self, event: str, **values: Any) -> None:
        pass

    debug = warning = info

    def error(self, event: str, **values: Any) -> None:
        raise AssertionError(f"{event} {values}")


QUIET: Any = Quiet()


def transport(node: Node, spool: MemorySpool, world: World) -> Transport:
    dispatcher = Dispatcher(QUIET)
    node.transport = Transport(
        Parts(node, spool, dispatcher, QUIET), Bindings([Plug("world", world)]), TransportSettings(RetryPolicy((0.005,), 3600.0, 0.0))
    )
    return node.transport


def message(node: Node, locals_: list[str]) -> MessageWork:
    recipients = [Recipient(Address(local, "x.example")) for local in locals_]
    # From nobody, so that failures make no reports.
    record = MessageRecord(node.new_id(), time.time(), Envelope(Address("", ""), recipients))
    return MessageWork(record, MemoryContent(b"Subject: x\r\n\r\nx\r\n"))


async def live(locals_: list[str], crashes: list[int]) -> World:
    """One message through all of it, with a crash after so many turns of the loop each time."""
    spool, world = MemorySpool(), World()
    node = Node(spool)
    await spool.open()
    running = transport(node, spool, world)
    running.start()
    await running.submit(message(node, locals_))
    for turns in crashes:
        for _ in range(turns):
            await asyncio.sleep(0)
        await running.stop(0)
        running = transport(node, spool, world)
        running.start()
    deadline = time.monotonic() + 5
    while spool.count():
        assert time.monotonic() < deadline, [(e.stage, e.queue, e.due, e.held) for e in spool._entries.values()]
        await asyncio.sleep(0.001)
    await running.stop(1)
    return world


recipients = st.lists(st.tuples(*(st.sampled_from(choice) for choice in CHOICES)).map("".join), min_size=1, max_size=8).map(
    lambda wishes: [f"{wish}{number}" for number, wish in enumerate(wishes)]
)


@settings(deadline=None, max_examples=300)
@given(recipients)
def test_each_recipient_is_served_once(locals_: list[str]) -> None:
    """Forks, splits, lists, failures, deferrals, forwards, in any mixture."""
    assert asyncio.run(live(locals_, [])).delivered == expected(locals_)


@settings(deadline=None, max_examples=150)
@given(recipients, st.lists(st.integers(0, 40), min_size=1, max_size=3))
def test_nobody_is_lost_by_a_crash(locals_: list[str], crashes: list[int]) -> None:
    """Who was being delivered to when the process died may get a second copy; nobody gets none, or one that was not for him."""
    delivered = asyncio.run(live(locals_, crashes)).delivered
    wanted = expected(locals_)
    assert delivered.keys() == wanted.keys()
    assert all(delivered[local] <= wanted[local] + len(crashes) for local in wanted)
