"""What is worked on now, what waits in memory, and what waits in the spool: transport's work and the destinations behind one door.

Entries without a queue are messages between two stages (``work``); the others are routed, and each waits for its destination
(``destinations``). The two share nothing but the spool: however much there is to deliver, messages are still taken and routed, and the
other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ..events.work import MessageWork
from ..observe.log import Log
from ..storage.base import Spool
from .destination import Destination
from .destinations import Destinations
from .job import Job
from .settings import DestinationSettings
from .work import TransportWork, Work, WorkLimits

__all__ = ["Job", "Scheduler", "SchedulerSettings"]


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How much at once.

    Args:
        active: messages that transport works on at the same time.
        ready: messages that wait in memory for that.
        ready_octets: octets of content that wait in memory for that.
        on_damage: called when the spool's index is damaged, so that the process starts anew.
        destinations: who serves what is routed, and how much of it at once.
    """

    active: int = 200
    ready: int = 2000
    ready_octets: int = 64 * 1024 * 1024
    on_damage: Callable[[], None] = lambda: None
    destinations: DestinationSettings = field(default_factory=DestinationSettings)


class Scheduler:
    """Starts work on messages, and lets destinations be served, when there is room and their time has come.

    Args:
        spool: where all messages are.
        run: works on one message between two stages: at once (None), or in the coroutine it returns.
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
        self._log = log
        self._stopped = False
        limits = WorkLimits(settings.active, settings.ready, settings.ready_octets)
        self._destinations = Destinations(spool, now, log, settings.destinations, self.damaged)
        self._work = TransportWork(spool, Work(run, now, self.damaged, self._destinations.later), log, limits)

    # Transport's work.

    def expect(self, message_id: str) -> None:
        """Tells of a message that is about to be in the spool and will be offered, or is dealt with elsewhere.

        Nothing may start it, and no destination takes it, until ``offer`` or ``forget``.
        """
        self._work.expect(message_id)
        self._destinations.stock.reserve(message_id)

    def forget(self, message_id: str) -> None:
        """Tells that an expected message will not be offered."""
        self._work.forget(message_id)
        self._destinations.release(message_id)

    def offer(self, work: MessageWork) -> None:
        """Takes a message that is in the spool and due now, and that was expected."""
        self._destinations.release(work.record.id)
        self._work.offer(work)

    def soon(self, due: float) -> None:
        """Tells that a message without a queue will be due at this time, in seconds since 1970."""
        self._work.soon(due)

    # Destinations.

    def enqueue(self, queue: str, job: Job, due: float = 0.0) -> None:
        """Tells of an entry that is in the spool under this queue: kept in memory when there is room, else read back when there is.

        Args:
            queue: the queue's name.
            job: the message with its content, or its entry.
            due: when it is wanted, in seconds since 1970, as the entry says.
        """
        self._destinations.enqueue(queue, job, due)

    def later(self, queue: str, due: float) -> None:
        """Tells that an entry of this queue will be due then, or is now: after it was put off, released, or brought here.

        Args:
            queue: the queue's name; "" does what ``soon`` does.
            due: in seconds since 1970.
        """
        if queue:
            self._destinations.later(queue, due)
        else:
            self._work.soon(due)

    def destinations(self) -> list[Destination]:
        """The destinations in memory: those with something to do, and those that back off or are suspended."""
        return self._destinations.all()

    def destination(self, name: str) -> Destination | None:
        """The destination of a queue, None when it is not in memory."""
        return self._destinations.get(name)

    def rest_of(self, queue: str) -> tuple[float, str]:
        """Until when nothing is taken from a queue, and why.

        Returns: seconds since 1970, 0 when it is worked on, infinite when somebody has to ask for it; and a reason, "" for none.
        """
        return self._destinations.rest_of(queue)

    def retry_now(self, queue: str) -> None:
        """Tries all that waits in a queue once, whatever its schedule, its back-off and the messages' due times say; not what is held.

        A suspension stays; what was asked for happens when it ends.
        """
        self._destinations.retry_now(queue)

    def suspend(self, queue: str, until: float | None, reason: str) -> None:
        """Takes nothing from a queue for a while; what is under way is finished. Not kept over a restart.

        Args:
            queue: the queue's name.
            until: in seconds since 1970; None for until ``resume``.
            reason: for administrators.
        """
        self._destinations.suspend(queue, until, reason)

    def resume(self, queue: str) -> None:
        """Ends a suspension."""
        self._destinations.resume(queue)

    def set_schedule(self, queue: str, schedule: str) -> None:
        """Gives a queue another schedule than its limits say, for as long as this process runs.

        Args:
            queue: the queue's name.
            schedule: as ``Schedule`` parses it.

        Raises: ValueError.
        """
        self._destinations.set_schedule(queue, schedule)

    # Both.

    def is_active(self, message_id: str) -> bool:
        """True when a message is worked on just now, or expected; not when it only waits in memory."""
        return self._work.is_active(message_id) or self._destinations.stock.is_active(message_id)

    def withdraw(self, message_id: str) -> bool:
        """Takes a message out of memory, before its entry in the spool is changed by someone else than who works on it.

        Returns: False when it is worked on just now: its entry must be left alone, since the outcome is going to replace it. After the
            change, ``later`` brings it back.
        """
        return self._work.withdraw(message_id) and self._destinations.stock.withdraw(message_id)

    def wake(self) -> None:
        """Looks into the spool for what is due; the first time for all queues there are."""
        self._work.wake()
        self._destinations.wake()

    async def stop(self, seconds: float) -> None:
        """Starts nothing more and waits for what is active, at most so long; what did not end stays in the spool as it was recorded."""
        self._stopped = True
        await asyncio.gather(self._work.stop(seconds), self._destinations.stop(seconds))

    def damaged(self, what: str) -> None:
        """Begins nothing more, as the spool's index is damaged: nothing is lost, and a new start of this process rebuilds it.

        Args:
            what: what is wrong, for the log.
        """
        self._work.close()
        self._destinations.close()
        if not self._stopped:
            self._stopped = True
            self._log.error("the spool's index is damaged, restarting", what=what)
            self._on_damage()
