"""A message's way from acceptance to its last recipient.

Every step that must not be lost is one atomic group in the spool: the message at its new stage, with its edits and the copies that
sinks split off; or what is left of it after deliveries, with the report about what failed. A step that nobody is bound to and that
changed nothing is not recorded, since a restart would only repeat nothing.

Where all bindings answer at once the whole way is one plain call: no task, no coroutine. ``Dispatcher.ask_then`` is where the two worlds
meet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from ..errors import StorageUnavailable
from ..events.binding import Bindings
from ..events.catalog import Event, Submission
from ..events.dispatch import Dispatcher, Outcome, Step
from ..events.verdict import Bounce, Defer, Drop, Quarantine, Reject
from ..events.work import Backplane, Facts, MessageWork
from ..mail.message import decode_record, encode_record
from ..observe.log import Log
from ..queue.policy import RetryPolicy
from ..queue.scheduler import Job, Scheduler, SchedulerSettings
from ..storage.base import Change, Entry, Put, Remove, Spool
from .deliver import Deliveries
from .settle import Settler
from .stage import Stage, move


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How transport behaves.

    Args:
        retry: when deferred mail is tried again.
        scheduler: how much at once.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)


@dataclass(frozen=True, slots=True)
class Parts:
    """What transport works with; put together by the composition root."""

    server: Backplane
    spool: Spool
    dispatcher: Dispatcher
    log: Log


class Transport:
    """Takes messages, runs the sinks of each stage, and sees to it that every recipient is served.

    Args:
        parts: what it works with.
        bindings: the bindings of the present generation.
        settings: how it behaves.
    """

    def __init__(self, parts: Parts, bindings: Bindings, settings: TransportSettings) -> None:
        self._parts = parts
        self._spool = parts.spool
        self._bindings = bindings
        self._scheduler = Scheduler(parts.spool, self._run, parts.server.now, parts.log, settings.scheduler)
        self._settler = Settler(parts, settings.retry, self._scheduler)
        self._deliveries = Deliveries(parts, bindings, self._settler.settle)
        self._started = parts.server.now()

    def start(self) -> None:
        """Begins with what the spool kept from before."""
        self._scheduler.wake()

    async def stop(self, seconds: float) -> None:
        """Begins nothing more, and waits so long for what is under way."""
        await self._scheduler.stop(seconds)

    def accept(self, work: MessageWork, done: Callable[[BaseException | None], None], held: str = "") -> None:
        """Makes a message durable, tells ``done`` (None, or why it failed), and only then goes on with it.

        Args:
            work: the message with its content.
            done: called once, on the loop.
            held: why the message is to be kept without going on; "" to go on.
        """
        record = work.record
        work.content_id = record.id
        forks, work.forks = work.forks, []
        changes = [Put(_entry(work, held), work.content), *(self._keep_fork(fork, work, held) for fork in forks)]
        work.dirty = work.rewritten = False
        self._scheduler.expect(record.id)

        def durable(future: asyncio.Future[None]) -> None:
            error = StorageUnavailable("the server is stopping") if future.cancelled() else future.exception()
            try:
                done(error)
            finally:
                self._accepted(work, bool(forks), error is None and not held)

        self._spool.commit(changes).add_done_callback(durable)

    def _accepted(self, work: MessageWork, forked: bool, going_on: bool) -> None:
        if not going_on:
            self._scheduler.forget(work.record.id)
            return
        self._scheduler.offer(work)
        if forked:
            self._scheduler.soon(self._parts.server.now())

    def _keep_fork(self, fork: MessageWork, parent: MessageWork, held: str) -> Put:
        """A copy that a sink split off before the message was accepted; it shares the content unless it was given another."""
        shared = fork.content is parent.content
        fork.content_id = parent.content_id if shared else fork.record.id
        return Put(_entry(fork, held), None if shared else fork.content)

    async def submit(self, work: MessageWork) -> str:
        """Takes a message from a sink; its id, when it is durable. Raises StorageUnavailable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: BaseException | None) -> None:
            if future.done():
                return
            if error:
                future.set_exception(error)
            else:
                future.set_result(None)

        self.accept(work, done)
        await future
        return work.record.id

    def _run(self, job: Job) -> Step:
        """Goes on with a message: one just accepted, or one read back from the spool."""
        if isinstance(job, MessageWork):
            return self._submission(job)
        current = self._spool.get(job.id)
        if current is None or current.held:
            return None
        record = decode_record(current.record)
        work = MessageWork(record, self._spool.content(current), current.content)
        if Stage(current.stage) is Stage.ROUTED:
            return self._deliveries.start(work)
        if record.received < self._started and not current.due:
            # Another process may have begun this stage: let sinks see that. A deferral has counted itself.
            record.attempt += 1
            self._spool.append([self._put(work, {})])
        return self._submission(work)

    def _submission(self, work: MessageWork) -> Step:
        return self._ask(Submission(self._facts(work), work.record.attempt + 1), lambda outcome: self._submitted(work, outcome))

    def _ask(self, event: Event, then: Callable[[Outcome], Step]) -> Step:
        return self._parts.dispatcher.ask_then(event, self._bindings.chain(type(event)), then)

    def _submitted(self, work: MessageWork, outcome: Outcome) -> Step:
        """The Submission stage of a message is over; that of its copies is not, and the step is only complete with them."""
        if not work.forks:
            return self._conclude([(work, outcome)])
        return self._submit_forks(work, outcome)

    async def _submit_forks(self, work: MessageWork, outcome: Outcome) -> None:
        concluded, waiting = [(work, outcome)], work.forks
        work.forks, work.dirty = [], True
        while waiting:
            fork = waiting.pop(0)
            fork.dirty = True
            chain = self._bindings.chain(Submission)
            answer = self._parts.dispatcher.ask(Submission(self._facts(fork)), chain)
            concluded.append((fork, answer if isinstance(answer, Outcome) else await answer))
            waiting, fork.forks = [*waiting, *fork.forks], []
        step = self._conclude(concluded)
        if step is not None:
            await step

    def _conclude(self, concluded: list[tuple[MessageWork, Outcome]]) -> Step:
        """Records a message and its copies after Submission, all in one group, and goes on with those that go on."""
        changes: list[Change] = []
        contents: dict[int, str] = {}
        going_on = None
        for work, outcome in concluded:
            verdict = outcome.verdict
            if isinstance(verdict, Reject):  # a sink that failed with on_error = "reject"
                verdict = Bounce("5.3.0", "The mail system failed")
            if verdict is None:
                if work.dirty or len(concluded) > 1:
                    changes.append(self._put(work, contents, Stage.ROUTED))
                if work is concluded[0][0]:
                    going_on = work
                else:
                    # A copy is taken up from the spool like any other message, so that only one place ever starts it.
                    self._scheduler.soon(self._parts.server.now())
            elif isinstance(verdict, Drop):
                self._log_end(work, "dropped", outcome, verdict.reason)
                changes.append(Remove(work.record.id))
            elif isinstance(verdict, Quarantine):
                self._log_end(work, "quarantined", outcome, verdict.reason)
                changes.append(self._put(work, contents, held=verdict.reason or "quarantined"))
            elif isinstance(verdict, Bounce):
                self._log_end(work, "bounced", outcome, verdict.text)
                changes += self._settler.bounce_all(work, verdict)
            else:
                assert isinstance(verdict, Defer)
                changes += self._defer(work, contents, outcome, verdict)
        if changes:
            self._spool.append(changes)
        return self._deliver(going_on) if going_on is not None else None

    def _defer(self, work: MessageWork, contents: dict[int, str], outcome: Outcome, verdict: Defer) -> list[Change]:
        due = self._settler.next_due(work.record, verdict)
        if due is None:
            return self._settler.bounce_all(work, Bounce("4.4.7", "The message waited for too long"))
        work.record.attempt += 1
        work.record.deferrals += 1
        self._log_end(work, "deferred", outcome, verdict.text, until=due)
        self._scheduler.soon(due)
        return [self._put(work, contents, due=due)]

    def _deliver(self, work: MessageWork) -> Step:
        work.record.done, work.record.attempt = [], 0
        if not work.record.envelope.recipients:
            self._parts.log.info("no recipient is left", message=work.record.id)
            self._spool.append([Remove(work.record.id)])
            return None
        return self._deliveries.start(work)

    def _put(self, work: MessageWork, contents: dict[int, str], stage: Stage = Stage.SUBMITTED, due: float = 0.0, held: str = "") -> Put:
        """The change that keeps a message at a stage; ``contents`` knows which new contents this group of changes keeps already."""
        move(Stage.SUBMITTED, stage)
        record, content = work.record, None
        if work.rewritten:
            known = contents.get(id(work.content))
            if known is None:
                known, content = self._parts.server.new_id(), work.content
                contents[id(work.content)] = known
            work.content_id = known
        if stage is Stage.ROUTED:
            record = msgspec.structs.replace(record, done=[], attempt=0, deferrals=0)
        work.dirty = work.rewritten = False
        return Put(Entry(record.id, stage.value, encode_record(record), work.content_id, "", due, held), content)

    def _facts(self, work: MessageWork) -> Facts:
        return Facts(self._parts.server, None, work)

    def _log_end(self, work: MessageWork, what: str, outcome: Outcome, reason: str, **more: object) -> None:
        self._parts.log.info(what, message=work.record.id, by=outcome.by, reason=reason, stage="submission", **more)


def _entry(work: MessageWork, held: str) -> Entry:
    return Entry(work.record.id, Stage.SUBMITTED.value, encode_record(work.record), work.content_id, "", 0.0, held)
