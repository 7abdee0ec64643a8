"""What is worked on now, what waits in memory, and what waits in the spool.

A bounded set is active; a bounded number more wait in memory, so that fresh mail is not read back from disk; all the rest is only in the
spool, however much it is, and comes when there is room and its time. Rejected: one list of everything in memory, which a backlog fills.
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
from ..storage.base import Entry, Put, Spool

Job = MessageWork | Entry
# How long to look the other way when nothing is due, at most: clocks may be set.
LONGEST_WAIT = 60.0
# How long a message rests on which our own code failed.
BROKEN_WAIT = 300.0
# How long cancelled work may take to end.
LAST_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How much at once.

    Args:
        active: messages worked on at the same time.
        ready: messages that wait in memory for their turn.
        ready_octets: octets of content that wait in memory.
        on_damage: called when the spool's index is damaged, so that the process starts anew.
    """

    active: int = 200
    ready: int = 2000
    ready_octets: int = 64 * 1024 * 1024
    on_damage: Callable[[], None] = lambda: None


class Scheduler:
    """Starts work on messages when there is room and their time has come.

    Args:
        spool: where all messages are.
        run: works on one message: at once (None), or in the coroutine it returns.
        now: the present time in seconds since 1970.
        log: where an error in ``run`` is written.
        settings: how much at once, and what to do when the spool's index is found damaged.
    """

    def __init__(
        self,
        spool: Spool,
        run: Callable[[Job], Coroutine[Any, Any, None] | None],
        now: Callable[[], float],
        log: Log,
        settings: SchedulerSettings,
    ) -> None:
        self._on_damage = settings.on_damage
        self._spool = spool
        self._run = run
        self._now = now
        self._log = log
        self._settings = settings
        self._known: set[str] = set()
        self._active = 0
        self._ready: deque[tuple[str, Job, int]] = deque()
        self._ready_octets = 0
        self._timer: asyncio.Handle | None = None
        self._wakes_at = 0.0
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
        if self._active < self._settings.active and not self._ready:
            self._start(work.record.id, work)
        elif len(self._ready) < self._settings.ready and self._ready_octets < self._settings.ready_octets:
            size = work.content.size if work.content else 0
            self._ready.append((work.record.id, work, size))
            self._ready_octets += size
        else:
            self._known.discard(work.record.id)
            self._backlog = True

    def wake(self) -> None:
        """Looks into the spool for what is due."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._stopped:
            return
        if self._active >= self._settings.active or self._ready:
            self._backlog = True  # there is no room now: who ends next looks again
            return
        self._backlog = False
        wanted = self._settings.active
        try:
            found = self._spool.due(self._now(), len(self._known) + wanted)
        except SpoolDamaged as error:
            self._damaged(str(error))
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

    def _damaged(self, what: str) -> None:
        """Nothing is lost, but what is due cannot be found: a new start of this process rebuilds the index."""
        self._log.error("the spool's index is damaged, restarting", what=what)
        self._stopped = True
        self._on_damage()

    async def stop(self, seconds: float) -> None:
        """Starts nothing more and waits for what is active, at most so long; what did not end stays in the spool as it was recorded."""
        self._stopped = True
        if self._timer:
            self._timer.cancel()
        self._ready.clear()
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
            due = self._spool.next_due()
        except SpoolDamaged as error:
            self._damaged(str(error))
            return
        if due is not None and not self._stopped:
            delay = min(max(due - self._now(), 1.0), LONGEST_WAIT)
            self._set_timer(asyncio.get_running_loop().time() + delay)

    def soon(self, due: float) -> None:
        """Tells that a message will be due at this time."""
        if not self._stopped:
            loop = asyncio.get_running_loop()
            when = loop.time() + min(max(due - self._now(), 0.0), LONGEST_WAIT)
            if self._timer is None or when < self._wakes_at:
                self._set_timer(when)

    def _set_timer(self, when: float) -> None:
        if self._timer:
            self._timer.cancel()
        # The time is kept here: uvloop's handle for a time that is past does not know it.
        self._wakes_at = when
        self._timer = asyncio.get_running_loop().call_at(when, self.wake)

    def _fill(self) -> None:
        while self._ready and self._active < self._settings.active and not self._stopped:
            message_id, job, size = self._ready.popleft()
            self._ready_octets -= size
            self._start(message_id, job)

    def _start(self, message_id: str, job: Job) -> None:
        self._active += 1
        self._idle.clear()
        self._known.add(message_id)
        try:
            waiting = self._run(job)
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
            self._damaged(str(damage))
            return
        if entry is not None:
            held = f"damaged: {error}" if isinstance(error, StorageDamaged | msgspec.DecodeError) else entry.held
            again = msgspec.structs.replace(entry, due=self._now() + BROKEN_WAIT, held=held)
            self._spool.append([Put(again)])
            self.soon(again.due)
