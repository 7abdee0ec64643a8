"""Answers the questions of the control socket with what a worker can do; knows no socket.

Every answer but that to ``Lend`` ends soon: a page is bounded by its length and by time, and the next one is another question.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal

from ..delivery.lending import Lent
from ..errors import StorageDamaged, StorageError
from ..mail.content import chunks
from ..observe.log import Log
from . import ages, describing
from .operations import Came, Operations
from .protocol import (
    MAX_PAGE,
    PIECE,
    Answer,
    AnyQuestion,
    AskStatus,
    CatMessage,
    Changed,
    ChangeMessages,
    ControlError,
    CountAges,
    CountQueues,
    Data,
    Done,
    Flush,
    Lend,
    ListDestinations,
    ListMessages,
    QueueRow,
    ResetRoutes,
    Resume,
    ShowMessage,
    Suspend,
)
from .protocol_bindings import ChangeBinding, ListBindings, Reload
from .protocol_trace import AskTracing
from .selecting import Kept, Scan

_RESULTS: dict[Came, Literal["done", "later", "already"]] = {Came.DONE: "done", Came.LATER: "later", Came.ALREADY: "already"}
# In one page a change is made to so many messages: each may write a report.
CHANGES = 200
Answers = AsyncIterator[Answer]


class Administration:
    """What one user is answered.

    Args:
        operations: the worker.
        log: where changes are noted.
        user: who asks, for the log.
    """

    def __init__(self, operations: Operations, log: Log, user: str) -> None:
        self._operations = operations
        self._log = log
        self._user = user

    async def answer(self, question: AnyQuestion) -> Answers:
        """The lines of the answer, the last of them a Done. Raises ControlError when there is none."""
        try:
            async for line in self._answer(question):
                yield line
        except StorageDamaged as error:
            raise ControlError("data", str(error)) from error
        except StorageError as error:
            raise ControlError("later", str(error)) from error

    async def _answer(self, question: AnyQuestion) -> Answers:
        if isinstance(question, ListMessages):
            lines = self._list(question)
        elif isinstance(question, ChangeMessages):
            lines = self._change(question)
        elif isinstance(question, CountAges):
            lines = ages.count(self._operations, question.cursor)
        elif isinstance(question, ShowMessage | CatMessage):
            lines = self._one(question)
        else:
            for line in await self._at_once(question):
                yield line
            return
        async for line in lines:
            yield line

    async def _list(self, question: ListMessages) -> Answers:
        scan = Scan(self._operations, question.filter, question.cursor, min(max(question.limit, 1), MAX_PAGE))
        async for kept in scan:
            yield describing.row(kept, self._operations)
        yield Done(cursor=scan.cursor)

    async def _one(self, question: ShowMessage | CatMessage) -> Answers:
        entry = self._operations.get(question.id.upper())
        if entry is None:
            raise ControlError("unknown", f"there is no message {question.id[:40]!r}")
        kept = Kept.of(entry, self._operations)
        if isinstance(question, ShowMessage):
            yield describing.detail(kept, self._operations)
        else:
            for piece in chunks(describing.content(kept, self._operations), PIECE):
                yield Data(piece)
        yield Done()

    async def _change(self, question: ChangeMessages) -> Answers:
        if question.action == "reroute" and not question.next_hop:
            raise ControlError("usage", "a reroute needs a next hop")
        scan = Scan(self._operations, question.filter, question.cursor, CHANGES)
        count = 0
        async for kept in scan:
            changed = await self._change_one(question, kept.entry.id)
            if changed is not None:
                count += changed.result in ("done", "later")
                yield changed
        # What was told is kept: the next line is believed, and may be acted on.
        await self._operations.settled()
        yield Done(cursor=scan.cursor, count=count)

    async def _change_one(self, question: ChangeMessages, entry_id: str) -> Changed | None:
        """What came of the change of one message; None when it is gone meanwhile, which is nobody's fault."""
        try:
            came = await self._carry_out(question, entry_id)
        except (ValueError, StorageDamaged) as error:
            return Changed(entry_id, "failed", str(error))
        if came is Came.UNKNOWN:
            return None
        if came is not Came.ALREADY:
            more = {"next_hop": question.next_hop} if question.action == "reroute" else {}
            self._log.info("changed by an administrator", message=entry_id, action=question.action, user=self._user, **more)
        return Changed(entry_id, _RESULTS[came])

    async def _carry_out(self, question: ChangeMessages, entry_id: str) -> Came:
        action, operations = question.action, self._operations
        if action == "hold":
            return await operations.hold(entry_id, question.text or "held by an administrator")
        if action == "bounce":
            return await operations.bounce(entry_id, question.text)
        if action == "reroute":
            return await operations.reroute(entry_id, question.next_hop)
        plain = {"release": operations.release, "retry": operations.retry, "remove": operations.remove}
        return await plain[action](entry_id)

    async def _at_once(self, question: AnyQuestion) -> Sequence[Answer]:
        """The answers that need no pages."""
        operations = self._operations
        if isinstance(question, ListBindings | Reload | ChangeBinding):
            return await self._of_bindings(question)
        if isinstance(question, AskTracing):
            return await self._of_tracing(question)
        if isinstance(question, CountQueues):
            return [*self._queues(), Done()]
        if isinstance(question, ListDestinations):
            return [*operations.destinations(), Done()]
        if isinstance(question, AskStatus):
            return [operations.status(), Done()]
        if isinstance(question, Flush):
            return [Done(count=self._noted("flush", question.queue, operations.flush(question.queue)))]
        if isinstance(question, Lend):
            lent = await operations.lend(question.queue, question.path)
            if lent is Lent.LOST:
                raise ControlError("later", "the connection was lost")
            return [Done(count=int(lent is Lent.KEPT))]
        if isinstance(question, ResetRoutes):
            return [Done(count=self._noted("reset routes", "", await operations.reset_routes()))]
        if isinstance(question, Suspend):
            until = None if question.seconds is None else operations.now() + question.seconds
            known = operations.suspend(question.queue, until, question.reason or "suspended by an administrator")
            return [Done(count=self._noted("suspend", question.queue, known))]
        if isinstance(question, Resume):
            return [Done(count=self._noted("resume", question.queue, operations.resume(question.queue)))]
        raise ControlError("usage", "this question cannot be answered here")

    async def _of_tracing(self, question: AskTracing) -> Sequence[Answer]:
        tracing = self._operations.tracing
        if tracing is None:
            raise ControlError("usage", "this server's tracing cannot be asked about")
        row = await tracing.ask(question)
        if question.action != "ask":
            self._log.info("tracing changed by an administrator", action=question.action, match=question.match, user=self._user)
        return [row, Done()]

    async def _of_bindings(self, question: ListBindings | Reload | ChangeBinding) -> Sequence[Answer]:
        bindings = self._operations.bindings
        if bindings is None:
            raise ControlError("usage", "this server's bindings cannot be asked about")
        if isinstance(question, ListBindings):
            return [*bindings.rows(), Done()]
        if isinstance(question, Reload):
            self._log.info("reload asked for", user=self._user)
            return [await bindings.reload(question.refused), Done()]
        changed = await bindings.change(question, self._user)
        return [changed, await bindings.reload(), Done()]

    def _noted(self, action: str, queue: str, count: int) -> int:
        if count:
            self._log.info("queues changed by an administrator", action=action, queue=queue, count=int(count), user=self._user)
        return int(count)

    def _queues(self) -> Sequence[Answer]:
        source = self._operations
        counts = sorted(source.census().items())
        return [QueueRow(queue, had.entries, had.held, _received(source, had.oldest), source.worker) for queue, had in counts]


def _received(source: Operations, entry_id: str) -> float:
    entry = source.get(entry_id) if entry_id else None
    record = Kept.of(entry, source).record if entry is not None else None
    return record.received if record is not None else 0.0
