"""Edits count when the handler returns, are undone when it fails, and belong to the sink that made them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from events.harness import MAIL, Harness, addresses, content_of, message_work, session_work
from penstock import Address, Match, Recipient, Sink, on
from penstock.errors import AddressError, FrozenError
from penstock.events import Accepted, Delivered, EndOfData, LocalDelivery, MailFrom, RcptTo, Submission
from penstock.events.plug import Plug
from penstock.events.work import MessageWork
from penstock.mail.message import encode_record


class Edits(Sink):
    """Edits as told, and fails if told so."""

    def __init__(self, edit: Callable[[Submission], Any], fail: bool = False) -> None:
        super().__init__()
        self.edit, self.fail = edit, fail

    @on(Submission)
    async def run(self, event: Submission) -> None:
        self.edit(event)
        if self.fail:
            raise ValueError("on purpose")


class EditsInline(Edits):
    """The same, on the loop itself."""

    @on(Submission, blocking=False)
    def run(self, event: Submission) -> None:  # type: ignore[override]
        self.edit(event)
        if self.fail:
            raise ValueError("on purpose")


class EditsInThread(EditsInline):
    """The same, in a thread."""

    @on(Submission)
    def run(self, event: Submission) -> None:  # type: ignore[override]
        super().run(event)


def set_address(event: Submission) -> None:
    event.message.recipients[0].address = event.message.recipients[0].address.with_domain("new.example")


def set_address_as_text(event: Submission) -> None:
    event.message.recipients[0].address = "bob@new.example"  # type: ignore[assignment]


EDITS: dict[str, tuple[Callable[[Submission], Any], Callable[[MessageWork], Any], Any]] = {
    "sender": (lambda e: setattr(e.message, "sender", "new@x.example"), lambda w: str(w.record.envelope.sender), "new@x.example"),
    "recipient added": (lambda e: e.message.recipients.add("c@x"), addresses, ["bob@example.com", "c@x"]),
    "recipient removed": (lambda e: e.message.recipients.remove("bob@example.com"), addresses, []),
    "address": (set_address, addresses, ["bob@new.example"]),
    "address as text": (set_address_as_text, addresses, ["bob@new.example"]),
    "properties": (
        lambda e: e.message.recipients[0].properties.update(a=[1]),
        lambda w: w.record.envelope.recipients[0].properties,
        {"a": [1]},
    ),
    "notify": (
        lambda e: setattr(e.message.recipients[0], "notify", frozenset({"never"})),
        lambda w: w.record.envelope.recipients[0].notify,
        {"never"},
    ),
    "header": (lambda e: e.message.header.add("X-A", "1"), lambda w: content_of(w).count(b"\r\nX-A: 1\r\n"), 1),
    "content": (lambda e: e.message.replace_content(b"A: 1\r\n\r\nnew"), content_of, b"A: 1\r\n\r\nnew"),
    "state": (lambda e: e.message.state.update(n=1), lambda w: w.record.state, {"sink0": {"n": 1}}),
    "shared state": (lambda e: e.message.shared("us").update(n=1), lambda w: w.record.state, {"us": {"n": 1}}),
    "fork": (lambda e: e.message.fork(["bob@example.com"]), lambda w: [addresses(f) for f in w.forks], [["bob@example.com"]]),
}


@pytest.mark.parametrize("kind", [Edits, EditsInline, EditsInThread])
@pytest.mark.parametrize("name", EDITS)
async def test_an_edit_is_saved_when_the_handler_returns(kind: type[Edits], name: str) -> None:
    edit, look, wanted = EDITS[name]
    work = message_work()
    harness = Harness.of(kind(edit))
    assert await harness.ask(Submission(harness.facts(work))) is None
    assert harness.log.lines == []
    assert look(work) == wanted
    assert work.dirty


@pytest.mark.parametrize("kind", [Edits, EditsInline, EditsInThread])
@pytest.mark.parametrize("name", EDITS)
async def test_an_edit_is_undone_when_the_handler_raises(kind: type[Edits], name: str) -> None:
    edit, look, _ = EDITS[name]
    work = message_work()
    before, looked, content = encode_record(work.record), look(work), work.content
    harness = Harness.of(kind(edit, fail=True))
    assert (await harness.outcome(Submission(harness.facts(work)))).failed
    assert encode_record(work.record) == before
    assert look(work) == looked
    assert work.content is content
    assert work.forks == []
    assert not work.dirty


async def test_edits_of_a_sink_that_failed_and_is_passed_over_are_not_seen_by_the_next() -> None:
    seen: list[Any] = []
    failing = Edits(lambda e: (e.message.recipients.add("c@x"), e.message.header.add("X-A", "1")), fail=True)
    looking = Edits(lambda e: seen.append((len(e.message.recipients), "X-A" in e.message.header)))
    harness = Harness([Plug("a", failing, on_error="continue"), Plug("b", looking)])
    await harness.ask(harness.make(Submission))
    assert seen == [(1, False)]


async def test_edits_of_one_sink_are_what_the_next_one_sees() -> None:
    work = message_work()
    harness = Harness.of(
        Edits(lambda e: (e.message.recipients.add("c@x"), e.message.header.add("X-A", "1"))),
        Edits(lambda e: e.message.header.replace("X-A", str(len(e.message.recipients)))),
    )
    await harness.ask(Submission(harness.facts(work)))
    assert content_of(work) == MAIL.replace(b"\r\n\r\n", b"\r\nX-A: 2\r\n\r\n")


@pytest.mark.parametrize(
    "edit",
    [
        lambda e: setattr(e.message.recipients[0], "address", "no address"),
        lambda e: setattr(e.message.recipients[0], "address", None),
        lambda e: setattr(e.message.recipients[0], "address", ""),
        lambda e: e.message.recipients[0].properties.update(x=object()),
        lambda e: e.message.state.update(x=object()),
        lambda e: setattr(e.message, "sender", "no address"),
        lambda e: setattr(e.message, "sender", None),
        lambda e: e.message.recipients.add("c@x", notify={"sometimes"}),
        lambda e: e.message.recipients.add("c@x", notify={"never", "failure"}),
        lambda e: e.message.recipients.remove("stranger@x"),
    ],
)
async def test_an_edit_that_cannot_be_kept_is_the_sinks_failure_and_none_of_its_edits_is_kept(edit: Callable[[Submission], Any]) -> None:
    def several(event: Submission) -> None:
        event.message.header.add("X-A", "1")
        edit(event)

    work = message_work()
    before = encode_record(work.record)
    harness = Harness.of(Edits(several))
    assert (await harness.outcome(Submission(harness.facts(work)))).failed
    assert encode_record(work.record) == before
    assert not work.dirty


async def test_what_lies_deep_in_the_state_of_a_message_is_undone_too() -> None:
    work = message_work(state={"sink0": {"seen": [1]}})
    harness = Harness.of(Edits(lambda e: e.message.state["seen"].append(2), fail=True))
    await harness.ask(Submission(harness.facts(work)))
    assert work.record.state == {"sink0": {"seen": [1]}}


async def test_session_state_is_undone_with_a_message_edit_that_cannot_be_kept() -> None:
    class Both(Sink):
        @on(EndOfData)
        async def run(self, event: EndOfData) -> None:
            event.session.state["n"] = 1
            event.message.state["n"] = object()

    session = session_work()
    harness = Harness.of(Both())
    assert (await harness.outcome(harness.make(EndOfData, None, session))).failed
    assert session.states == {}


async def test_session_state_is_kept_between_events_and_undone_on_error() -> None:
    class Counts(Sink):
        @on(MailFrom)
        async def count(self, event: MailFrom) -> None:
            event.session.state["n"] = event.session.state.get("n", 0) + 1
            if event.session.state["n"] == 3:
                raise ValueError("on purpose")

    session = session_work()
    harness = Harness.of(Counts())
    for _ in range(4):
        await harness.ask(harness.make(MailFrom, None, session))
    assert session.states == {"sink0": {"n": 2}}


async def test_a_key_that_is_deleted_from_the_session_state_is_gone() -> None:
    class Forgets(Sink):
        @on(MailFrom)
        async def run(self, event: MailFrom) -> None:
            if event.session.state.pop("once", None) is None:
                event.session.state["once"] = True

    session = session_work()
    harness = Harness.of(Forgets())
    for wanted in ({"once": True}, {}):
        await harness.ask(harness.make(MailFrom, None, session))
        assert session.states["sink0"] == wanted


async def test_a_report_told_meanwhile_does_not_overwrite_what_a_question_remembered() -> None:
    class Both(Sink):
        @on(Accepted)
        async def told(self, event: Accepted) -> None:
            event.session.state["accepted"] = True
            assert event.session.state["n"] == 1
            await harness.ask(harness.make(MailFrom, None, session))

        @on(MailFrom)
        async def asked(self, event: MailFrom) -> None:
            event.session.state["n"] = 2

    session = session_work(states={"sink0": {"n": 1}})
    harness = Harness.of(Both())
    await harness.tell(harness.make(Accepted, None, session))
    assert session.states == {"sink0": {"accepted": True, "n": 2}}


async def test_state_is_private_to_a_sink_unless_it_asks_for_a_shared_one() -> None:
    seen: list[Any] = []

    class Remembers(Sink):
        @on(EndOfData)
        async def run(self, event: EndOfData) -> None:
            for state in (event.session.state, event.message.state, event.server.state):
                seen.append(dict(state))
                state["mine"] = True
            for holder in (event.session, event.message, event.server):
                seen.append(dict(holder.shared("ours")))
                holder.shared("ours")["ours"] = True

    harness = Harness.of(Remembers(), Remembers())
    await harness.ask(harness.make(EndOfData))
    assert seen == [{}] * 9 + [{"ours": True}] * 3


async def test_the_recipient_of_an_event_is_edited_in_place_and_undone_on_error() -> None:
    class Marks(Sink):
        @on(RcptTo)
        async def run(self, event: RcptTo) -> None:
            event.recipient.properties["a"] = 1
            event.recipient.address = "carol@example.com"  # type: ignore[assignment]

    class Fails(Sink):
        @on(RcptTo)
        async def run(self, event: RcptTo) -> None:
            event.recipient.properties["b"] = 1
            raise ValueError("on purpose")

    harness = Harness.of(Marks(), Fails(), on_error="continue")
    event = harness.make(RcptTo)
    await harness.ask(event)
    assert isinstance(event, RcptTo)
    assert (event.work.address, event.work.properties) == (Address("carol", "example.com"), {"a": 1})


async def test_recipients_that_met_the_condition_can_be_edited_and_forked() -> None:
    work = message_work(recipients=("a@x.example", "b@y.example", "c@y.example"))

    def edit(event: Submission) -> None:
        first, second = event.matched_recipients
        first.properties["seen"] = True
        event.message.fork([second])
        assert event.matched_recipients == (first, second)

    harness = Harness([Plug("a", Edits(edit), match=Match(recipient="y.example"))])
    await harness.ask(Submission(harness.facts(work)))
    assert harness.log.lines == []
    assert [(str(r.address), r.properties) for r in work.record.envelope.recipients] == [
        ("a@x.example", {}),
        ("b@y.example", {"seen": True}),
    ]
    assert [addresses(f) for f in work.forks] == [["c@y.example"]]


async def test_recipients_that_met_the_condition_are_untouched_when_the_handler_fails() -> None:
    work = message_work()

    def edit(event: Submission) -> None:
        event.matched_recipients[0].properties["seen"] = True

    harness = Harness([Plug("a", Edits(edit, fail=True), match=Match(recipient="example.com"))])
    await harness.ask(Submission(harness.facts(work)))
    assert work.record.envelope.recipients[0].properties == {}


async def test_the_one_recipient_of_an_event_is_its_matched_recipient() -> None:
    class Looks(Sink):
        @on(LocalDelivery)
        async def run(self, event: LocalDelivery) -> None:
            assert event.matched_recipients[0] is event.recipient

    harness = Harness.of(Looks(), match=Match(recipient="bob@example.com"))
    await harness.ask(harness.make(LocalDelivery))
    assert harness.log.lines == []


async def test_without_a_condition_nobody_is_a_matched_recipient() -> None:
    harness = Harness.of(Edits(lambda e: seen.append(e.matched_recipients)))
    seen: list[tuple[Recipient, ...]] = []
    await harness.ask(harness.make(Submission))
    assert seen == [()]


async def test_what_a_report_shows_refuses_to_be_changed_loudly() -> None:
    refused: list[str] = []

    def attempt(name: str, change: Callable[[], Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            change()
        refused.append(name)

    class Changes(Sink):
        @on(Accepted, Delivered)
        async def told(self, event: Accepted | Delivered) -> None:
            message = event.message
            attempt("sender", lambda: setattr(message, "sender", "x@y"), AttributeError)
            attempt("header", lambda: message.header.add("X-A", "1"), FrozenError)
            attempt("recipients", lambda: message.recipients.append(None), AttributeError)  # type: ignore[attr-defined]
            recipient = getattr(event, "recipient", message.recipients[0])
            attempt("address", lambda: setattr(recipient, "address", None), FrozenError)
            attempt("properties", lambda: recipient.properties.update(a=1), AttributeError)
            attempt("parameters", lambda: recipient.parameters.update(a="1"), AttributeError)
            copy = recipient.copy()
            copy.properties["a"] = 1

    harness = Harness.of(Changes())
    for event in (Accepted, Delivered):
        await harness.tell(harness.make(event))
    assert harness.log.lines == []
    assert len(refused) == 12


async def test_a_snapshot_shows_the_message_as_it_was() -> None:
    shown: list[Any] = []

    class Looks(Sink):
        @on(Accepted)
        async def told(self, event: Accepted) -> None:
            shown.append(
                (str(event.message.sender), [str(r.address) for r in event.message.recipients], event.message.header.get("Subject"))
            )

    work = message_work()
    harness = Harness.of(Looks())
    event = harness.make(Accepted, work)
    work.record.envelope.recipients[0].properties["late"] = True
    work.record.envelope.recipients.clear()
    await harness.tell(event)
    assert shown == [("alice@example.com", ["bob@example.com"], "hello")]


async def test_adding_a_recipient_twice_adds_it_once_and_null_is_nobody() -> None:
    def edit(event: Submission) -> None:
        first = event.message.recipients.add("c@x", notify={"NEVER"}, orcpt="rfc822;d@x", properties={"a": 1})
        assert event.message.recipients.add("c@x") is first
        with pytest.raises(AddressError):
            event.message.recipients.add("")
        assert "c@x" in event.message.recipients
        assert first in event.message.recipients
        assert event.message.recipients[-1:] == [first]

    work = message_work()
    harness = Harness.of(Edits(edit))
    await harness.ask(Submission(harness.facts(work)))
    assert harness.log.lines == []
    added = work.record.envelope.recipients[1]
    assert (added.notify, added.orcpt, added.properties, added.original) == ({"never"}, "rfc822;d@x", {"a": 1}, "")


async def test_recipients_may_be_removed_while_they_are_looped_over() -> None:
    def edit(event: Submission) -> None:
        for recipient in event.message.recipients:
            if recipient.address.domain != "keep.example":
                event.message.recipients.remove(recipient)

    work = message_work(recipients=("a@x", "b@x", "c@keep.example", "d@x"))
    harness = Harness.of(Edits(edit))
    await harness.ask(Submission(harness.facts(work)))
    assert addresses(work) == ["c@keep.example"]
