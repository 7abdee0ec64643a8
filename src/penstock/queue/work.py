"""Transport work: which messages are between two stages, what waits in memory for its turn, and what waits in the spool.

A bounded set is active; a bounded number more wait in memory, so that fresh mail is not read back from disk; all the rest is only in the
spool, however much it is, and comes when there is room and its time. Rejected: one list of everything in memory, which a backlog fills.
Here are the entries without a queue; those that are routed belong to ``destinations``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from ..errors import SpoolDamaged, StorageDamaged
from ..events.work import MessageWork
from ..observe.log import Log
from ..storage.base import Put, Spool
from .alarm import Alarm
from .job import Job, size_of

# How long a message rests on which our own code failed.
BROKEN_WAIT = 300.0
# How long cancelled work may take to end.
LAST_WAIT = 1.0
# What has no queue is transport's.
NO_QUEUE = ""
# How long after a look the next one is at the earliest that is only for what is in the spool: what is worked on counts as due there.
PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Work:
    """What transport does, and with what.

    Args:
        run: works on one message: at once (None), or in the coroutine it returns.
        now: the present time in seconds since 1970.
        damaged: called with what is wrong when the spool's index is damaged.
        routed: called with the queue and the due time of a message that turns out to be in a queue already.
    """

    run: Callable[[Job], Coroutine[Any, Any, None] | None]
    now: Callable[[], float]
    damaged: Callable[[str], None]
    routed: Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """How much at once.

    Args:
        active: messages worked on at the same time.
        ready: messages that wait in memory for their turn.
        ready_octets: octets of content that wait in memory.
    """

    active: int
    ready: int
    ready_octets: int


class TransportWork:
    """Starts work on messages when there is room and their time has come.

    Args:
        spool: where all messages are.
        work: what is to be done with them.
        log: where an error in it is written.
        limits: how much at once.
    """

    def __init__(self, spool: Spool, work: Work, log: Log, limits: WorkLimits) -> None:
        self._spool = spool
        self._work = work
        self._log = log
        self._limits = limits
        self._known: set[str] = set()
        self._active = 0
        self._ready: deque[tuple[str, Job, int]] = deque()
        self._ready_octets = 0
        self._alarm = Alarm(work.now, self.wake)
        self._backlog = False
        self._stopped = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def expect(self, message_id: str) -> None:
        """Tells of a message that is about to be in the spool and will be offered: nothing else may start it meanwhile."""
        self._known.add(message_id)

    def forget(self, message_id: str) -> None:
        """Tells that an expected message will not be offered."""
        self._known.discard(message_id)

    def offer(self, work: MessageWork) -> None:
        """Takes a message that is in the spool and due now, and that was expected."""
        if self._stopped:
            return
        if self._active < self._limits.active and not self._ready:
            self._start(work.record.id, work)
        elif len(self._ready) < self._limits.ready and self._ready_octets < self._limits.ready_octets:
            size = size_of(work)
            self._ready.append((work.record.id, work, size))
            self._ready_octets += size
        else:
            self._known.discard(work.record.id)
            self._backlog = True

    def wake(self) -> None:
        """Looks into the spool for what is due."""
        self._alarm.cancel()
        if self._stopped:
            return
        if self._active >= self._limits.active or self._ready:
            self._backlog = True  # there is no room now: who ends next looks again
            return
        self._backlog = False
        wanted = self._limits.active
        try:
            found = self._spool.due(self._work.now(), len(self._known) + wanted, NO_QUEUE)
        except SpoolDamaged as error:
            self._work.damaged(str(error))
            return
        fresh = [entry for entry in found if entry.id not in self._known][:wanted]
        self._backlog = len(fresh) == wanted
        for entry in fresh:
            self._known.add(entry.id)
            self._ready.append((entry.id, entry, 0))
        self._fill()
        if not self._backlog:
            self._sleep()
        elif not self._active:
            asyncio.get_running_loop().call_soon(self.wake)

    def close(self) -> None:
        """Starts nothing more."""
        self._stopped = True
        self._alarm.cancel()
        self._ready.clear()

    def is_active(self, message_id: str) -> bool:
        """True when a message is expected, or worked on just now."""
        return message_id in self._known and not any(item[0] == message_id for item in self._ready)

    def withdraw(self, message_id: str) -> bool:
        """Takes a message out of memory that waits there; False when it is expected, or worked on just now."""
        found = next((item for item in self._ready if item[0] == message_id), None) if message_id in self._known else None
        if found is not None:
            self._ready.remove(found)
            self._ready_octets -= found[2]
            self._known.discard(message_id)
        return message_id not in self._known

    async def stop(self, seconds: float) -> None:
        """Starts nothing more and waits for what is active, at most so long; what did not end stays in the spool as it was recorded."""
        self.close()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            tasks = set(self._tasks)
            for task in tasks:
                task.cancel()
            if tasks:  # nobody should work on when the spool is closed next; who ignores it is left behind
                await asyncio.wait(tasks, timeout=LAST_WAIT)

    def _sleep(self) -> None:
        """Sets the timer for what is due next; what is known is on its way and counts no more."""
        try:
            due = self._spool.next_due(NO_QUEUE)
        except SpoolDamaged as error:
            self._work.damaged(str(error))
            return
        if due is not None and not self._stopped:
            self._alarm.set(max(due, self._work.now() + PAUSE))

    def soon(self, due: float) -> None:
        """Tells that a message will be due at this time."""
        if not self._stopped:
            self._alarm.set(due)

    def _fill(self) -> None:
        while self._ready and self._active < self._limits.active and not self._stopped:
            message_id, job, size = self._ready.popleft()
            self._ready_octets -= size
            self._start(message_id, job)

    def _start(self, message_id: str, job: Job) -> None:
        self._active += 1
        self._idle.clear()
        self._known.add(message_id)
        try:
            waiting = self._work.run(job)
        except Exception as error:
            waiting = None
            self._ended(message_id)
            self._broke(message_id, error)
            return
        if waiting is None:
            self._ended(message_id)
            return
        task = asyncio.get_running_loop().create_task(self._wait(message_id, waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, message_id: str, waiting: Coroutine[Any, Any, None]) -> None:
        try:
            await waiting
        except Exception as error:
            self._broke(message_id, error)
        finally:
            # Whatever happened, its place is free again.
            self._ended(message_id)
            self._fill()
            if self._backlog and not self._ready:
                self.wake()

    def _ended(self, message_id: str) -> None:
        self._active -= 1
        self._known.discard(message_id)
        if not self._active:
            self._idle.set()

    def _broke(self, message_id: str, error: Exception) -> None:
        """An error of ours: the message stays in the spool, out of the way, so that it neither is lost nor spins."""
        self._log.error("message could not be worked on", message=message_id, error=f"{type(error).__name__}: {error}", exc_info=error)
        try:
            if isinstance(error, SpoolDamaged):
                raise error
            entry = self._spool.get(message_id)
        except SpoolDamaged as damage:
            self._work.damaged(str(damage))
            return
        if entry is not None and entry.queue != NO_QUEUE:
            self._work.routed(entry.queue, entry.due)  # what failed came after the step that took it there
        elif entry is not None:
            held = f"damaged: {error}" if isinstance(error, StorageDamaged | msgspec.DecodeError) else entry.held
            again = msgspec.structs.replace(entry, due=self._work.now() + BROKEN_WAIT, held=held)
            self._spool.append([Put(again)])
            self.soon(again.due)
