"""What becomes of a message after its recipients were tried: forgotten, put off, reported as failed, or held; always in one atomic group.

The report about a failure is written in the same group as the removal of what failed, so a crash can neither lose the report nor send two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ..events.dispatch import Outcome
from ..events.recipients import Recipients
from ..events.verdict import Bounce, Defer, Delivered, Forward
from ..events.work import MessageWork
from ..mail.content import MemoryContent
from ..mail.envelope import Recipient
from ..mail.header import split_header
from ..mail.message import MessageRecord, encode_record
from ..mail.report import Failure, ReportFacts, failure_report, report_envelope, wants_report
from ..queue.policy import RetryPolicy
from ..queue.scheduler import Scheduler
from ..storage.base import Change, Entry, Put, Remove
from .stage import Stage

if TYPE_CHECKING:
    from .deliver import Result
    from .pipeline import Parts

_FORWARDS = "penstock.forwards"
# Forwarding from one local address to the next this often is a loop.
MAX_FORWARDS = 10
_EXPIRED = Bounce("4.4.7", "The message could not be delivered for too long")


@dataclass(frozen=True, slots=True)
class _Group:
    """Recipients that wait for the same thing: when they are due, or why they are held, and whether that is a deferral."""

    recipients: list[Recipient]
    due: float
    held: str
    deferrals: int


class Settler:
    """Records outcomes.

    Args:
        parts: what transport works with.
        retry: when deferred mail is tried again.
        scheduler: is told when something will be due.
    """

    def __init__(self, parts: Parts, retry: RetryPolicy, scheduler: Scheduler) -> None:
        self._parts = parts
        self._spool = parts.spool
        self._log = parts.log
        self._retry = retry
        self._scheduler = scheduler

    def settle(self, work: MessageWork, results: list[Result]) -> bool:
        """Records what came of one round of deliveries; True when forwarding left recipients to serve now."""
        if all(type(outcome.verdict) is Delivered for _, outcome in results):
            self._spool.append([Remove(work.record.id)])
            return False
        failures, deferred, unserved, forwarded = _sort(results)
        due = self._put_off(work, deferred, failures)
        changes = self._report(work, failures)
        groups = [_Group([r for r, _ in deferred], due, "", 1)] if deferred and due is not None else []
        groups += [_Group(forwarded, 0.0, "", 0)] if forwarded else []
        groups += self._unserved(work, unserved) if unserved else []
        if not groups:
            changes.append(Remove(work.record.id))
        # Each group waits for something else, so each becomes a message of its own; the content is shared.
        for number, group in enumerate(groups):
            changes.append(self._keep(work, group, new=number > 0))
        self._spool.append(changes)
        if not groups:
            return False
        work.record.envelope.recipients = groups[0].recipients
        work.record.deferrals += groups[0].deferrals
        return bool(forwarded) and groups[0].recipients is forwarded

    def _keep(self, work: MessageWork, group: _Group, new: bool) -> Change:
        """The change that keeps a group of recipients: as the message itself, or as a new one."""
        record = msgspec.structs.replace(
            work.record,
            envelope=msgspec.structs.replace(work.record.envelope, recipients=group.recipients),
            deferrals=work.record.deferrals + group.deferrals,
        )
        if new:
            record.id, record.parent = self._parts.server.new_id(), work.record.id
        if not group.held and (new or group.due):
            self._scheduler.soon(group.due or self._parts.server.now())
        return Put(Entry(record.id, Stage.ROUTED.value, encode_record(record), work.content_id, "", group.due, group.held))

    def bounce_all(self, work: MessageWork, verdict: Bounce) -> list[Change]:
        """The changes that end a message and report all its recipients as failed."""
        failures = [Failure(r, verdict.enhanced, verdict.text) for r in work.record.envelope.recipients]
        return [*self._report(work, failures), Remove(work.record.id)]

    def next_due(self, record: MessageRecord, verdict: Defer) -> float | None:
        """When to try again, in seconds since 1970; None when the message waited for too long."""
        now = self._parts.server.now()
        due = self._retry.next_due(record.id, record.deferrals, record.received, now)
        if due is None or verdict.after is None:
            return due
        return now + max(verdict.after.total_seconds(), 0.0)

    def _put_off(self, work: MessageWork, deferred: list[tuple[Recipient, Defer]], failures: list[Failure]) -> float | None:
        """When the deferred ones are due; those that waited for too long become failures, and None is returned."""
        if not deferred:
            return 0.0
        times = [self.next_due(work.record, verdict) for _, verdict in deferred]
        if None in times:
            failures += [Failure(r, _EXPIRED.enhanced, f"{_EXPIRED.text}; last: {v.text}") for r, v in deferred]
            return None
        for recipient, verdict in deferred:
            self._log.info("deferred", message=work.record.id, to=str(recipient.address), reason=verdict.text, until=times[0])
        return min(t for t in times if t is not None)

    def _unserved(self, work: MessageWork, unserved: list[Recipient]) -> list[_Group]:
        """Recipients that no sink takes are held; but a report that nobody takes ends, or anybody could fill the spool with them."""
        names = ", ".join(str(r.address) for r in unserved)
        if work.record.origin == "dsn":
            self._log.warning("a report could not be delivered and is dropped", message=work.record.id, to=names)
            return []
        self._log.warning("held: nothing delivers to these recipients", message=work.record.id, to=names)
        return [_Group(unserved, 0.0, f"nothing delivers to {names}", 0)]

    def _report(self, work: MessageWork, failures: list[Failure]) -> list[Change]:
        """The change that submits a DSN, if one is due. Mail from the null path is answered by nobody (RFC 5321 §4.5.5)."""
        for failure in failures:
            self._log.info("failed", message=work.record.id, to=str(failure.recipient.address), status=failure.status, reason=failure.text)
        told = [f for f in failures if wants_report(f.recipient)]
        sender = work.record.envelope.sender
        if not told:
            return []
        if sender.is_null:
            self._log.warning("a report could not be delivered and is dropped", message=work.record.id)
            return []
        server, old = self._parts.server, work.record
        header = old.header if old.header is not None else (work.content.read(0, 1024 * 1024) if work.content else b"")
        report_id = server.new_id()
        facts = ReportFacts(server.hostname, report_id, old.id, old.envelope, split_header(header)[0], old.received, server.now())
        raw = failure_report(facts, told)
        record = MessageRecord(report_id, server.now(), report_envelope(sender), "dsn", "internal", len(raw), parent=old.id)
        self._scheduler.soon(server.now())
        return [Put(Entry(report_id, Stage.SUBMITTED.value, encode_record(record), report_id), MemoryContent(raw))]


def _sort(
    results: Iterable[tuple[Recipient, Outcome]],
) -> tuple[list[Failure], list[tuple[Recipient, Defer]], list[Recipient], list[Recipient]]:
    """The results by kind: failed, deferred, unserved, and whom a forward leads to."""
    failures: list[Failure] = []
    deferred: list[tuple[Recipient, Defer]] = []
    unserved: list[Recipient] = []
    forwarded: list[Recipient] = []
    for recipient, outcome in results:
        verdict = outcome.verdict
        if verdict is None:
            unserved.append(recipient)
        elif isinstance(verdict, Bounce):
            failures.append(Failure(recipient, verdict.enhanced, verdict.text))
        elif isinstance(verdict, Defer):
            deferred.append((recipient, verdict))
        elif isinstance(verdict, Forward):
            _forward(recipient, verdict, forwarded, failures)
        elif not isinstance(verdict, Delivered):  # a sink that failed with on_error = "reject"
            failures.append(Failure(recipient, "5.3.0", "The mail system failed"))
    return failures, deferred, unserved, forwarded


def _forward(recipient: Recipient, verdict: Forward, forwarded: list[Recipient], failures: list[Failure]) -> None:
    """Puts other recipients in the place of one, with its properties and DSN parameters (RFC 3461 §5.2.7)."""
    times = int(recipient.properties.get(_FORWARDS, 0)) + 1
    if times > MAX_FORWARDS:
        failures.append(Failure(recipient, "5.4.6", "The address is forwarded in a loop"))
        return
    listed = Recipients(forwarded)
    for address in verdict.addresses:
        orcpt = recipient.orcpt or f"rfc822;{recipient.address}"
        properties = {**recipient.properties, _FORWARDS: times}
        listed.add(address, notify=recipient.notify, orcpt=orcpt, properties=properties)
