"""What the verdicts of sinks come to, in the words that settling needs."""

from __future__ import annotations

from ..events.dispatch import Outcome
from ..events.recipients import as_recipient
from ..events.verdict import Bounce, Defer, Delivered, Drop, Forward, Verdict
from ..events.verdict_transit import Reroute, as_next_hop
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from ..mail.message import MessageRecord
from .outcome import Action, Result


def results_of(work: MessageWork, verdict: Verdict, by: str) -> list[Result]:
    """What a verdict about a whole message means for each of its recipients."""
    return [result_of_verdict(recipient, verdict, by) for recipient in work.record.envelope.recipients]


def result_of_verdict(recipient: Recipient, verdict: Verdict, by: str) -> Result:
    """What a verdict that any stage admits means for one recipient."""
    if isinstance(verdict, Drop):
        return Result(recipient, Action.DROPPED, "2.0.0", verdict.reason, by=by)
    if isinstance(verdict, Bounce):
        return Result(recipient, Action.FAILED, verdict.enhanced, verdict.text, by=by)
    if isinstance(verdict, Defer):
        return Result(recipient, Action.DEFERRED, verdict.enhanced, verdict.text, after=verdict.after, by=by)
    # What stands for a sink that failed with on_error = "reject".
    return Result(recipient, Action.FAILED, "5.3.0", "The mail system failed", by=by)


def result_of(recipient: Recipient, outcome: Outcome, record: MessageRecord) -> Result:
    """What an answer at LocalDelivery means for the recipient."""
    verdict, by = outcome.verdict, outcome.by
    if verdict is None:
        return Result(recipient, Action.UNSERVED, "5.3.5", "nothing delivers to this recipient")
    if isinstance(verdict, Delivered):
        return Result(recipient, Action.DELIVERED, "2.0.0", address=verdict.where, by=by)
    if isinstance(verdict, Forward):
        return Result(recipient, Action.FORWARDED, "2.0.0", to=tuple(as_recipient(a) for a in verdict.addresses), by=by)
    if isinstance(verdict, Reroute):
        return Result(recipient, Action.REROUTED, next_hop=as_next_hop(verdict.next_hop).queue(record.message_class), by=by)
    return result_of_verdict(recipient, verdict, by)
