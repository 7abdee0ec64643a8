"""The reports that are sent about a message: who gets which, what sinks say of them, and the changes that submit them.

A report enters at Submission like any message. It is written in the same group of changes as the outcome that it tells of, so that a crash
can neither lose it nor send two; so the sinks are asked before, and the outcome waits for those that cannot answer at once. A sink that
fails has no say: whoever sent the message has a right to the report (RFC 3461 §5.2.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import StorageDamaged
from ..events.dispatch import PROCEED, Outcome, Step
from ..events.transit import Bounce, DelayNotice, Notice, SuccessNotice
from ..events.verdict_transit import Suppress
from ..events.work import MessageWork
from ..mail.address import NULL, Address
from ..mail.content import Content, MemoryContent
from ..mail.message import MessageRecord, encode_record, with_edits
from ..mail.report import Kind, Report, Reported, ReportFacts, ReportSettings, make_report
from ..mail.report_content import IN_MEMORY
from ..mail.report_fields import About
from ..mail.report_part import safe
from ..storage.base import Entry, Put
from .stage import Stage
from .tell import names_of

if TYPE_CHECKING:
    from .parts import Shop

# Marks the recipient of a report that could not be delivered to anybody else: there is no further report about that one.
LAST_RESORT = "penstock.last-resort"
_EVENTS: dict[Kind, type[Notice]] = {"failed": Bounce, "delayed": DelayNotice, "success": SuccessNotice}


@dataclass(frozen=True, slots=True)
class NoticeSettings:
    """How reports are sent.

    Args:
        double_bounce: who gets the report about a message from the null path, such as a report that could not be delivered; the null path
            for nobody.
        report: what they return, and their words.
    """

    double_bounce: Address = NULL
    report: ReportSettings = field(default_factory=ReportSettings)


@dataclass(slots=True)
class Due:
    """A report that is to be sent: its kind, and what it says of whom."""

    kind: Kind
    reported: list[Reported] = field(default_factory=list)


@dataclass(slots=True)
class Drafted:
    """The reports about one message, as sinks left them: to be recorded and told of.

    ``sent`` are the reports with what each is about; ``octets`` is how much new content there is.
    """

    changes: list[Put] = field(default_factory=list)
    sent: list[tuple[MessageWork, Due]] = field(default_factory=list)
    octets: int = 0


Then = Callable[[Drafted], Step]
Asking = Coroutine[Any, Any, Outcome]
Waiting = tuple[MessageWork, Due, Asking]


class Notices:
    """Makes reports.

    Args:
        shop: what every part of transport is given.
        settings: how reports are sent.
    """

    def __init__(self, shop: Shop, settings: NoticeSettings) -> None:
        self._parts = shop.parts
        self._bindings = shop.bindings
        self._settings = settings

    def make(self, work: MessageWork, due: list[Due], then: Then, waiting: Callable[[], None]) -> Step:
        """Makes the reports about a message and goes on with them.

        Args:
            work: the message.
            due: what is to be reported.
            then: what comes next.
            waiting: called once before something is waited for.
        """
        drafted = Drafted()
        readable = [(one, reader) for one in due if (reader := self._reader(work, one)) is not None]
        for index, (one, reader) in enumerate(readable):
            if self._is_slow(work, one):
                waiting()
                return self._rest(work, readable[index:], drafted, then)
            draft = self._draft(work, one, reader)
            answer = self._ask(work, draft, one)
            if not isinstance(answer, Outcome):
                waiting()
                return self._rest(work, readable[index + 1 :], drafted, then, (draft, one, answer))
            self._keep(drafted, draft, one, answer)
        return then(drafted)

    async def _rest(
        self, work: MessageWork, due: list[tuple[Due, Address]], drafted: Drafted, then: Then, first: Waiting | None = None
    ) -> None:
        if first is not None:
            self._keep(drafted, first[0], first[1], await first[2])
        for one, reader in due:
            if self._is_slow(work, one):
                draft = await asyncio.to_thread(self._draft, work, one, reader)
            else:
                draft = self._draft(work, one, reader)
            answer = self._ask(work, draft, one)
            self._keep(drafted, draft, one, answer if isinstance(answer, Outcome) else await answer)
        step = then(drafted)
        if step is not None:
            await step

    def _reader(self, work: MessageWork, due: Due) -> Address | None:
        """Who gets a report; None for nobody."""
        sender = work.record.envelope.sender
        if not sender.is_null:
            return sender
        if due.kind != "failed":
            return None
        # RFC 5321 §6.1: a notification about a message from the null path must not go back to it.
        postmaster = self._settings.double_bounce
        names = names_of([one.recipient for one in due.reported])
        if postmaster.is_null or any(LAST_RESORT in one.recipient.properties for one in due.reported):
            self._parts.log.warning("a report could not be delivered and is dropped", message=work.record.id, to=names)
            return None
        self._parts.log.warning("a report could not be delivered and goes to the postmaster", message=work.record.id, to=names)
        return postmaster

    def _is_slow(self, work: MessageWork, due: Due) -> bool:
        """Whether so much of the message is to be read from the disk that a thread should do it."""
        content = work.content
        if due.kind != "failed" or content is None or content.in_memory:
            return False
        return IN_MEMORY < content.size <= self._settings.report.return_full

    def _draft(self, work: MessageWork, due: Due, reader: Address) -> MessageWork:
        server, old = self._parts.server, work.record
        report_id, now = server.new_id(), server.now()
        about = About(server.hostname, old.id, old.envelope, old.received)
        report = self._written(due, ReportFacts(about, report_id, _content(work), reader, now))
        if old.envelope.sender.is_null:
            for recipient in report.envelope.recipients:
                recipient.properties = {LAST_RESORT: True}
        size = report.content.size
        record = MessageRecord(report_id, now, report.envelope, "dsn", "internal", size, parent=old.id, generation=old.generation)
        return MessageWork(record, report.content, report_id)

    def _written(self, due: Due, facts: ReportFacts) -> Report:
        settings = self._settings.report
        try:
            return make_report(due.kind, facts, due.reported, settings)
        except (StorageDamaged, OSError) as error:
            # The sender is told all the same; only what would have gone back is lost.
            self._parts.log.error("a message cannot be read to be returned", message=facts.about.message_id, error=str(error))
            bare = replace(facts, content=MemoryContent(b""))
            return make_report(due.kind, bare, due.reported, settings)

    def _ask(self, work: MessageWork, draft: MessageWork, due: Due) -> Outcome | Asking:
        event = _EVENTS[due.kind]
        chain = self._bindings.chain(event)
        if not chain:
            return PROCEED
        recipients = tuple(one.recipient.copy() for one in due.reported)
        reasons = tuple(safe(str(one.reply) if one.reply else one.text, True) for one in due.reported)
        return self._parts.dispatcher.ask(event(self._parts.facts(draft), work, recipients, reasons), chain)

    def _keep(self, drafted: Drafted, draft: MessageWork, due: Due, outcome: Outcome) -> None:
        verdict = outcome.verdict
        if isinstance(verdict, Suppress):
            about = draft.record.parent
            self._parts.log.info("report suppressed", message=about, kind=due.kind, by=outcome.by, reason=safe(verdict.reason, True))
            return
        kept: dict[int, str] = {}
        for part in (draft, *draft.forks):
            if not part.record.envelope.recipients:
                continue
            content_id = kept.setdefault(id(part.content), part.record.id)
            content = part.content if content_id == part.record.id else None
            part.content_id = content_id
            # What sinks at Submission are asked is another question than this one.
            part.record.done = []
            drafted.changes.append(Put(Entry(part.record.id, Stage.SUBMITTED.value, encode_record(part.record), content_id), content))
            drafted.octets += content.size if content is not None else 0
            drafted.sent.append((part, due))
        draft.forks = []


def _content(work: MessageWork) -> Content:
    """The content of a message with all edits."""
    return with_edits(work.record, work.content or MemoryContent(b""))
