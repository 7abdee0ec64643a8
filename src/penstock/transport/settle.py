"""What becomes of a message after a try: it is forgotten, put off, reported, sent elsewhere or held; always in one atomic group.

The report about a failure is written in the same group as the removal of what failed, so a crash can neither lose the report nor send two.
Recipients that wait for different things (another time, another queue, an administrator) become messages of their own, which share the
content: so a time that a sink asked for one of them is kept, and the others need not wait for it. Rejected: one entry with the earliest of
all times, which would try a recipient before the time that was asked for it.

While a sink is waited for that is asked about a report, the message is as it was, but for the recipients that are served already: those are
taken off before, so that a crash within that time does not send them a second copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from ..errors import StorageUnavailable
from ..events.dispatch import Step
from ..events.reports import Step as Tracking
from ..events.work import MessageWork
from ..mail.content import Content
from ..mail.envelope import Recipient
from ..mail.message import MessageRecord, began, decode_record, encode_record
from ..queue.policy import Policies
from ..storage.base import Change, Entry, Put, Remove
from .judge import Judged, judge, moved, needs_no_report, reason_of
from .notices import Drafted, Notices, NoticeSettings
from .outcome import Action, Result
from .stage import Stage
from .tell import Teller, names_of
from .times import for_message

if TYPE_CHECKING:
    from .parts import Shop

# How long a message rests when what became of it could not be recorded for want of room.
NO_ROOM_WAIT = 60.0
_OVER = frozenset({Action.DELIVERED, Action.RELAYED, Action.FAILED, Action.EXPIRED, Action.DROPPED, Action.EXPANDED})


@dataclass(frozen=True, slots=True)
class Place:
    """Where recipients wait: the stage and the queue, when they are due, and why they are held."""

    stage: Stage
    queue: str
    due: float = 0.0
    held: str = ""


@dataclass(slots=True)
class Waiting:
    """The recipients that wait at one place.

    Args:
        recipients: who.
        deferrals: how much more often they were put off now.
        anew: whether they begin something new, so that what was counted before counts no more.
    """

    recipients: list[Recipient] = field(default_factory=list)
    deferrals: int = 0
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a message, or one look at it.

    Args:
        work: the message.
        queue: the queue that it is in, "" before it is routed.
        now: when the try ended, in seconds since 1970.
        tried: when it was tried last: ``now``, or earlier where it was only looked at.
        seen: its entry where it was only looked at; None where it was tried.
    """

    work: MessageWork
    queue: str
    now: float
    tried: float
    seen: Entry | None = None


class Settler:
    """Records outcomes.

    Args:
        shop: what every part of transport is given.
        policies: when to try again, when to tell of a delay and when to give up; None for the same everywhere, as the settings say.
        notices: how reports are sent.
    """

    def __init__(self, shop: Shop, policies: Policies | None = None, notices: NoticeSettings | None = None) -> None:
        self._parts = shop.parts
        self._spool = shop.parts.spool
        self._scheduler = shop.scheduler
        self._split = shop.split
        self._large = shop.settings.large
        self._policies = policies or Policies(shop.settings.retry)
        self._notices = Notices(shop, notices or NoticeSettings())
        self._teller = Teller(shop)
        self.uses = shop.bindings.uses

    def settle(self, work: MessageWork, queue: str, results: list[Result]) -> Step:
        """Records what came of a try, as ``Handover`` says; without a queue the message stays at the stage that it is at."""
        if all(map(needs_no_report, results)):
            self._spool.append([Remove(work.record.id)])
            for result in results:
                self._teller.outcome(work, queue, result)
            return None
        now = self._parts.server.now()
        return self._settle(Try(work, queue, now, now), results)

    def is_old(self, record: MessageRecord, due: float) -> bool:
        """Whether it is time to give up recipients of a message that waits, or to tell of its delay.

        Args:
            record: the message.
            due: when it is tried next, in seconds since 1970; what is to be tried after its time is over is not given up before.
        """
        now = self._parts.server.now()
        since = began(record)
        for domain in {recipient.address.domain for recipient in record.envelope.recipients}:
            policy = for_message(self._policies.of(domain), record)
            expires = since + policy.expire
            notice = policy.next_notice(since, record.told)
            if (expires <= now and due <= max(expires, now)) or (notice is not None and notice <= now < expires):
                return True
        return False

    def aged(self, work: MessageWork, entry: Entry, why: str) -> Step:
        """Gives up what has waited for too long, and tells of the delay where it is time, without a try.

        Nothing happens to a message that is being worked on, or was changed, by the time that the sinks have answered.

        Args:
            work: the message.
            entry: its entry as it was read.
            why: why it waits, where its recipients do not say.
        """
        results = [Result(r, Action.DEFERRED, "4.4.1", r.reason or why, wide=True) for r in work.record.envelope.recipients]
        return self._settle(Try(work, entry.queue, self._parts.server.now(), work.record.tried, entry), results)

    def quarantined(self, work: MessageWork, reason: str, by: str) -> None:
        """Tells that a message was put aside; who put it aside recorded it."""
        self._teller.quarantined(work, reason, by)

    def _settle(self, trial: Try, results: Sequence[Result]) -> Step:
        return self._report(trial, judge(trial.work.record, results, self._policies, trial.now, trial.tried))

    def _report(self, trial: Try, judged: Judged) -> Step:
        """Asks about the reports that are due, and goes on when they are written."""
        if not judged.due:
            return self._record(trial, judged, Drafted())
        work = trial.work
        return self._notices.make(
            work, judged.due, lambda drafted: self._record(trial, judged, drafted), lambda: self.served(work, judged.results, ())
        )

    def served(self, work: MessageWork, results: Sequence[Result], left: Sequence[Recipient]) -> None:
        """Takes off who is served already and not waited for, before something is waited for: sinks, or those who are left."""
        rest = [result.recipient for result in results if not needs_no_report(result)]
        current = self._spool.get(work.record.id)
        if len(rest) == len(results) or current is None:
            return
        # The header of a content that is not recorded yet does not go with the one that is.
        old = decode_record(current.record) if work.rewritten else work.record
        record = _with(old, [*rest, *left])
        self._spool.append([Put(msgspec.structs.replace(current, record=encode_record(record)))])

    def _record(self, trial: Try, judged: Judged, drafted: Drafted) -> Step:
        """Makes the changes: reports, and what is left of the message."""
        work = trial.work
        # Read now: an administrator may have held, released or removed it while it was worked on.
        current = self._spool.get(work.record.id)
        if trial.seen is not None and (current != trial.seen or not self._scheduler.withdraw(work.record.id)):
            return None
        places = self._places(trial, judged, current) if current is not None else {}
        changes: list[Change] = [*drafted.changes, *self._kept(trial, judged, places)]
        if current is not None and not places:
            changes.append(Remove(work.record.id))

        def over() -> None:
            self._tell(trial, judged, drafted, places)
            self._wake(places, bool(drafted.changes))

        content = _rewritten(work) if places else None
        if drafted.octets + (content.size if content is not None else 0) >= self._large:
            return self._commit(trial, judged, changes, over)
        if changes:
            self._spool.append(changes)
        over()
        return None

    async def _commit(self, trial: Try, judged: Judged, changes: list[Change], over: Callable[[], None]) -> None:
        """Makes changes with much new content: those are not appended, as a full disk has to be noticed."""
        try:
            await self._spool.commit(changes)
        except StorageUnavailable as error:
            message_id, due = trial.work.record.id, self._parts.server.now() + NO_ROOM_WAIT
            self._parts.log.warning("an outcome cannot be recorded, it will be repeated", message=message_id, error=str(error))
            self.served(trial.work, judged.results, ())
            entry = self._spool.get(message_id)
            if entry is not None:
                self._spool.append([Put(msgspec.structs.replace(entry, due=due))])
                self._wake({Place(Stage(entry.stage), entry.queue, due): Waiting()}, False)
            return
        over()

    def _places(self, trial: Try, judged: Judged, current: Entry) -> dict[Place, Waiting]:
        """Who waits where, the present place first."""
        held, now = current.held, trial.now
        routed = Stage(current.stage) is Stage.ROUTED
        stage = Stage.ROUTED if trial.queue else Stage(current.stage)
        # Whoever moved it to another queue meanwhile wants it to stay there.
        queue = current.queue if routed and current.queue else trial.queue
        places: dict[Place, Waiting] = {}

        def add(place: Place, recipients: list[Recipient], deferrals: int = 0, anew: bool = False) -> None:
            waiting = places.setdefault(place, Waiting(deferrals=deferrals, anew=anew))
            waiting.recipients += recipients

        for result in judged.results:
            recipient = result.recipient
            if result.action is Action.DEFERRED:
                due = current.due if result.wide else self._due(trial, result)
                recipient.reason = reason_of(result) or recipient.reason
                add(Place(stage, queue, due, held), [recipient], 0 if result.wide else 1)
            elif result.action is Action.FORWARDED:
                place = Place(Stage.PRECATEGORIZED, "", 0.0, held)
                # Whoever is led to twice gets one copy: those who forward to one another would multiply with each round.
                known = {r.address for r in places[place].recipients} if place in places else set()
                add(place, [r for r in moved(result) if r.address not in known], anew=True)
            elif result.action is Action.REROUTED:
                # A delivery here has a queue for each domain.
                hop = f"local:{recipient.address.domain}" if result.next_hop == "local" else result.next_hop
                add(Place(Stage.ROUTED, hop, 0.0, held), moved(result), anew=True)
        unserved = self._unserved(trial.work, judged)
        if unserved:
            add(Place(stage, queue, now, held or f"nothing delivers to {names_of(unserved)}"), unserved)
        return places

    def _due(self, trial: Try, result: Result) -> float:
        """When a recipient that was put off is tried again."""
        if result.after is not None:
            return trial.now + max(result.after.total_seconds(), 0.0)
        record = trial.work.record
        policy = for_message(self._policies.of(result.recipient.address.domain), record)
        due = policy.next_due(record.id, record.deferrals, began(record), trial.now)
        return trial.now if due is None else due

    def _unserved(self, work: MessageWork, judged: Judged) -> list[Recipient]:
        """Recipients that no sink takes, which are held; but a report that nobody takes ends, or anybody could fill the spool with them."""
        unserved = [result.recipient for result in judged.results if result.action is Action.UNSERVED]
        if not unserved:
            return []
        if work.record.origin == "dsn":
            self._parts.log.warning("a report could not be delivered and is dropped", message=work.record.id, to=names_of(unserved))
            return []
        self._parts.log.warning("held: nothing delivers to these recipients", message=work.record.id, to=names_of(unserved))
        return unserved

    def _kept(self, trial: Try, judged: Judged, places: dict[Place, Waiting]) -> list[Put]:
        """The changes that keep who waits: at the first place as the message itself, at the others as messages of their own."""
        puts, old, content_id, content = [], trial.work.record, trial.work.content_id, _rewritten(trial.work)
        if content is not None:
            content_id = self._parts.server.new_id()
        for number, (place, waiting) in enumerate(places.items()):
            record = _with(old, waiting.recipients)
            if waiting.anew:
                record.done, record.attempt, record.deferrals = [], 0, 0
            else:
                record.deferrals += waiting.deferrals
                record.tried = trial.tried
                record.told = trial.now if judged.told else old.told
            if number:
                record.id, record.parent = self._parts.server.new_id(), old.id
                self._split(old.id, record.id)
            entry = Entry(record.id, place.stage.value, encode_record(record), content_id, place.queue, place.due, place.held)
            # All refer to the one content, which comes with the first of them.
            puts.append(Put(entry, None if number else content))
        return puts

    def _tell(self, trial: Try, judged: Judged, drafted: Drafted, places: dict[Place, Waiting]) -> None:
        until = {id(r): place.due for place, waiting in places.items() for r in waiting.recipients}
        for result in judged.results:
            # Who was only looked at, or was removed by an administrator meanwhile, was not put off by anything.
            if result.action is not Action.DEFERRED:
                if result.action in _OVER or places:
                    self._teller.outcome(trial.work, trial.queue, result)
            elif trial.seen is None and id(result.recipient) in until:
                due = 0.0 if result.wide else until[id(result.recipient)]
                self._teller.outcome(trial.work, trial.queue, result, due)
        for report, due_report in drafted.sent:
            to, about = str(report.record.envelope.recipients[0].address), trial.work.record.id
            self._parts.log.info("reported", message=report.record.id, about=about, to=to, kind=due_report.kind)
            self._teller.tracked(report, Tracking.REPORT_GENERATED, {"about": about, "kind": due_report.kind})

    def _wake(self, places: dict[Place, Waiting], drafted: bool) -> None:
        """Tells the queues of what will be due in them."""
        now = self._parts.server.now()
        if drafted:
            self._scheduler.soon(now)
        for place in places:
            if place.held:
                continue
            if place.queue:
                self._scheduler.later(place.queue, place.due)
            else:
                self._scheduler.soon(place.due or now)


def _rewritten(work: MessageWork) -> Content | None:
    """The content where it is another than the spool's, as a sink at LocalDelivery may have left it."""
    return work.content if work.rewritten else None


def _with(record: MessageRecord, recipients: list[Recipient]) -> MessageRecord:
    """The record of the same message to other recipients."""
    return msgspec.structs.replace(record, envelope=msgspec.structs.replace(record.envelope, recipients=recipients))
