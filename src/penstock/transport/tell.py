"""Tells what became of recipients, after it is recorded: a log line for each, and the reports that somebody is bound to.

A report that nobody is bound to costs one look-up; the snapshots that reports show are only made where somebody looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..events.catalog import Event
from ..events.reports import (
    Attempted,
    Deferred,
    DeliveredReport,
    Dropped,
    Expanded,
    Expired,
    Failed,
    Quarantined,
    Relayed,
    Timings,
    Told,
    Tracked,
)
from ..events.reports import Step as Tracking
from ..events.views import MessageSnapshot
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from ..mail.report_part import safe
from .outcome import NO_TIMINGS, Action, Result

if TYPE_CHECKING:
    from .parts import Shop

# So much of what strangers say is in a log line, in octets.
MOST_SAID = 300
_ATTEMPTED: dict[Action, type[Attempted]] = {
    Action.DELIVERED: DeliveredReport,
    Action.RELAYED: Relayed,
    Action.FAILED: Failed,
    Action.EXPIRED: Expired,
}
_TRACKED = {
    Action.DELIVERED: Tracking.LOCAL_DELIVERY,
    Action.RELAYED: Tracking.TRANSFERRED_OUTBOUND,
    Action.FAILED: Tracking.FAILED,
    Action.EXPIRED: Tracking.FAILED,
    Action.REROUTED: Tracking.REROUTED,
}


class Teller:
    """Writes the log lines and tells the reports of transport.

    Args:
        shop: what every part of transport is given.
    """

    def __init__(self, shop: Shop) -> None:
        self._parts = shop.parts
        self._log = shop.parts.log
        self._bindings = shop.bindings

    def outcome(self, work: MessageWork, queue: str, result: Result, until: float = 0.0) -> None:
        """Tells what became of one recipient.

        Args:
            work: the message as it was tried.
            queue: the queue that it was in, "" before it was routed.
            result: what became of the recipient.
            until: with DEFERRED, when it is tried again, in seconds since 1970; 0 when its queue decides.
        """
        self._log_line(work, queue, result, until)
        event = self._report(work, result, until)
        if event is not None:
            self._parts.dispatcher.tell(event, self._bindings.chain(type(event)))
        step = _TRACKED.get(result.action)
        if step is not None and self._bindings.chain(Tracked):
            self.tracked(work, step, {"recipient": str(result.recipient.address), "queue": queue, "status": result.status})

    def quarantined(self, work: MessageWork, reason: str, by: str) -> None:
        """Tells that a message was put aside."""
        recipients = work.record.envelope.recipients
        self._log.info("quarantined", message=work.record.id, to=names_of(recipients), by=by, reason=_short(reason))
        chain = self._bindings.chain(Quarantined)
        if chain:
            shown = MessageSnapshot.of(work)
            for recipient in recipients:
                self._parts.dispatcher.tell(Quarantined(self._parts.facts(work), shown, recipient, reason, by), chain)

    def tracked(self, work: MessageWork, step: Tracking, details: dict[str, Any]) -> None:
        """Tells of a trackable step of a message."""
        chain = self._bindings.chain(Tracked)
        if chain:
            self._parts.dispatcher.tell(Tracked(self._parts.facts(work), MessageSnapshot.of(work), step, details), chain)

    def _report(self, work: MessageWork, result: Result, until: float) -> Event | None:
        """The report of an outcome; None when there is none, or nobody is bound to it."""
        chain_of, action, recipient = self._bindings.chain, result.action, result.recipient
        attempted = _ATTEMPTED.get(action)
        if attempted is not None:
            return attempted(*self._shown(work), recipient, _told(result)) if chain_of(attempted) else None
        if action is Action.DEFERRED and chain_of(Deferred):
            return Deferred(*self._shown(work), recipient, _told(result), until)
        if action in (Action.EXPANDED, Action.FORWARDED) and chain_of(Expanded):
            return Expanded(*self._shown(work), recipient, result.to)
        if action is Action.DROPPED and chain_of(Dropped):
            return Dropped(*self._shown(work), recipient, result.text, result.by)
        return None

    def _shown(self, work: MessageWork) -> tuple[Any, MessageSnapshot]:
        return self._parts.facts(work), MessageSnapshot.of(work)

    def _log_line(self, work: MessageWork, queue: str, result: Result, until: float) -> None:
        action, record = result.action, work.record
        to = str(result.recipient.address)
        delay = round(self._parts.server.now() - record.received, 3)
        if action is Action.DELIVERED:
            self._log.info("delivered", message=record.id, to=to, where=result.address, delay=delay, **_remote(queue, result))
        elif action in (Action.FORWARDED, Action.EXPANDED):
            self._log.info(action.value, message=record.id, to=to, members=len(result.to), by=result.by)
        elif action is Action.REROUTED:
            self._log.info("rerouted", message=record.id, to=to, queue=queue, next_hop=result.next_hop, by=result.by)
        elif action is Action.DROPPED:
            self._log.info("dropped", message=record.id, to=to, by=result.by, reason=_short(result.text))
        elif action is not Action.UNSERVED:
            more: dict[str, Any] = {"until": until} if action is Action.DEFERRED else {}
            if action is not Action.RELAYED or result.text:
                more["reason"] = _short(result.text)
            if result.by:
                more["by"] = result.by
            self._log.info(
                action.value, message=record.id, to=to, queue=queue, status=result.status, delay=delay, **more, **_remote("", result)
            )


def _remote(queue: str, result: Result) -> dict[str, Any]:
    """What is only said where a remote server had a part in it."""
    if not result.remote and result.reply is None and result.timings is NO_TIMINGS:
        return {}
    said: dict[str, Any] = {"queue": queue} if queue else {}
    if result.remote:
        said["remote"] = _short(result.remote)
    if result.address and result.action is not Action.DELIVERED:
        said["address"] = _short(result.address)
    if result.reply is not None:
        said["reply"] = _short(str(result.reply))
    if result.timings is not NO_TIMINGS:
        said["delays"] = _delays(result.timings)
    if result.uncertain:
        said["uncertain"] = True
    return said


def _delays(timings: Timings) -> str:
    """As Postfix writes them: a/b/c/d."""
    return "/".join(f"{seconds:.3g}" for seconds in (timings.before, timings.queued, timings.connected, timings.sent))


def _told(result: Result) -> Told:
    where = result.remote or result.address
    return Told(where, result.status, result.text, result.reply, result.timings)


def _short(text: str) -> str:
    # Most are short and plain already, and this is done for each message.
    return text if len(text) <= 80 and text.isascii() and text.isprintable() else safe(text, True, MOST_SAID)


def names_of(recipients: list[Recipient]) -> str:
    """The addresses as one line, of which a long list only begins."""
    shown = ", ".join(str(r.address) for r in recipients[:10])
    return f"{shown} and {len(recipients) - 10} more" if len(recipients) > 10 else shown
