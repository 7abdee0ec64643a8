"""What a handler holds on to when it has returned is its own: nothing that it does there reaches the message any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from events.harness import Harness, addresses, message_work, session_work
from penstock import Address, Recipient, Sink, on
from penstock.events import Ehlo, LocalDelivery, RcptTo, Submission
from penstock.events.work import MessageWork
from penstock.mail.message import decode_record, encode_record


class Keeps(Sink):
    """Edits, and keeps what it edited."""

    def __init__(self, edit: Callable[[Any], Any]) -> None:
        super().__init__()
        self.edit = edit
        self.kept: Any = None

    @on(Submission, blocking=False)
    def at_submission(self, event: Submission) -> None:
        self.kept = self.edit(event)

    @on(RcptTo, LocalDelivery)
    async def at_recipient(self, event: RcptTo | LocalDelivery) -> None:
        self.kept = self.edit(event)


def spoil(recipient: Recipient) -> None:
    """Does to a recipient whatever can be done."""
    recipient.address = "no address"  # type: ignore[assignment]
    recipient.original = object()  # type: ignore[assignment]
    recipient.properties["late"] = object()
    recipient.properties.setdefault("list", []).append(object())
    recipient.notify = None  # type: ignore[assignment]


def edited_recipient(event: Any) -> Recipient:
    recipient = event.message.recipients[0]
    recipient.properties["list"] = [1]
    return recipient


def added_recipient(event: Any) -> Recipient:
    return event.message.recipients.add("carol@example.com", properties={"list": [1]})


def seen_recipient(event: Any) -> Recipient:
    event.message.header.add("X-A", "1")
    return event.message.recipients[0]


def forked_recipient(event: Any) -> Recipient:
    recipient = event.message.recipients[0]
    event.message.fork([recipient])
    recipient.properties["list"] = [1]
    return recipient


def copied_recipient(event: Any) -> Recipient:
    return event.message.fork(["bob@example.com"]).recipients[0]


@pytest.mark.parametrize("edit", [edited_recipient, added_recipient, seen_recipient, forked_recipient, copied_recipient])
async def test_a_recipient_that_a_sink_keeps_is_not_the_messages(edit: Callable[[Any], Recipient]) -> None:
    work = message_work()
    sink = Keeps(edit)
    harness = Harness.of(sink)
    assert await harness.ask(Submission(harness.facts(work))) is None
    before = [encode_record(w.record) for w in (work, *work.forks)]
    spoil(sink.kept)
    assert [encode_record(w.record) for w in (work, *work.forks)] == before


async def test_what_is_done_to_a_moved_recipient_in_the_same_handler_goes_with_it() -> None:
    work = message_work()
    harness = Harness.of(Keeps(forked_recipient))
    await harness.ask(Submission(harness.facts(work)))
    (fork,) = work.forks
    assert fork.record.envelope.recipients[0].properties == {"list": [1]}
    assert addresses(work) == []


async def test_the_state_of_message_and_fork_are_two() -> None:
    def edit(event: Submission) -> Any:
        event.message.state["list"] = [1]
        copy = event.message.fork(["bob@example.com"])
        event.message.state["list"].append(2)
        copy.state["list"].append(3)
        return event.message.state, copy.state

    work = message_work()
    sink = Keeps(edit)
    harness = Harness.of(sink)
    await harness.ask(Submission(harness.facts(work)))
    for state in sink.kept:
        state["list"].append(object())
    assert work.record.state == {"sink0": {"list": [1, 2]}}
    assert work.forks[0].record.state == {"sink0": {"list": [1, 3]}}


@pytest.mark.parametrize("event", [RcptTo, LocalDelivery])
async def test_the_recipient_of_an_event_about_one_is_not_the_sinks_either(event: type[RcptTo | LocalDelivery]) -> None:
    def edit(event: Any) -> Recipient:
        event.recipient.properties["list"] = [1]
        return event.recipient

    sink = Keeps(edit)
    harness = Harness.of(sink)
    asked: Any = harness.make(event, recipient=Recipient(Address.parse("bob@example.com")))
    await harness.ask(asked)
    spoil(sink.kept)
    assert asked.work == Recipient(Address.parse("bob@example.com"), properties={"list": [1]})


async def test_the_extensions_that_a_sink_keeps_are_not_those_offered() -> None:
    class Hides(Sink):
        @on(Ehlo, blocking=False)
        def hide(self, event: Ehlo) -> None:
            event.extensions.append("X-A")
            kept.append(event.extensions)

    kept: list[list[str]] = []
    harness = Harness.of(Hides())
    event: Any = harness.make(Ehlo, session=session_work())
    await harness.ask(event)
    kept[0].append("X-LATE")
    assert event.offered == ["PIPELINING", "X-A"]


BAD_EDITS: dict[str, Callable[[Recipient], Any]] = {
    "original": lambda r: setattr(r, "original", 5),
    "orcpt": lambda r: setattr(r, "orcpt", None),
    "notify": lambda r: setattr(r, "notify", frozenset({"sometimes"})),
    "notify as text": lambda r: setattr(r, "notify", "never"),
    "parameters": lambda r: r.parameters.update(X=5),  # type: ignore[arg-type]
    "property names": lambda r: r.properties.update({5: 1}),  # type: ignore[call-overload]
    "properties": lambda r: r.properties.update(x=object()),
    "large numbers": lambda r: r.properties.update(x=2**70),
}


@pytest.mark.parametrize("name", BAD_EDITS)
@pytest.mark.parametrize("event", [Submission, LocalDelivery])
async def test_what_a_restart_could_not_read_is_the_sinks_failure(name: str, event: Any) -> None:
    work = message_work()
    harness = Harness.of(Keeps(lambda e: BAD_EDITS[name](e.recipient if event is LocalDelivery else e.message.recipients[0])))
    assert (await harness.outcome(harness.make(event, work))).failed
    assert decode_record(encode_record(work.record)) == work.record


async def test_what_is_kept_is_what_a_restart_reads() -> None:
    """A tuple is a list after a restart, so it is one at once."""
    work = message_work()
    harness = Harness.of(Keeps(lambda e: e.message.state.update(pair=(1, 2))))
    await harness.ask(Submission(harness.facts(work)))
    assert work.record.state == {"sink0": {"pair": [1, 2]}}


async def test_looking_at_the_state_is_no_edit() -> None:
    work: MessageWork = message_work()
    harness = Harness.of(Keeps(lambda e: e.message.state.get("x")))
    await harness.ask(Submission(harness.facts(work)))
    work.record.done = []
    assert work.record == message_work().record
    assert not work.dirty
