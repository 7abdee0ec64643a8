"""All destinations of one worker: who is in memory, who may begin a session, and who is looked at when.

A queue without anything due is a name and a time here, however many messages it has. One with something due is an object; its messages come
from the spool when it is its turn, a bounded number at a time. One that cannot be reached has nothing in memory but the object, and one
that was idle for a while goes: then the spool is asked once more, so that a notice that somebody forgot to give is made good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from ..errors import SpoolDamaged
from ..observe.log import Log
from ..storage.base import Spool
from .destination import Carrier, Destination
from .job import Job
from .limits import DestinationLimits
from .schedule import Schedule
from .settings import NOBODY, DestinationSettings
from .stock import REMEMBERED, Stock
from .throttle import Standing
from .turns import Turns
from .wakes import Wakes

__all__ = ["DestinationSettings", "Destinations"]

# How many destinations are looked at, or given a session, before the loop does other things.
STEP = 500
# How long a destination without anything to do stays in memory.
IDLE = 30.0
# When a carrier is asked again that began no session.
ATTEND_AGAIN = 60.0
# How much longer than it was told a carrier may take to stop.
LAST_WAIT = 2.0


class Destinations:
    """Gives sessions and messages to destinations.

    Args:
        spool: where all messages are.
        now: the present time in seconds since 1970.
        log: where it is written that a destination cannot be set up.
        settings: how they are served.
        damaged: called with what is wrong when the spool's index is damaged.
    """

    def __init__(
        self,
        spool: Spool,
        now: Callable[[], float],
        log: Log,
        settings: DestinationSettings,
        damaged: Callable[[str], None],
    ) -> None:
        self.now = now
        self.stock = Stock(spool, settings.ready, settings.ready_each, settings.ready_octets)
        self.turns = Turns(settings.sessions, settings.reserved, settings.probing)
        self.wakes = Wakes(now, self.wake)
        self.idle: dict[asyncio.Future[bool], Destination] = {}
        self.stopped = False
        self._spool = spool
        self._log = log
        self._settings = settings
        self._damaged = damaged
        self._all: dict[str, Destination] = {}
        self._carriers: dict[int, Carrier] = {}
        self._schedules: dict[str, Schedule] = {}
        self._spreading = False
        self._evicting = False
        self._learned = False

    # What transport and administrators ask for.

    def enqueue(self, queue: str, job: Job, due: float) -> None:
        """Takes a message that is in the spool under this queue."""
        if self.stopped:
            return
        now = self.now()
        if due > now:
            self.wakes.at(queue, due)
            return
        destination = self._all.get(queue) or self._make(queue)
        if destination.more or destination.rests_until(now):
            destination.more = True
            self.consider(destination)
        elif self.stock.add(destination, job) or destination.more:
            self.consider(destination)

    def later(self, queue: str, due: float) -> None:
        """Looks into a queue at a time, or now when it is past."""
        if self.stopped:
            return
        if due > self.now():
            self.wakes.at(queue, due)
        else:
            self._look(queue)

    def wake(self) -> None:
        """Looks into the queues whose time has come, the first time into all that the spool has."""
        if not self._learned:
            self._learn()
        if self.stopped:
            return
        for name in self.wakes.due(self.now(), STEP):
            self._look(name)
        self.wakes.arm()

    def get(self, name: str) -> Destination | None:
        """The destination, when it is in memory."""
        return self._all.get(name)

    def rest_of(self, name: str) -> tuple[float, str]:
        """Until when nothing is taken from a queue, and why; 0 when it is worked on, infinite when somebody has to ask for it."""
        now, destination = self.now(), self._all.get(name)
        if destination is not None:
            until = destination.rests_until(now)
            return until, destination.why_it_rests(now) if until else ""
        limits = self._arranged(name)[1]
        if limits.schedule.is_open(now):
            return 0.0, ""
        opening = limits.schedule.next_opening(now)
        return float("inf") if opening is None else opening, limits.schedule.words

    def all(self) -> list[Destination]:
        """All that are in memory."""
        return list(self._all.values())

    def retry_now(self, queue: str) -> None:
        """Tries all that waits in a queue once, whatever its schedule, its rest and the messages' times say."""
        if self.stopped or (queue not in self._all and self._next_due(queue) is None):
            return
        destination = self._all.get(queue) or self._make(queue)
        destination.throttle.end_rest()
        destination.pause = 0.0
        destination.forced, destination.cursor, destination.more = True, "", True
        self.consider(destination)

    def suspend(self, queue: str, until: float | None, reason: str) -> None:
        """Takes nothing from a queue for a while."""
        if self.stopped:
            return
        destination = self._all.get(queue) or self._make(queue)
        destination.suspended_until = float("inf") if until is None else until
        destination.suspended_for = reason
        destination.more = True
        self.consider(destination)

    def resume(self, queue: str) -> None:
        """Ends a suspension."""
        destination = self._all.get(queue)
        if destination is not None:
            destination.suspended_until, destination.suspended_for = 0.0, ""
            self._look(queue)

    def set_schedule(self, queue: str, text: str) -> None:
        """Gives a queue another schedule than its limits say. Raises ValueError."""
        known = self._schedules.get(queue)
        if known is not None and known.text == text:
            return
        schedule = self._schedules[queue] = Schedule.parse(text)
        if len(self._schedules) > REMEMBERED:
            del self._schedules[next(iter(self._schedules))]
        destination = self._all.get(queue)
        if destination is not None:
            destination.limits = replace(destination.limits, schedule=schedule)
            self._look(queue)

    def release(self, message_id: str) -> None:
        """A message that nobody was to take is free again."""
        queue = self.stock.free(message_id)
        if queue is not None and not self.stopped:
            self._look(queue)

    async def stop(self, seconds: float) -> None:
        """Gives out nothing more and stops all carriers."""
        self.close()
        if self._carriers:
            await asyncio.gather(*(self._stop(carrier, seconds) for carrier in self._carriers.values()))

    def close(self) -> None:
        """Gives out nothing more; sessions end by and by."""
        self.stopped = True
        self.wakes.stop()
        for waiter, destination in list(self.idle.items()):
            destination.wake_one(False, waiter)

    # What destinations ask for.

    def refill(self, destination: Destination, now: float) -> bool:
        """Brings messages of a destination from the spool when none is in memory; True when there is one then."""
        try:
            if destination.forced:
                self.stock.walk(destination)
                if destination.ready:
                    return True
                destination.forced = False
                if destination.rests_until(now):
                    return False
            again = self.stock.refill(destination, now)
        except SpoolDamaged as error:
            self._damaged(str(error))
            return False
        if again is not None:
            self.wakes.at(destination.name, again)
        return bool(destination.ready)

    def has_work(self, destination: Destination, now: float, further: int = 1) -> bool:
        """True when the destination, which does not rest, has a message in memory that its rate lets through.

        Args:
            destination: which.
            now: the present time.
            further: how many sessions it is for, besides those that have begun and not yet taken a message.
        """
        if not destination.ready and not (destination.more and self.refill(destination, now)):
            return False
        wait = 0.0
        if destination.bucket is not None:
            wait = destination.bucket.wait(now, max(0, destination.sessions - len(destination.waiters) - len(destination.active)) + further)
        if wait:
            self.wakes.at(destination.name, now + wait)
        return not wait

    def consider(self, destination: Destination) -> None:
        """Something happened to a destination: wakes idle sessions and lines it up for new ones, as many as it needs."""
        if self.stopped:
            return
        now = self.now()
        until = destination.rests_until(now)
        if until:
            self._rest(destination, until, now)
            return
        if destination.suspended_until:
            destination.suspended_until, destination.suspended_for = 0.0, ""
        while destination.waiters and destination.wants() and self.has_work(destination, now):
            destination.wake_one(True)
        if destination.wants() and not destination.waiters:
            self.turns.add(destination)
            self._spread()

    def released(self, destination: Destination, message_id: str) -> None:
        """A message is not worked on any more."""
        queue = self.stock.release(message_id)
        if queue is not None and not self.stopped:
            self._look(queue)

    def session_ended(self, destination: Destination) -> None:
        """There is room for another session."""
        self._evicting = False
        if self.stopped:
            return
        if not destination.sessions:
            self.wakes.at(destination.name, self.now() + IDLE)
            if self.stock.is_full:
                self._drop(destination)  # what it keeps in memory beyond the bounds was for its sessions
        self.consider(destination)
        self._spread()

    def came_back(self, destination: Destination, before: Standing) -> None:
        """A destination answered that was not known to: all that is due is used at once."""
        self.turns.moved(destination, before)
        if before is Standing.FAILING:
            destination.more = True
            self._log.info("destination is back", queue=destination.name)
        destination.pause = 0.0
        self.consider(destination)

    def went_down(self, destination: Destination, before: Standing) -> None:
        """A destination cannot be reached: nothing of it stays in memory."""
        self._log.info("destination rests", queue=destination.name, reason=destination.last_error, until=destination.until)
        self.turns.moved(destination, before)
        destination.more = True
        self.consider(destination)

    # Within.

    def _make(self, name: str) -> Destination:
        carrier, limits = self._arranged(name)
        self._carriers.setdefault(id(carrier), carrier)
        destination = self._all[name] = Destination(name, limits, carrier, self)
        self.wakes.at(name, self.now() + IDLE)
        return destination

    def _arranged(self, name: str) -> tuple[Carrier, DestinationLimits]:
        """Who serves a queue and what it is given; nobody when that cannot be told, so that its messages wait and nothing else does."""
        try:
            carrier, limits = self._settings.carrier_for(name), self._settings.limits_for(name)
        except Exception as error:
            self._log.error("destination could not be set up", queue=name, error=_text(error), exc_info=error)
            return NOBODY, DestinationLimits()
        schedule = self._schedules.get(name)
        return carrier, limits if schedule is None else replace(limits, schedule=schedule)

    def _look(self, name: str) -> None:
        """The spool may have something due in this queue."""
        destination = self._all.get(name) or self._make(name)
        destination.more = True
        self.consider(destination)

    def _learn(self) -> None:
        self._learned = True
        try:
            queues = self._spool.queues()
        except SpoolDamaged as error:
            self._damaged(str(error))
            return
        for name, due in queues.items():
            if name:
                self.wakes.at(name, due)

    def _next_due(self, name: str) -> float | None:
        try:
            return self._spool.next_due(name)
        except SpoolDamaged as error:
            self._damaged(str(error))
            return None

    def _rest(self, destination: Destination, until: float, now: float) -> None:
        """Nothing is taken from a destination until then: memory and sessions are for others."""
        self._drop(destination)
        for waiter in list(destination.waiters):
            destination.wake_one(False, waiter)
        if not destination.is_scheduled(now):
            destination.more = False  # its time brings it back, or who asks for it
        if until < float("inf"):
            self.wakes.at(destination.name, until)
        self._forget_idle(destination, now)

    def _spread(self) -> None:
        """Gives sessions to whose turn it is, as long as there are any."""
        if self._spreading or self.stopped:
            return
        self._spreading = True
        try:
            for _ in range(STEP):
                destination = self.turns.next()
                if destination is None:
                    break
                self._serve(destination)
            else:
                asyncio.get_running_loop().call_soon(self._spread)
        finally:
            self._spreading = False
        if self.idle and not self._evicting and self.turns.fewest() is not None:
            # An idle connection is worth less than a first one elsewhere; the one that has been idle longest goes.
            self._evicting = True
            waiter, idle = next(iter(self.idle.items()))
            idle.wake_one(False, waiter)

    def _serve(self, destination: Destination) -> None:
        now = self.now()
        until = destination.rests_until(now)
        if until:
            self._rest(destination, until, now)
        elif not self.has_work(destination, now):
            self._forget_idle(destination, now)
        elif destination.waiters:
            destination.wake_one(True)
            self.consider(destination)
        elif destination.wants() and self._attended(destination) and destination.wants():
            self.turns.add(destination)

    def _attended(self, destination: Destination) -> bool:
        """True when the carrier began a session; one may be over already."""
        before = self.turns.begun
        try:
            destination.carrier.attend(destination)
        except Exception as error:
            self._log.error("destination could not be served", queue=destination.name, error=_text(error), exc_info=error)
        if self.turns.begun > before:
            return True
        if not destination.sessions:
            self._drop(destination)
        self.wakes.at(destination.name, self.now() + ATTEND_AGAIN)
        return False

    def _drop(self, destination: Destination) -> None:
        for queue in self.stock.drop(destination):
            self._look(queue)

    def _forget_idle(self, destination: Destination, now: float) -> None:
        if destination.is_idle(now) and self._all.pop(destination.name, None) is not None:
            self.stock.remember(destination)

    async def _stop(self, carrier: Carrier, seconds: float) -> None:
        try:
            await asyncio.wait_for(carrier.stop(seconds), seconds + LAST_WAIT)
        except Exception as error:
            self._log.error("carrier did not stop", error=_text(error), exc_info=error)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
