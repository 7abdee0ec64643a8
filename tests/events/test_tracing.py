"""A trail is told of every binding: its conditions, why it was not asked, what it said; the outcome is that of asking without."""

from __future__ import annotations

from typing import Any

import pytest

from events.harness import NOW, Harness, KeptLog, message_work
from penstock import Match, Sink, on
from penstock.errors import StorageDamaged
from penstock.events import Accepted, Event, RcptTo, Submission
from penstock.events.binding import Binding
from penstock.events.dispatch import Dispatcher
from penstock.events.plug import BreakerSettings, Plug
from penstock.events.trace import Judged
from penstock.events.verdict import Verdict
from penstock.verdicts import Discard, Drop, Reject, Rewrite


class Notes:
    """A trail that keeps what it is told, and traces everything unless told otherwise."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.conditions: dict[str, tuple[Judged, ...]] = {}
        self.traced = True

    def trail(self, event: Event) -> Notes | None:
        """This one."""
        return self if self.traced else None

    def not_asked(self, binding: Binding, reason: str, judged: tuple[Judged, ...] = ()) -> None:
        """Keeps it."""
        self.told.append(("not asked", binding.name, reason))
        self.conditions[binding.name] = judged

    def asking(self, binding: Binding, event: Event, judged: tuple[Judged, ...]) -> None:
        """Keeps it."""
        self.told.append(("asking", binding.name, [str(r.address) for r in event.recipients_now()]))
        self.conditions[binding.name] = judged

    def answered(self, binding: Binding, event: Event, verdict: Verdict | None, seconds: float, error: str = "") -> None:
        """Keeps it."""
        assert seconds >= 0
        self.told.append(("answered", binding.name, verdict, error, [str(r.address) for r in event.recipients_now()]))

    def over(self, verdict: Verdict | None, by: str) -> None:
        """Keeps it."""
        self.told.append(("over", verdict, by))


class Says(Sink):
    """Gives a verdict, or raises; without waiting, or with."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self.answer = answer

    @on(RcptTo, blocking=False)
    def look(self, event: RcptTo) -> Discard | Reject | Rewrite | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        answer: Discard | Reject | Rewrite | None = self.answer
        return answer

    @on(Accepted)
    async def told(self, event: Accepted) -> None:
        if isinstance(self.answer, Exception):
            raise self.answer


class SaysLater(Says):
    """The same, when its turn on the loop comes."""

    @on(RcptTo)
    async def look(self, event: RcptTo) -> Discard | Reject | Rewrite | None:
        answer: Discard | Reject | Rewrite | None = Says.look(self, event)
        return answer


def traced(*plugs: Plug) -> tuple[Harness, Notes]:
    """Bindings whose events are traced."""
    harness, notes = Harness(list(plugs)), Notes()
    harness.dispatcher.tracer = notes
    return harness, notes


def rcpt(harness: Harness) -> Event:
    """A recipient is named."""
    return harness.make(RcptTo, message_work())


@pytest.mark.parametrize("kind", [Says, SaysLater])
async def test_every_binding_is_told_of_with_the_reason_why_it_was_not_asked(kind: type[Says]) -> None:
    harness, notes = traced(
        Plug("condition", kind(), match=Match(recipient="other.example")),
        Plug("disabled", kind(), enabled=False),
        Plug("expired", kind(), expires=NOW - 1),
        Plug("sampled", kind(), sample=0.0001),
        Plug("shadow", kind(), mode="shadow"),
        Plug("asked", kind()),
        Plug("stops", kind(Discard())),
        Plug("behind", kind()),
    )
    assert await harness.ask(rcpt(harness)) == Discard()
    await harness.dispatcher.drain()
    bob = ["bob@example.com"]
    assert notes.told == [
        ("not asked", "condition", "condition"),
        ("not asked", "disabled", "disabled"),
        ("not asked", "expired", "expired"),
        ("not asked", "sampled", "sampled out"),
        ("not asked", "shadow", "shadow"),
        ("asking", "asked", bob),
        ("answered", "asked", None, "", bob),
        ("asking", "stops", bob),
        ("answered", "stops", Discard(), "", bob),
        ("not asked", "behind", "earlier verdict"),
        ("over", Discard(), "stops"),
    ]


async def test_an_edit_is_an_answer_and_shows_in_the_event() -> None:
    harness, notes = traced(Plug("rewrites", SaysLater(Rewrite("carol@example.com"))))
    await harness.ask(rcpt(harness))
    assert notes.told == [
        ("asking", "rewrites", ["bob@example.com"]),
        ("answered", "rewrites", Rewrite("carol@example.com"), "", ["carol@example.com"]),
        ("over", None, ""),
    ]


@pytest.mark.parametrize("kind", [Says, SaysLater])
async def test_a_failure_is_told_and_what_came_of_it(kind: type[Says]) -> None:
    harness, notes = traced(Plug("fails", kind(ValueError("broken")), on_error="reject"))
    await harness.ask(rcpt(harness))
    assert notes.told[1][:4] == ("answered", "fails", None, "ValueError: broken")
    assert notes.told[2][0::2] == ("over", "fails")
    assert notes.told[2][1].code == 554


async def test_a_condition_that_raises_is_told_as_a_failure() -> None:
    def broken(event: Any) -> bool:
        raise KeyError("when")

    harness, notes = traced(Plug("fails", Says(), match=Match(when=broken), on_error="continue"), Plug("next", Says()))
    assert await harness.ask(rcpt(harness)) is None
    assert notes.told[0][:4] == ("answered", "fails", None, "KeyError: 'when'")
    assert [told[1] for told in notes.told[1:3]] == ["next", "next"]


async def test_each_condition_says_what_it_wanted_and_found() -> None:
    def odd(event: Any) -> bool:
        looked.append(event)
        return True

    looked: list[Any] = []
    match = Match(recipient=["a.example", "*@b.example"], sender="alice@example.com", client="198.51.100.0/24", size="<1KiB", when=odd)
    harness, notes = traced(Plug("a", Says(), match=match))
    await harness.ask(rcpt(harness))
    assert {tuple(judged) for judged in notes.conditions["a"]} == {
        ("recipient", "a.example, *@b.example", "bob@example.com", False),
        ("sender", "alice@example.com", "alice@example.com", True),
        ("client", "198.51.100.0/24", "192.0.2.1", False),
        ("size", "<1KiB", "68 octets", True),
    }
    assert looked == []


async def test_a_predicate_is_tried_when_all_else_holds() -> None:
    def never(event: Any) -> bool:
        return False

    harness, notes = traced(Plug("a", Says(), match=Match(recipient="example.com", when=never)))
    await harness.ask(rcpt(harness))
    assert notes.conditions["a"] == (
        Judged("recipient", "example.com", "bob@example.com", True),
        Judged("when", "never", "", False),
    )


async def test_a_breaker_that_is_open_is_told_and_its_answer_is_on_errors() -> None:
    harness, notes = traced(Plug("a", Says(ValueError()), breaker=BreakerSettings(failures=1)), Plug("b", Says()))
    await harness.ask(rcpt(harness))
    notes.told.clear()
    verdict = await harness.ask(rcpt(harness))
    assert verdict is not None
    assert notes.told == [("not asked", "a", "breaker"), ("not asked", "b", "earlier verdict"), ("over", verdict, "a")]


async def test_what_a_stage_did_before_and_its_own_mail_have_their_reasons() -> None:
    class Stage(Sink):
        @on(Submission, blocking=False)
        def look(self, event: Submission) -> Drop | None: ...

    harness, notes = traced(Plug("own", Stage()), Plug("before", Stage()))
    work = message_work(skip=["own"], done=["before:look"])
    await harness.ask(harness.make(Submission, work))
    assert notes.told == [("not asked", "own", "own message"), ("not asked", "before", "done before"), ("over", None, "")]


async def test_a_report_has_a_trail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, notes = traced(
        Plug("no", Says(), match=Match(recipient="other.example")),
        Plug("off", Says(), enabled=False),
        Plug("spent", Says(), max_firings=1),
        Plug("fails", Says(ValueError("broken"))),
        Plug("told", Says()),
    )
    harness.plugs[2].standing.firings = 1
    await harness.tell(harness.make(Accepted, message_work()))
    bob = ["bob@example.com"]
    assert notes.told == [
        ("not asked", "no", "condition"),
        ("not asked", "off", "disabled"),
        ("asking", "spent", bob),
        ("asking", "fails", bob),
        ("asking", "told", bob),
        ("not asked", "spent", "max firings"),
        ("answered", "fails", None, "ValueError: broken", bob),
        ("answered", "told", None, "", bob),
        ("over", None, ""),
    ]
    notes.told.clear()
    monkeypatch.setattr("penstock.events.dispatch.MOST_REPORTS", 0)
    await harness.tell(harness.make(Accepted, message_work()))
    assert ("not asked", "told", "too many wait") in notes.told
    assert notes.told[-1] == ("over", None, "")


async def test_an_event_that_is_not_traced_is_asked_at_once() -> None:
    harness, notes = traced(Plug("a", Says(Discard())))
    notes.traced = False
    outcome = harness.dispatcher.ask(rcpt(harness), harness.bindings.chain(RcptTo))
    assert getattr(outcome, "verdict", None) == Discard()
    assert notes.told == []


async def test_a_trace_counts_as_asking_without_does() -> None:
    def plugs() -> list[Plug]:
        bound = [Plug(f"b{n}", Says(Discard() if n == 15 else None), match=Match(recipient=f"c{n % 10}.example")) for n in range(20)]
        return [*bound, Plug("last", Says())]

    def counted(harness: Harness) -> list[tuple[str, int, int, int]]:
        return [(b.name, b.counters.asked, b.counters.matched, b.counters.verdicts) for b in harness.bindings.all]

    plain, (harness, _) = Harness(plugs()), traced(*plugs())
    for each in (plain, harness):
        for domain in ("c5.example", "c3.example", "elsewhere.example"):
            await each.ask(each.make(RcptTo, message_work(recipients=(f"x@{domain}",))))
    assert counted(harness) == counted(plain)


async def test_content_that_cannot_be_read_holds_the_message_as_without_a_trace() -> None:
    class Stage(Sink):
        @on(Submission, blocking=False)
        def look(self, event: Submission) -> Drop | None:
            raise StorageDamaged("m1", "lost")

    harness, notes = traced(Plug("a", Stage()))
    with pytest.raises(StorageDamaged):
        await harness.ask(harness.make(Submission, message_work()))
    assert [told[0] for told in notes.told] == ["asking", "answered", "over"]


# The recipients that a sink changed, in the log.


class DebugLog(KeptLog):
    """A log that wants to know everything."""

    def is_enabled_for(self, level: int) -> bool:
        """Yes."""
        return True


class Changes(Sink):
    """Changes recipients in all ways."""

    @on(Submission)
    async def change(self, event: Submission) -> Drop | None:
        recipients = event.message.recipients
        recipients[0].address = "new@example.com"  # type: ignore[assignment]
        event.message.fork([recipients[1]])
        recipients.add("archive@example.com")
        return None

    @on(RcptTo, blocking=False)
    def rewrite(self, event: RcptTo) -> Rewrite:
        return Rewrite("carol@example.com")


@pytest.mark.parametrize(
    ("event", "added", "removed", "forks"),
    [
        (Submission, ["archive@example.com", "new@example.com"], ["bob@example.com", "carl@example.com"], 1),
        (RcptTo, ["carol@example.com"], ["bob@example.com"], 0),
    ],
)
async def test_at_debug_level_the_log_says_who_changed_which_recipients(
    event: type[Event], added: list[str], removed: list[str], forks: int
) -> None:
    harness = Harness([Plug("changes", Changes()), Plug("looks", Says())], log=DebugLog())
    await harness.ask(harness.make(event, message_work(recipients=("bob@example.com", "carl@example.com"))))
    (line,) = harness.log.lines
    assert (line["event"], line["binding"], line["message"]) == ("sink changed recipients", "changes", "m1")
    assert (line["added"], line["removed"], line["forks"]) == (added, removed, forks)


async def test_without_debug_level_nothing_is_said_of_recipients() -> None:
    harness = Harness([Plug("changes", Changes())])
    assert isinstance(harness.dispatcher, Dispatcher)
    await harness.ask(harness.make(Submission, message_work(recipients=("bob@example.com", "carl@example.com"))))
    assert harness.log.lines == []
