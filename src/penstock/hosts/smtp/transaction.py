"""One mail transaction, from MAIL to the reply to its content; an object made for that message.

The reply to the content is given only when message and envelope are on stable storage, or when they are not going to be.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ...errors import StorageFull, StorageUnavailable
from ...events import catalog as events
from ...events import verdict as v
from ...events.dispatch import PROCEED, Outcome, Step
from ...events.transit import MaxMessageSize
from ...events.verdict_transit import Allow
from ...events.views import MessageSnapshot
from ...events.work import Facts, MessageWork
from ...mail.content import Content, MemoryContent
from ...mail.reply import Reply
from ...wire.smtp import happening as wire
from .each import Refused, one_for_all, one_for_each
from .guard import is_unknown
from .intake import Intake
from .promises import refuses_header
from .received import received_field

if TYPE_CHECKING:
    from .session import SmtpSession

# How much of a content is looked at for its header.
LOOKED_AT = 256 * 1024
END_OF_DATA = "end of data"
_LOOPING = v.Reject(554, "5.4.6", "Too many hops, the message is looping")
_FULL = Reply(452, "4.3.1", "Insufficient system storage")
_TOO_BIG = v.Reject(552, "5.3.4", "Message is larger than the limit")
_NO_MEMORY = v.Defer(452, "4.3.1", "Too much mail at once, please try again later")
_LONG_HEADER = Reply(552, "5.3.4", "Header section too large")
_BROKEN = Reply(451, "4.3.0", "The message cannot be stored now, please try again later")


class Transaction:
    """One message while it is received.

    Args:
        session: the session it belongs to.
        message: the message, with its sender.
    """

    __slots__ = (
        "_any_size", "_early", "_failure", "_header_wanted", "_intake", "_named", "_refused", "_seam", "_session", "message", "receiving",
        "welcome",
    )  # fmt: skip

    def __init__(self, session: SmtpSession, message: MessageWork) -> None:
        self._session = session
        self.message = message
        self.receiving = False
        # What MAIL is answered with, where that is more than usual.
        self.welcome: Reply | None = None
        self._intake: Intake | None = None
        self._early: Outcome | None = None
        self._failure: Reply | None = None
        self._header_wanted = False
        self._seam = b""
        # Where the client takes a reply for each recipient: who was named by each accepted RCPT.
        self._named: list[str] = []
        self._refused: tuple[Refused, ...] = ()
        self._any_size = not session.connection.settings.wire.limits.asks_size

    def too_big(self, size: int) -> bool:
        """Whether sinks are to be asked about this many octets: more than the limit, and nobody has allowed it yet."""
        limit = self._session.connection.settings.wire.limits.message_size
        return not self._any_size and 0 < limit < size

    def ask_size(self, size: int, then: Callable[[Outcome | None], Step]) -> Step:
        """Asks sinks about a message above the limit; ``then`` is given the refusal, or None when it may come."""
        session, chain = self._session, self._session.bindings.chain(MaxMessageSize)

        def settle(outcome: Outcome) -> Step:
            self._any_size = isinstance(outcome.verdict, Allow)
            return then(None if self._any_size else outcome if outcome.verdict is not None else Outcome(_TOO_BIG, "server"))

        limit = session.connection.settings.wire.limits.message_size
        return session.ask(MaxMessageSize(session.facts(), size, limit), chain, settle)

    def abort(self) -> None:
        """Gives up what came of the content."""
        if self._intake is not None:
            self._intake.abort()
            self._intake = None

    def on_rcpt(self, asked: wire.Rcpt) -> Step:
        """RCPT: the recipient joins the envelope when the sinks agree."""
        session = self._session
        chain = session.bindings.chain(events.RcptTo)
        host, guard = session.connection.host, session.connection.settings.guard
        client = host.client_of(session.connection)
        too_many = host.guard.recipient(client, session.work, guard)
        if too_many is not None:
            session.refused(too_many, asked.line)
            return None
        event = events.RcptTo(session.facts(), asked.recipient)

        def settle(outcome: Outcome) -> Step:
            if is_unknown(outcome):
                session.work.unknown += 1
                outcome = host.guard.unknown(client, session.work, guard, session.work.unknown) or outcome
            if session.refused(outcome, asked.line):
                return None
            recipients, named = self.message.record.envelope.recipients, event.work.original
            same = next((r for r in recipients if r.address == event.work.address), None)
            if isinstance(outcome.verdict, v.Discard):
                named = ""
                address = str(event.work.address)
                session.log.info("recipient discarded", message=self.message.record.id, to=address, by=outcome.by)
            elif same is None:
                recipients.append(event.work)
            else:
                named = same.original
            if session.machine.answers_each:
                self._named.append(named)
            session.machine.accept()
            return None

        return session.ask(event, chain, settle) if chain else settle(PROCEED)

    def on_data_start(self, asked: wire.DataStart) -> Step:
        """DATA, or the first BDAT."""
        session = self._session
        if session.connection.host.memory.is_full:
            session.refused(Outcome(_NO_MEMORY, "server"), asked.line)
            if asked.bdat:
                session.end_transaction()
            return None

        def settle(outcome: Outcome) -> Step:
            if session.refused(outcome, asked.line):
                if asked.bdat:
                    session.end_transaction()
                return None
            record, tls, settings = self.message.record, session.work.tls, session.connection.settings
            hidden = settings.hide_client and bool(record.user)
            prefix = received_field(record, session.services.server.hostname, session.base, tls, hidden=hidden)
            self._intake = Intake(session.services.spool, prefix, session.connection.settings.in_memory, session.connection.host.memory)
            self._header_wanted = bool(session.bindings.chain(events.EndOfHeaders))
            self._seam = prefix[-2:]
            self.receiving = True
            session.machine.accept()
            return None

        chain = session.bindings.chain(events.Data)
        return session.ask(events.Data(session.facts()), chain, settle) if chain else settle(PROCEED)

    def on_chunk(self, chunk: wire.Chunk) -> Step:
        """Content octets."""
        intake = self._intake
        if intake is None or self._early is not None or self._failure is not None:
            return None
        full = intake.add(chunk.data)
        if not self._any_size and self.too_big(intake.came):
            return self.ask_size(intake.came, lambda refusal: self._size_judged(refusal, intake, chunk, full))
        return self._go_on(intake, chunk, full)

    def _size_judged(self, refusal: Outcome | None, intake: Intake, chunk: wire.Chunk, full: bool) -> Step:
        if refusal is None:
            return self._go_on(intake, chunk, full)
        # The reply to content can only be given after it: what still comes is not kept.
        self._early = refusal
        intake.abort()
        return None

    def _go_on(self, intake: Intake, chunk: wire.Chunk, full: bool) -> Step:
        if self._header_wanted:
            # Only what is new is looked at, or many small pieces would cost the square of their number.
            seam = self._seam + chunk.data
            self._seam = seam[-3:]
            if b"\r\n\r\n" in seam:
                return self._header_complete(intake.start(), full)
            if intake.size >= LOOKED_AT:
                self._failure = _LONG_HEADER
                intake.abort()
                return None
        return self._flush(intake) if full else None

    def _header_complete(self, start: bytes, full: bool) -> Step:
        self._header_wanted = False
        session, intake = self._session, self._intake
        assert intake is not None
        self.message.content, self.message.complete = MemoryContent(start), False

        def settle(outcome: Outcome) -> Step:
            if isinstance(outcome.verdict, v.Disconnect):
                session.refused(outcome, "")
            elif outcome.verdict is not None:
                # The reply to content can only be given after it: what still comes is not kept.
                self._early = outcome
                intake.abort()
            return self._flush(intake) if full and self._early is None else None

        return session.ask(events.EndOfHeaders(session.facts()), session.bindings.chain(events.EndOfHeaders), settle)

    async def _flush(self, intake: Intake) -> None:
        try:
            await intake.flush()
        except StorageUnavailable as error:
            self._cannot_store(error)
            intake.abort()

    def _cannot_store(self, error: BaseException) -> Reply:
        """Notes why, and what the client hears: nothing of why."""
        self._failure = _FULL if isinstance(error, StorageFull) else _BROKEN
        why = f"{type(error).__name__}: {error}"
        self._session.log.error("message cannot be stored", message=self.message.record.id, error=why)
        return self._failure

    def on_content_end(self, asked: wire.ContentEnd) -> Step:
        """The content is complete, or broke a rule."""
        self.receiving = False
        intake = self._intake
        assert intake is not None
        refusal = asked.refusal or self._failure
        if refusal is not None:
            self._end_refused(refusal)
            return None
        if self._early is not None:
            return self._settle(self._early)
        if self._header_wanted:
            # There was no empty line: all of it is header.
            step = self._header_complete(intake.start(), False)
            return self.on_content_end(asked) if step is None else _then(step, lambda: self.on_content_end(asked))
        if intake.spilled:
            return self._finish_spilled(intake)
        return self._complete(intake.content())

    def _end_refused(self, refusal: Reply) -> None:
        session = self._session
        session.note_refusal(END_OF_DATA, refusal, "server")
        session.machine.refuse(refusal)
        session.end_transaction()

    async def _finish_spilled(self, intake: Intake) -> None:
        try:
            content = await intake.finish()
        except StorageUnavailable as error:
            self._end_refused(self._cannot_store(error))
            return
        step = self._complete(content)
        if step is not None:
            await step

    def _complete(self, content: Content) -> Step:
        """The whole content is here: the last moment to refuse it."""
        session, record = self._session, self.message.record
        self.message.content, self.message.complete = content, True
        record.size = content.size
        if self._is_looping(content):
            return self._settle(Outcome(_LOOPING, "server"))
        unwanted = self._solicits()
        if unwanted is not None:
            return self._settle(unwanted)
        chain = session.bindings.chain(events.EndOfData)
        if not chain:
            return self._settle(PROCEED)
        event = events.EndOfData(session.facts(), session.machine.answers_each)

        def settle(outcome: Outcome) -> Step:
            self._refused = event.refused
            return self._settle(outcome)

        return session.ask(event, chain, settle)

    def _solicits(self) -> Outcome | None:
        session = self._session
        if not session.connection.settings.wire.limits.no_soliciting:
            return None
        return refuses_header(session, [field.plain for field in self.message.section().named("Solicitation")])

    def _is_looping(self, content: Content) -> bool:
        """RFC 5321 §6.3: counting Received fields "has proven to be an effective, although rarely optimal, method" of finding loops."""
        start = content.read(0, LOOKED_AT)
        end = start.find(b"\r\n\r\n")
        return start[: end if end >= 0 else None].lower().count(b"\nreceived:") >= self._session.connection.settings.hops

    def _settle(self, outcome: Outcome) -> Step:
        session, message = self._session, self.message
        if self._refused and (outcome.verdict is None or isinstance(outcome.verdict, v.Discard | v.Quarantine)):
            outcome = self._refuse_some(outcome)
        verdict = outcome.verdict
        if message.forks and not message.record.envelope.recipients:
            # Sinks moved all recipients to copies: the first of them takes the message's place.
            first, *others = message.forks
            message.forks, first.forks = [], [*others, *first.forks]
            message = self.message = first
        if session.refused(outcome, END_OF_DATA):
            session.end_transaction()
        elif isinstance(verdict, v.Discard) or not message.record.envelope.recipients:
            reason = getattr(verdict, "reason", "") or f"all recipients were {'refused' if self._refused else 'discarded'}"
            session.log.info("discarded", message=message.record.id, by=outcome.by, reason=reason)
            self._answer()
            session.end_transaction()
        else:
            held = (verdict.reason or "quarantined") if isinstance(verdict, v.Quarantine) else ""
            if held:
                session.log.info("quarantined", message=message.record.id, by=outcome.by, reason=held)
            # From here on the message is the spool's: not even a lost connection gives it up.
            intake, self._intake = self._intake, None
            assert intake is not None
            session.connection.wait()
            session.services.transport.accept(message, lambda error: self._durable(error, intake), held)
        return None

    def _refuse_some(self, outcome: Outcome) -> Outcome:
        """Sinks refused single recipients; what becomes of the others."""
        session = self._session
        for recipient, verdict, by in self._refused:
            session.note_refusal(f"{END_OF_DATA} for <{recipient.original}>", verdict.reply, by)
        if session.machine.answers_each:
            return outcome
        return one_for_all(self._refused, self.message) or outcome

    def _answer(self) -> None:
        """Says yes: once, or to each recipient that was not refused."""
        machine, queued = self._session.machine, Reply(250, "2.0.0", f"Ok: queued as {self.message.record.id}")
        if self._refused and machine.answers_each:
            machine.answer_each(*one_for_each(self._named, self._refused, queued))
        else:
            machine.accept(queued)

    def _durable(self, error: BaseException | None, intake: Intake) -> None:
        """The message is on stable storage, or is not going to be; the client, if it is still there, is told so."""
        session = self._session
        connected = not session.connection.is_lost
        # Without effect on what was committed; but a sink may have put another content in its place.
        intake.abort()
        if error is not None:
            reply = self._cannot_store(error)
            if connected:
                self._end_refused(reply)
                session.connection.proceed()
            return
        session.transaction = None
        session.work.messages += 1
        session.work.forwarded = {}
        self._log_accepted()
        if connected:
            self._answer()
            session.connection.proceed()
        chain = session.bindings.chain(events.Accepted)
        if chain:
            facts = Facts(session.services.server, session.work, self.message)
            session.services.dispatcher.tell(events.Accepted(facts, MessageSnapshot.of(self.message)), chain)

    def _log_accepted(self) -> None:
        session, record = self._session, self.message.record
        session.services.log.info(
            "accepted",
            message=record.id,
            session=session.work.id,
            client=session.work.client_ip,
            helo=session.work.helo,
            sender=str(record.envelope.sender),
            recipients=len(record.envelope.recipients),
            size=record.size,
        )


async def _then(first: Coroutine[Any, Any, None], second: Callable[[], Step]) -> None:
    await first
    step = second()
    if step is not None:
        await step
