"""What results come to, before anything is recorded: what is given up, what goes round in a circle, and who is to be told.

Nothing here changes anything outside: the same results can be judged again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ..mail.address import Address
from ..mail.envelope import Recipient
from ..mail.message import MessageRecord, began
from ..mail.report import Kind, Reported, wants_report
from ..mail.report_fields import Action as Done
from ..mail.report_part import safe
from ..queue.policy import Policies
from .notices import Due
from .outcome import Action, Result
from .times import for_message, is_returned_by_request

_FORWARDS, _REROUTES = "penstock.forwards", "penstock.reroutes"
# Forwarding from one local address to the next, or rerouting from one queue to the next, this often is a loop.
MAX_FORWARDS = 10
# So much of why a recipient waits is kept with it, in octets.
_REASON = 300
_KINDS: dict[Action, tuple[Kind, Done]] = {
    Action.FAILED: ("failed", "failed"),
    Action.EXPIRED: ("failed", "failed"),
    Action.DELIVERED: ("success", "delivered"),
    Action.RELAYED: ("success", "relayed"),
    Action.EXPANDED: ("success", "expanded"),
    Action.FORWARDED: ("success", "expanded"),
}


@dataclass(slots=True)
class Judged:
    """What results come to.

    Args:
        results: with DEFERRED turned into EXPIRED, and FORWARDED or REROUTED into FAILED, where it had to be.
        due: the reports that are to be sent.
        told: whether the sender is told of a delay now.
    """

    results: list[Result]
    due: list[Due] = field(default_factory=list)
    told: bool = False

    def reported(self, kind: Kind) -> list[Reported]:
        """The list of a kind of report, to add to."""
        for one in self.due:
            if one.kind == kind:
                return one.reported
        self.due.append(Due(kind))
        return self.due[-1].reported


def judge(record: MessageRecord, results: Iterable[Result], policies: Policies, now: float, tried: float) -> Judged:
    """Judges what came of a try.

    Args:
        record: the message.
        results: what came of each recipient.
        policies: when to give up, and when to tell of a delay, by domain.
        now: the present time in seconds since 1970.
        tried: when the try was.
    """
    judged = Judged([_final(record, result, policies, now) for result in results])
    for result in judged.results:
        recipient = result.recipient
        policy = for_message(policies.of(recipient.address.domain), record)
        if result.action is Action.DEFERRED:
            due = policy.next_notice(began(record), record.told)
            if due is not None and due <= now:
                judged.told = True
                if wants_report(recipient, "delayed"):
                    until = began(record) + policy.expire
                    judged.reported("delayed").append(_reported(result, "delayed", tried, until))
        elif result.action in _KINDS and _is_reported(record, result):
            kind, done = _KINDS[result.action]
            judged.reported(kind).append(_reported(result, done, tried))
    return judged


def needs_no_report(result: Result) -> bool:
    """Whether a recipient is served, and nobody asked to hear of it."""
    return result.action in (Action.DELIVERED, Action.RELAYED) and "success" not in result.recipient.notify


def reason_of(result: Result) -> str:
    """Why a recipient waits or failed, as one line."""
    said = str(result.reply) if result.reply is not None else result.text
    return safe(f"{result.remote} said: {said}" if result.remote and result.reply is not None else said, True, _REASON)


def moved(result: Result) -> list[Recipient]:
    """The recipients in the place of one that was forwarded or rerouted, with its properties and DSN parameters.

    RFC 3461 §5.2.7.2: to a single address all that was asked for goes along. RFC 3461 §5.2.7.3 (c): with several "the NOTIFY parameter is
    propagated to the forwarding addresses, except that any SUCCESS keyword is removed", and the alias is reported as expanded.
    """
    old = result.recipient
    counter = _FORWARDS if result.action is Action.FORWARDED else _REROUTES
    counted = {**old.properties, counter: _times(old, counter) + 1}
    if result.action is Action.REROUTED:
        same = old.copy()
        same.properties, same.reason = counted, ""
        return [same]
    notify = old.notify
    if len(result.to) > 1 and "success" in notify:
        notify = notify - {"success"} or frozenset({"never"})
    orcpt = old.orcpt or f"{'rfc822' if old.address.is_ascii else 'utf-8'};{old.address}"
    return [_forwarded(old, address, notify, orcpt, counted) for address in dict.fromkeys(result.to)]


def _forwarded(old: Recipient, address: Address, notify: frozenset[str], orcpt: str, properties: dict[str, object]) -> Recipient:
    new = old.copy()
    new.address, new.notify, new.orcpt, new.properties = address, notify, orcpt, dict(properties)
    # Where the old address was to be served says nothing of the new one.
    new.route = new.reason = ""
    return new


def _final(record: MessageRecord, result: Result, policies: Policies, now: float) -> Result:
    """The result, or what it is in truth: too late, or a loop."""
    if result.action is Action.DEFERRED:
        policy = policies.of(result.recipient.address.domain)
        if now - began(record) < for_message(policy, record).expire:
            return result
        said = reason_of(result) or result.recipient.reason
        asked = is_returned_by_request(record, policy)
        text = "The message could not be delivered " + ("in the time that its sender set" if asked else "for too long")
        # RFC 2852 §5: "the status code 5.4.7 (delivery time expired)".
        return replace(result, action=Action.EXPIRED, status="5.4.7" if asked else "4.4.7", text=text + (f"; last: {said}" if said else ""))
    if result.action is Action.FORWARDED and _times(result.recipient, _FORWARDS) >= MAX_FORWARDS:
        return replace(result, action=Action.FAILED, status="5.4.6", text="The address is forwarded in a loop")
    if result.action is Action.REROUTED and _times(result.recipient, _REROUTES) >= MAX_FORWARDS:
        return replace(result, action=Action.FAILED, status="5.4.6", text="The message is rerouted in a loop")
    return result


def _times(recipient: Recipient, counter: str) -> int:
    # Sinks may write into the properties too.
    times = recipient.properties.get(counter, 0)
    return times if isinstance(times, int) else 0


def _is_reported(record: MessageRecord, result: Result) -> bool:
    if result.action in (Action.FAILED, Action.EXPIRED):
        # A report asks for no report itself (NOTIFY=NEVER), but "the MTA MAY inform the local postmaster" (RFC 3461 §5.2.6).
        return record.envelope.sender.is_null or wants_report(result.recipient, "failed")
    if not wants_report(result.recipient, "success"):
        return False
    # RFC 3461 §5.2.1: a server that knows DSN takes the request over; §5.2.2: otherwise it ends here, with "relayed".
    return not (result.action is Action.RELAYED and result.dsn) and not (result.action is Action.FORWARDED and len(set(result.to)) < 2)


def _reported(result: Result, done: Done, tried: float, until: float = 0.0) -> Reported:
    return Reported(result.recipient, done, result.status, result.text, result.reply, result.remote, tried, until)
