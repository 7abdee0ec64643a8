"""Messages whose senders set a time: returned when it is over, or told of then; and urgent mail that waits behind no other."""

from __future__ import annotations

import pytest

from penstock.events.work import MessageWork
from penstock.mail.envelope import Envelope, MailParameters
from penstock.mail.message import MessageRecord, began
from penstock.queue.policy import RetryPolicy
from penstock.transport.outcome import Action, Result
from penstock.transport.route import class_of
from penstock.transport.times import for_message

from .desk import Desk

POLICY = RetryPolicy((60.0,), 3600.0, 0.0, notices=(600.0,))


def record(**asked: object) -> MessageRecord:
    return MessageRecord("m1", 1000.0, Envelope(parameters=MailParameters(**asked)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "expire", "notices"),
    [
        ({}, 3600.0, (600.0,)),
        ({"by": 300, "by_mode": "R"}, 300.0, (600.0,)),
        ({"by": 7200, "by_mode": "R"}, 3600.0, (600.0,)),
        ({"by": 300, "by_mode": "N"}, 3600.0, (600.0, 300.0)),
        ({"by": -5, "by_mode": "N"}, 3600.0, (600.0, 0.001)),
    ],
)
def test_a_message_has_the_schedule_that_its_sender_asked_for(asked: dict[str, object], expire: float, notices: tuple[float, ...]) -> None:
    policy = for_message(POLICY, record(**asked))
    assert (policy.expire, policy.notices) == (expire, notices)


def test_what_was_held_is_not_older_for_that() -> None:
    """RFC 4865 §4.3."""
    held = record()
    held.release = 5000.0
    assert (began(record()), began(held)) == (1000.0, 5000.0)


async def _tried(desk: Desk, after: float, **asked: object) -> list[str]:
    """Puts a message off once, so long after it came; what its sender is told, by status."""
    work = await desk.message("a@far.example")
    for name, value in asked.items():
        setattr(work.record.envelope.parameters, name, value)
    desk.node.ahead += after
    await desk.settle(work, Result(work.record.envelope.recipients[0], Action.DEFERRED, "4.4.1"))
    return [report.as_string() for _, report in desk.reports()]


async def test_mail_that_would_be_late_is_returned_in_time() -> None:
    """RFC 2852 §5: a failure, 5.4.7; the schedule alone would have tried it for an hour."""
    async with Desk() as desk:
        (report,) = await _tried(desk, 301.0, by=300, by_mode="R")
        assert "Status: 5.4.7" in report
        assert "Action: failed" in report
        assert "in the time that its sender set" in report
        assert not desk.kept()


async def test_mail_that_is_late_goes_on_and_its_sender_hears_of_it() -> None:
    async with Desk() as desk:
        (report,) = await _tried(desk, 301.0, by=300, by_mode="N")
        assert "Action: delayed" in report
        assert len(desk.kept()) == 1


async def test_mail_in_time_is_tried_again_before_its_time_is_over() -> None:
    async with Desk() as desk:
        assert not await _tried(desk, 290.0, by=300, by_mode="R")
        (entry,) = desk.kept()
        assert entry.due - desk.node.now() <= 11.0


@pytest.mark.parametrize(("priority", "expected"), [(None, ""), (0, ""), (1, "urgent"), (9, "urgent"), (-1, "bulk"), (-9, "bulk")])
def test_a_priority_has_queues_of_its_own(priority: int | None, expected: str) -> None:
    """RFC 6710."""
    assert class_of(MessageWork(record(priority=priority))) == expected
