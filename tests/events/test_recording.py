"""What is traced, for how long, and what an entry says of it; never a secret."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from events.harness import MAIL, Harness, message_work, session_work
from penstock import Match, Sink, on
from penstock.cli.supposed import Moments, Supposed
from penstock.events import Auth, Categorized, Ehlo, Event, MailFrom, RcptTo, Rejected, Resolve, Route, Submission, Verb
from penstock.events.catalog import CATALOG
from penstock.events.condition import place_of
from penstock.events.outbound import ServerResponse
from penstock.events.recording import Order, Recorder, Recording, RecordingSettings, check_match
from penstock.events.wording import about, verdict_words
from penstock.events.work import MessageWork, SessionWork
from penstock.mail.reply import Reply
from penstock.observe.log import get_log, set_up, tap
from penstock.observe.trace_entries import Asked, Entry
from penstock.verdicts import Authenticated, Bounce, Defer, Reject, Respond, Rewrite, RouteTo, Split


class Kept:
    """A store in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def put(self, entry: Entry) -> None:
        """Keeps it."""
        self.entries.append(entry)


class Does(Sink):
    """Does with an event what a test says."""

    def __init__(self, deed: Callable[[Any], Any]) -> None:
        super().__init__()
        self.deed = deed

    @on(MailFrom, RcptTo, Ehlo, Submission, Resolve, Route, Categorized)
    async def handle(self, event: Any) -> Any:
        return self.deed(event)


class Refuses(Sink):
    """Knows no Bob."""

    @on(RcptTo, match=Match(recipient="bob@*"))
    async def handle(self, event: RcptTo) -> Reject:
        return Reject(550, "5.1.1", "No such user")


@pytest.fixture(autouse=True)
def _no_tap() -> Iterator[None]:
    yield
    tap(None)


def traced(harness: Harness, settings: RecordingSettings | None = None) -> tuple[Kept, Recording]:
    """The harness with a trace that is kept."""
    kept = Kept()
    return kept, Recording(harness.dispatcher, Recorder(kept, settings))  # type: ignore[arg-type]


async def asked(deed: Callable[[Any], Any], event: type[Event] = Submission, message: MessageWork | None = None, **more: Any) -> Asked:
    """What a trace says of a binding that does this."""
    harness = Harness.of(Does(deed))
    kept, _ = traced(harness)
    await harness.ask(harness.make(event, message, **more))
    (entry,) = kept.entries
    (one,) = entry.asked
    return one


async def edits(deed: Callable[[Any], Any], event: type[Event] = Submission, **more: Any) -> list[str]:
    """What a trace says that this changed."""
    return (await asked(lambda e: deed(e) and None, event, **more)).edits


async def test_an_entry_says_who_was_asked_on_which_conditions_and_who_answered() -> None:
    harness = Harness.of(Refuses())
    kept, _ = traced(harness)
    session = session_work()
    work = message_work(session="s1")
    await harness.ask(RcptTo(harness.facts(work, session), work.record.envelope.recipients[0]))
    (entry,) = kept.entries
    assert (entry.what, entry.message, entry.session, entry.about) == ("RcptTo", "m1", "s1", "<bob@example.com>")
    assert (entry.verdict, entry.by, entry.generation, entry.attempt) == ("Reject 550 5.1.1 No such user", "sink0", 1, 1)
    (one,) = entry.asked
    assert [(c.name, c.wanted, c.found, c.held) for c in one.conditions] == [("recipient", "bob@*", "bob@example.com", True)]
    assert (one.handler, one.reason, one.error, one.priority) == ("handle", "", "", 24575)
    assert one.sink.endswith("test_recording:Refuses")
    assert one.ms >= 0


async def test_a_failure_is_told_and_what_was_edited_before_it_is_not() -> None:
    def deed(event: Submission) -> None:
        event.message.header.add("X-Gone", "yes")
        raise ValueError("oops")

    one = await asked(deed)
    assert one.error == "ValueError: oops"
    assert one.edits == []


def _note(event: Submission) -> None:
    event.message.header.add("X-Note", "read")


def _redirect(event: Submission) -> None:
    event.message.recipients.find("bob@example.com").address = "carl@example.com"  # type: ignore[union-attr, assignment]


def _add(event: Submission) -> None:
    event.message.recipients.add("dora@example.com")


def _remove(event: Submission) -> None:
    event.message.recipients.remove(next(iter(event.message.recipients)))


def _sender(event: Submission) -> None:
    event.message.sender = ""  # type: ignore[assignment]


def _notify(event: Submission) -> None:
    next(iter(event.message.recipients)).notify = frozenset({"never"})


def _replace(event: Submission) -> None:
    event.message.replace_content(b"Subject: x\r\n\r\nnew\r\n")


def _unhead(event: Submission) -> None:
    event.message.header.remove("Subject")


@pytest.mark.parametrize(
    ("deed", "expected"),
    [
        (_note, ["+ header X-Note: read"]),
        (_unhead, ["- header Subject: hello"]),
        (_redirect, ["~ recipient <bob@example.com> is now <carl@example.com>"]),
        (_add, ["+ recipient <dora@example.com>"]),
        (_remove, ["- recipient <bob@example.com>"]),
        (_sender, ["~ sender <alice@example.com> is now <>"]),
        (_notify, ["~ recipient <bob@example.com> notify nothing is now never"]),
        (_replace, [f"~ content of {len(MAIL)} octets is now one of 19 octets"]),
    ],
)
async def test_edits_of_a_message_are_told_line_by_line(deed: Callable[[Any], Any], expected: list[str]) -> None:
    assert await edits(deed) == expected


async def test_copies_that_are_split_off_are_told_with_their_ids() -> None:
    found = await edits(
        lambda e: e.message.fork([e.message.recipients[0]]), message=message_work(recipients=("a@x.example", "b@x.example"))
    )
    assert found == ["- recipient <a@x.example>", "+ copy new1 for <a@x.example>"]


async def test_what_sinks_remember_is_told_by_name_and_never_by_value() -> None:
    def deed(event: Submission) -> None:
        event.message.state["token"] = "hunter2"
        event.message.recipients[0].properties["key"] = "hunter2"

    found = await edits(deed)
    assert found == ["+ property key of <bob@example.com>", "+ message state of sink0: 'token'"]


async def test_what_a_session_remembers_is_told_by_name_without_asking_the_objects_whether_they_are_equal() -> None:
    class Strange:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("nobody asks")

        __hash__ = None  # type: ignore[assignment]

    session = session_work(states={"sink0": {"strange": Strange()}})
    assert await edits(lambda e: e.session.state.update(token=b"hunter2"), Ehlo, session=session) == ["+ session state of sink0: 'token'"]


async def test_a_rewritten_address_an_offer_and_a_route_are_edits() -> None:
    (line,) = (await asked(lambda e: Rewrite("carl@example.com"), RcptTo)).edits
    assert line == "~ recipient <bob@example.com> is now <carl@example.com>"
    assert await edits(lambda e: e.extensions.append("X-NEW") or True, Ehlo) == ["+ extension X-NEW"]
    (line,) = (await asked(lambda e: RouteTo("relay.example:25"), Route)).edits
    assert line.startswith("~ proposal ")
    assert "relay.example" in line


async def test_decisions_of_a_directory_are_edits() -> None:
    (line,) = await edits(lambda e: e.items[0].forward(["carl@example.com"]) or True, Resolve)
    assert "forwarded <carl@example.com>" in line


async def test_a_split_is_an_edit() -> None:
    work = message_work(recipients=("a@x.example", "b@x.example"))
    one = await asked(lambda e: Split((("a@x.example",),)), Categorized, work)
    assert any(edit.startswith("+ copy ") for edit in one.edits)


def test_no_event_tells_a_secret() -> None:
    """AUTH and verbs that we do not know tell no more than their names; what a server asks of who logs in is left out."""
    harness = Harness.of()
    facts = harness.facts(None, session_work())
    nobody: Any = None
    assert about(Auth(facts, "X-OTP", b"hunter2", nobody)) == "X-OTP"
    assert about(Verb(facts, "XLOGIN", "hunter2", nobody)) == "XLOGIN"
    assert about(ServerResponse(facts, "AUTH", "AUTH PLAIN hunter2", Reply(334, "", "hunter2"))) == "AUTH: 334"
    assert about(Rejected(facts, "XLOGIN ...", Reply(500, "", "no"), "server")) == "XLOGIN ...: 500 no (by server)"


@pytest.mark.parametrize("kind", CATALOG.values(), ids=CATALOG)
def test_every_event_can_be_told_of(kind: type[Event]) -> None:
    for _, event in Moments(Supposed()).of(kind, "XWORD"):
        assert "\n" not in about(event)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (None, ""),
        (Reject(550, "5.1.1", "No such user"), "Reject 550 5.1.1 No such user"),
        (Respond(250, "2.0.0", "two\nlines"), "Respond 250 2.0.0 two / lines"),
        (Authenticated("alice"), "Authenticated user alice"),
        (Bounce("5.1.1", "gone"), "Bounce enhanced 5.1.1, text gone"),
    ],
)
def test_verdicts_are_told_in_words(verdict: Any, words: str) -> None:
    assert verdict_words(verdict) == words


def test_a_deferral_tells_for_how_long() -> None:
    from datetime import timedelta

    assert verdict_words(Defer(after=timedelta(hours=1))).endswith("after 1:00:00")


# --- what is chosen ---


def _trails(recorder: Recorder, harness: Harness, count: int, prefix: str = "s") -> list[str]:
    """The sessions of so many that are traced."""
    found = []
    for number in range(count):
        session = _session(f"{prefix}{number}")
        if recorder.trail(Ehlo(harness.facts(None, session), "x", [])) is not None:
            found.append(session.id)
    return found


def _session(name: str) -> SessionWork:
    return SessionWork(name, ("192.0.2.1", 1), "mx", 0.0)


def test_a_sample_is_drawn_by_the_id_and_so_the_same_in_every_process() -> None:
    harness = Harness.of()
    drawn = [_trails(Recorder(Kept(), RecordingSettings(10, 0)), harness, 1000) for _ in range(2)]  # type: ignore[arg-type]
    assert drawn[0] == drawn[1] == [f"s{n}" for n in range(1000) if place_of(f"s{n}") < 10]


def test_the_messages_of_a_session_share_its_fate_in_transport_too() -> None:
    harness = Harness.of()
    recorder = Recorder(Kept(), RecordingSettings(50, 0))  # type: ignore[arg-type]
    chosen = set(_trails(recorder, harness, 100))
    after_a_restart = Recorder(Kept(), RecordingSettings(50, 0))  # type: ignore[arg-type]
    for number in range(100):
        work = message_work(id=f"m{number}", session=f"s{number}")
        for each in (recorder, after_a_restart):
            assert (each.trail(Submission(harness.facts(work))) is not None) == (f"s{number}" in chosen)


def test_a_flood_is_traced_up_to_its_rate_and_what_was_chosen_stays() -> None:
    harness = Harness.of()
    recorder = Recorder(Kept(), RecordingSettings(100, 2))  # type: ignore[arg-type]
    chosen = _trails(recorder, harness, 1000)
    assert 20 <= len(chosen) <= 40
    assert _trails(recorder, harness, 1000) == chosen


def test_one_message_has_so_many_entries_and_says_that_there_were_more() -> None:
    harness, kept = Harness.of(), Kept()
    recorder = Recorder(kept, RecordingSettings(most=5))  # type: ignore[arg-type]
    facts = harness.facts(message_work())
    assert sum(recorder.trail(Submission(facts)) is not None for _ in range(50)) == 4
    assert [entry.what for entry in kept.entries] == ["no more is traced"]


def test_ids_are_forgotten_in_time() -> None:
    harness = Harness.of()
    recorder = Recorder(Kept(), RecordingSettings(0, match=Match(helo="nobody.example")))  # type: ignore[arg-type]
    _trails(recorder, harness, 60_000)
    assert len(recorder._chosen) <= 40_002


def test_what_meets_the_condition_is_traced_from_then_on_and_nothing_else() -> None:
    harness = Harness.of()
    recorder = Recorder(Kept(), RecordingSettings(0, match=Match(recipient="bob@*")))  # type: ignore[arg-type]
    session = _session("s1")

    def is_traced(event: Event) -> bool:
        return recorder.trail(event) is not None

    work = message_work(id="m1", session="s1", recipients=("bob@example.com",))
    bob = work.record.envelope.recipients[0]
    assert not is_traced(Ehlo(harness.facts(None, session), "x", []))
    assert not is_traced(MailFrom(harness.facts(work, session)))  # where it cannot be judged it does not hold
    assert is_traced(RcptTo(harness.facts(work, session), bob))
    work.record.envelope.recipients = []
    assert is_traced(Submission(harness.facts(work)))
    other = message_work(id="m2", session="s1", recipients=("carl@example.com",))
    assert not is_traced(Submission(harness.facts(other)))


def test_a_predicate_that_fails_costs_nothing_but_the_trace() -> None:
    harness = Harness.of()
    recorder = Recorder(Kept(), RecordingSettings(0, match=Match(when=lambda event: 1 / 0)))  # type: ignore[arg-type, return-value]
    assert recorder.trail(Submission(harness.facts(message_work()))) is None


@pytest.mark.parametrize("match", [Match(code="9"), Match(helo="x", verb="MAIL", recipient="@@", size="big")])
def test_conditions_that_cannot_hold_are_refused(match: Match) -> None:
    with pytest.raises(ValueError):
        check_match(match)


def test_what_is_off_is_not_even_asked() -> None:
    harness = Harness.of()
    _, recording = traced(harness, RecordingSettings(sample=0))
    assert harness.dispatcher.tracer is None
    recording.order(Order(None))
    assert recording.active
    recording.stop()
    assert harness.dispatcher.tracer is None
    recording.order(None)
    assert not recording.active
    recording.change(RecordingSettings(sample=1))
    assert recording.active


def test_an_order_ends_by_itself_and_takes_no_more_than_it_says() -> None:
    harness = Harness.of()
    _, recording = traced(harness, RecordingSettings(sample=0))
    recorder = recording.recorder
    recording.order(Order(Match(helo="x"), time.monotonic() + 60))
    session = _session("s1")
    session.helo = "x"
    assert recorder.trail(Ehlo(harness.facts(None, session), "x", [])) is not None
    assert _trails(recorder, harness, 5, "t") == []
    recording.order(Order(None, time.monotonic() - 1))
    assert _trails(recorder, harness, 5, "u") == []
    assert not recording.active


# --- steps ---


def test_lines_of_the_log_are_the_steps_between_the_events(tmp_path: Path) -> None:
    harness = Harness.of()
    kept, recording = traced(harness)
    with (tmp_path / "log").open("w") as stream:
        set_up("info", "json", stream)
        get_log().info("delivered", message="m1", to="bob@example.com", delay=0.5)
        get_log().info("recovered", messages=3)
        get_log().warning("session ended", session="s1", reason="lost")
        recording.stop()
        get_log().info("delivered", message="m2")
    assert [(e.kind, e.what, e.message, e.session) for e in kept.entries] == [
        ("step", "delivered", "m1", ""),
        ("step", "session ended", "", "s1"),
    ]
    assert kept.entries[0].details == {"to": "bob@example.com", "delay": "0.5"}


def test_errors_are_kept_of_messages_that_are_not_traced_too() -> None:
    kept = Kept()
    recorder = Recorder(kept, RecordingSettings(sample=0.0001, rate=0))  # type: ignore[arg-type]
    recorder.step({"event": "delivered", "level": "info", "message": "m1", "session": "s1"})
    recorder.step({"event": "sink failed", "level": "error", "message": "m1", "error": "oops", "exc_info": ValueError()})
    recorder.step({"event": "odd", "level": "error", "message": 3, "session": None})
    assert [(entry.what, entry.details) for entry in kept.entries] == [("sink failed", {"error": "oops"})]


async def test_a_report_is_traced_with_all_who_were_told() -> None:
    class Hears(Sink):
        @on(Rejected)
        async def hear(self, event: Rejected) -> None: ...

        @on(Rejected)
        def listen(self, event: Rejected) -> None:
            raise ValueError("deaf")

    harness = Harness.of(Hears())
    kept, _ = traced(harness)
    await harness.tell(Rejected(harness.facts(None, session_work()), "RCPT TO:<a@b>", Reply(550, "", "no"), "x"))
    (entry,) = kept.entries
    assert [(one.handler, one.reason, one.error) for one in entry.asked] == [("hear", "", ""), ("listen", "", "ValueError: deaf")]


def test_an_event_with_a_thousand_bindings_makes_a_small_entry() -> None:
    harness = Harness.of(*(Does(lambda e: None) for _ in range(300)))
    kept = Kept()
    trail = Recorder(kept).trail(Submission(harness.facts(message_work())))  # type: ignore[arg-type]
    assert trail is not None
    for binding in harness.bindings.chain(Submission):
        trail.not_asked(binding, "condition")
    trail.over(None, "")
    assert (len(kept.entries[0].asked), kept.entries[0].more) == (200, 100)
