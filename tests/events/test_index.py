"""Bindings that are found by an index: asked, counted and answered as if each had been tried, whatever is on the way."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.harness import Harness, message_work, session_work
from penstock import Match, Sink, on
from penstock.events import EndOfData, Event, RcptTo, Submission
from penstock.events.catalog import Verb
from penstock.events.plug import Plug
from penstock.mail.address import Address
from penstock.verdicts import Discard, Drop

DOMAINS = ["a.example", "b.example", "x.b.example", "y.x.b.example", "c.example"]
# The long s, the Kelvin sign and the dotless i: equal to s, k and i for a regular expression, but not for lower().
LOCALS = ["alice", "BOB", "kiss", "\u212ai\u017f\u017f", "k\u0131ss", "gr\u00fcn", "GR\u00dcN"]


def address(local: str, domain: str) -> Address:
    """An address."""
    return Address(local, domain)


addresses = st.builds(address, st.sampled_from(LOCALS), st.sampled_from(DOMAINS))
patterns = st.one_of(
    st.sampled_from([*DOMAINS, *(f".{d}" for d in DOMAINS), "*.example", "<>", "A.EXAMPLE", "*"]),
    st.builds("{}@{}".format, st.sampled_from([*LOCALS, "*", "k*", "ALICE", ""]), st.sampled_from([*DOMAINS, ".b.example", "*", ""])),
)
listed = st.one_of(patterns, st.lists(patterns, min_size=1, max_size=3))
domains = st.lists(st.sampled_from([*DOMAINS, ".b.example", "*.example"]), min_size=1, max_size=2)
matches = st.one_of(
    st.none(),
    st.builds(Match, recipient=listed),
    st.builds(Match, sender=listed),
    st.builds(Match, recipient=listed, sender=st.one_of(st.none(), listed)),
    st.builds(Match, listener=st.sampled_from(["mx", "MX", "m*", "submission"])),
    st.builds(Match, header=st.just({"Subject": "hel*"}), recipient=st.one_of(st.none(), listed)),
)
# What a handler does: nothing, gives a verdict, or changes what others are found by.
deeds = st.one_of(st.none(), st.none(), st.just("stop"), st.just("fail"), addresses, st.tuples(addresses))


class Does(Sink):
    """Does what it is told, and notes what it saw."""

    def __init__(self, name: str, deed: Any, notes: list[Any]) -> None:
        super().__init__()
        self.name = name
        self.deed = deed
        self.notes = notes

    @on(EndOfData, blocking=False)
    def look(self, event: EndOfData) -> Discard | None:
        self.notes.append((self.name, [str(r.address) for r in event.matched_recipients]))
        if self.deed == "stop":
            return Discard()
        if self.deed == "fail":
            raise ValueError(self.name)
        if isinstance(self.deed, Address):
            event.message.recipients[0].address = self.deed
        elif self.deed is not None:
            event.message.sender = self.deed[0]
        return None


class DoesLater(Does):
    """The same on the loop, where it has to be waited for."""

    @on(EndOfData)
    async def look(self, event: EndOfData) -> Discard | None:
        found: Discard | None = Does.look(self, event)
        return found


async def walked(plugs: list[tuple[Any, Any, bool]], work: Any, times: int) -> Any:
    """What is called and counted."""
    notes: list[Any] = []
    bound = []
    for number, (match, deed, later) in enumerate(plugs):
        sink = (DoesLater if later else Does)(f"b{number}", deed, notes)
        bound.append(Plug(f"b{number}", sink, match=match, on_error="continue"))
    harness = Harness(bound)
    outcomes = [await harness.ask(harness.make(EndOfData, work())) for _ in range(times)]
    counted = [(b.name, b.counters.asked, b.counters.matched, b.counters.errors) for b in harness.bindings.all]
    return notes, outcomes, counted, harness.bindings.chain(EndOfData)


@given(
    st.lists(st.tuples(matches, deeds, st.booleans()), max_size=12),
    st.lists(addresses, min_size=1, max_size=3),
    st.one_of(addresses, st.just(Address("", ""))),
)
@example([(Match(recipient="kiss@a.example"), None, False)], [Address("\u212ai\u017f\u017f", "a.example")], Address("", ""))
@example(
    [(None, Address("x", "b.example"), True), (Match(recipient="b.example"), "stop", False), (None, None, False)],
    [Address("alice", "a.example")],
    Address("", ""),
)
@example(
    # The log keeps the error, its traceback the walk.
    [(None, "fail", False), (Match(recipient="a.example"), None, False), (None, "stop", False)],
    [Address("alice", "b.example")],
    Address("", ""),
)
async def test_the_index_asks_whom_a_walk_along_all_bindings_would(
    plugs: list[tuple[Any, Any, bool]], recipients: list[Address], sender: Address
) -> None:
    def work() -> Any:
        made = message_work()
        made.record.envelope.sender = sender
        first = made.record.envelope.recipients[0]
        made.record.envelope.recipients = [first.copy() for _ in recipients]
        for recipient, where in zip(made.record.envelope.recipients, recipients, strict=True):
            recipient.address = where
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.events.chain.FEWEST", 10**9)
        plainly = await walked(plugs, work, 2)
        patch.setattr("penstock.events.chain.FEWEST", 1)
        found = await walked(plugs, work, 2)
    assert plainly[3].finder is None
    assert found[:3] == plainly[:3]


def many(count: int, **match: str) -> Harness:
    """So many bindings, each with conditions of its own; ``{}`` is its number."""
    plugs = []
    for number in range(count):
        conditions: dict[str, Any] = {name: value.format(number) for name, value in match.items()}
        plugs.append(Plug(f"b{number}", Does(f"b{number}", None, []), match=Match(**conditions)))
    return Harness(plugs)


@pytest.mark.parametrize(
    "match",
    [
        {"recipient": "customer{}.example"},
        {"recipient": ".customer{}.example"},
        {"recipient": "alice@customer{}.example"},
        {"sender": "customer{}.example"},
        {"sender": "*@from.example", "recipient": "*@customer{}.example"},
    ],
)
def test_of_a_thousand_domains_one_binding_is_tried(match: dict[str, str]) -> None:
    harness = many(1000, **match)
    sender = "x@from.example" if "recipient" in match else "x@customer500.example"
    event = harness.make(EndOfData, message_work(recipients=("alice@customer500.example",), sender=sender))
    assert [b.name for b in harness.bindings.chain(EndOfData).candidates(event)] == ["b500"]


def test_a_destination_and_a_listener_are_found_too() -> None:
    class Looks(Sink):
        @on(RcptTo, blocking=False)
        def look(self, event: RcptTo) -> None: ...

    def plugs(**match: str) -> list[Plug]:
        return [Plug(f"b{n}", Looks(), match=Match(**{k: v.format(n) for k, v in match.items()})) for n in range(20)]  # type: ignore[arg-type]

    by_destination, by_listener = Harness(plugs(destination="d{}.example")), Harness(plugs(listener="L{}"))
    event: Event = by_destination.make(RcptTo, message_work(recipients=("x@d7.example",)))
    assert [b.name for b in by_destination.bindings.chain(RcptTo).candidates(event)] == ["b7"]
    event = by_listener.make(RcptTo, session=session_work(listener="l7"))
    assert [b.name for b in by_listener.bindings.chain(RcptTo).candidates(event)] == ["b7"]


def test_a_thousand_bindings_cost_little_more_than_one() -> None:
    """With room to spare, since the machine may be busy: trying them all costs more than a hundred times as much."""

    def seconds(harness: Harness) -> float:
        event, chain = harness.make(EndOfData, message_work(recipients=("x@customer0.example",))), harness.bindings.chain(EndOfData)
        best = 1.0
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(200):
                harness.dispatcher.ask(event, chain)
            best = min(best, time.perf_counter() - started)
        return best

    assert seconds(many(1000, recipient="customer{}.example")) < 10 * seconds(many(1, recipient="customer{}.example"))


async def test_a_binding_that_was_passed_over_was_asked_and_its_conditions_did_not_hold() -> None:
    harness = many(20, recipient="customer{}.example")
    for _ in range(3):
        await harness.ask(harness.make(EndOfData, message_work(recipients=("x@customer5.example",))))
    counted = {b.name: (b.counters.asked, b.counters.matched) for b in harness.bindings.all}
    assert counted["b5"] == (3, 3)
    assert counted["b4"] == counted["b6"] == (3, 0)


async def test_a_binding_behind_a_verdict_was_not_asked() -> None:
    plugs = [Plug(f"b{n}", Does(f"b{n}", "stop" if n == 5 else None, []), match=Match(recipient=f"c{n}.example")) for n in range(20)]
    harness = Harness(plugs)
    await harness.ask(harness.make(EndOfData, message_work(recipients=("x@c5.example",))))
    assert [b.counters.asked for b in harness.bindings.all] == [1] * 6 + [0] * 14


async def test_a_recipient_that_a_sink_adds_brings_its_bindings_into_play() -> None:
    notes: list[str] = []

    class Adds(Sink):
        @on(Submission)
        async def add(self, event: Submission) -> None:
            event.message.recipients.add("x@c7.example")

    class Looks(Sink):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        @on(Submission, blocking=False)
        def look(self, event: Submission) -> Drop | None:
            notes.append(self.name)
            return None

    plugs = [Plug(f"b{n}", Looks(f"b{n}"), match=Match(recipient=f"c{n}.example")) for n in range(20)]
    harness = Harness([*plugs[:4], Plug("adds", Adds()), *plugs[4:]])
    assert harness.bindings.chain(Submission).finder is not None
    await harness.ask(harness.make(Submission, message_work(recipients=("x@c3.example", "x@c9.example"))))
    assert notes == ["b3", "b7", "b9"]


def test_new_verbs_have_their_own_index() -> None:
    class Looks(Sink):
        @on(Verb, keyword="XA", blocking=False)
        def look(self, event: Verb) -> None: ...

    harness = Harness([Plug(f"b{n}", Looks(), match=Match(listener=f"l{n}")) for n in range(20)])
    event = harness.make(Verb, session=session_work(listener="l3"), keyword="XA")
    assert [b.name for b in harness.bindings.verbs["XA"].candidates(event)] == ["b3"]
