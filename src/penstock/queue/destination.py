"""One destination: the messages of one queue that wait in memory and those that are worked on, and the sessions that serve it.

Whoever serves destinations (a ``Carrier``) is told when a further session is wanted. A session pulls: it takes the next message when it
is ready for one. Nothing is pushed, so nothing has to be taken back when a connection fails or a limit is met.

    def attend(self, destination):          # a carrier
        destination.begin_session()
        start a task:
            try:
                while True:
                    while (job := destination.take()) is not None:
                        ...                                     # succeeded() at each answer; failed(reason) when there is none
                        destination.finished(id_of(job))        # settled in the spool, or destination.give_back(job) when not tried
                    if not await destination.wait(5.0):
                        break
            finally:
                destination.end_session()
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Literal, Protocol

from .job import Job, id_of, size_of
from .limits import DestinationLimits, TokenBucket
from .throttle import Throttle

if TYPE_CHECKING:
    from .destinations import Destinations
    from .turns import Line

State = Literal["active", "backing-off", "suspended", "closed by schedule"]
# How long a destination rests when all that it has was left for another connection.
SKIP_PAUSE = 10.0


class Carrier(Protocol):
    """Who serves destinations."""

    def attend(self, destination: Destination) -> None:
        """Something is ready and one further session is allowed now; must not block and never raises.

        Calls ``destination.begin_session()`` before it returns, or does not begin one; then it is asked again when something happens to
        the destination, or after a minute.
        """

    async def stop(self, seconds: float) -> None:
        """Waits so long for the sessions to end by themselves (``take`` gives them nothing more), then cancels them."""


class Destination:
    """One queue of one worker; made by ``Destinations``.

    What a carrier calls comes first; ``ready``, ``active``, ``more``, ``cursor`` and the like belong to ``Destinations`` and ``Stock``.

    Args:
        name: the queue's name.
        limits: what it is given.
        carrier: who serves it.
        home: all destinations together.
    """

    __slots__ = (
        "_home",
        "_skipped",
        "active",
        "bucket",
        "carrier",
        "cursor",
        "forced",
        "last_error",
        "limits",
        "more",
        "name",
        "pause",
        "ready",
        "sessions",
        "suspended_for",
        "suspended_until",
        "throttle",
        "waiters",
        "waits_in",
    )

    def __init__(self, name: str, limits: DestinationLimits, carrier: Carrier, home: Destinations) -> None:
        self.name = name
        self.limits = limits
        self.carrier = carrier
        self.sessions = 0
        self.last_error = ""
        self.suspended_until = 0.0
        self.suspended_for = ""
        self.throttle = Throttle(limits, name, home.stock.window_of(name))
        self.bucket = TokenBucket(limits.rate, home.now()) if limits.rate else None
        self.ready: OrderedDict[str, tuple[Job, int]] = OrderedDict()
        self.active: set[str] = set()
        self.waiters: deque[asyncio.Future[bool]] = deque()
        self.more = False  # the spool may have something due that is not in memory
        self.forced = False  # what waits is tried whatever its time and the schedule say
        self.cursor: str | None = None  # how far that has come in the spool
        self.pause = 0.0
        self.waits_in: Line | None = None
        self._skipped = 0
        self._home = home

    @property
    def state(self) -> State:
        """Whether it is worked on, or why not."""
        now = self._home.now()
        if now < self.suspended_until:
            return "suspended"
        if now < self.throttle.until:
            return "backing-off"
        return "active" if self.is_scheduled(now) else "closed by schedule"

    @property
    def window(self) -> float:
        """How many sessions it bears at once, as far as is known."""
        return self.throttle.window

    @property
    def until(self) -> float:
        """Until when it backs off, in seconds since 1970; past or 0 when it does not."""
        return self.throttle.until

    def begin_session(self) -> None:
        """Counts a session; called by the carrier for each ``attend`` that it follows."""
        self._home.turns.began(self)

    def end_session(self) -> None:
        """Counts a session less; another one may begin within this call, here or elsewhere."""
        self._home.turns.ended(self)
        self._home.session_ended(self)

    def take(self) -> Job | None:
        """The next message to work on, which is this session's until ``finished`` or ``give_back``.

        None when there is nothing for this session: nothing is due, the rate is used up, the destination rests, or others wait for its
        place. Then ``wait``, or end the session.
        """
        home = self._home
        now = home.now()
        if not self.ready and not self.more:
            return None
        if home.stopped or self.rests_until(now) or self._is_to_end():
            return None
        if not self.ready and not home.refill(self, now):
            return None
        if self.bucket is not None:
            wait = self.bucket.wait(now)
            if wait:
                home.wakes.at(self.name, now + wait)
                return None
            self.bucket.take()
        message_id, (job, size) = self.ready.popitem(last=False)
        home.stock.left(size)
        self.active.add(message_id)
        return job

    def finished(self, message_id: str) -> None:
        """A message that was taken is settled: what is left of it, if anything, is in the spool with its next time."""
        if message_id in self.active:
            self.active.discard(message_id)
            self._skipped = 0
            self._home.released(self, message_id)

    def give_back(self, job: Job, *, last: bool = False) -> None:
        """A message that was taken was not tried; it is as if it had never been taken.

        Args:
            job: what ``take`` returned.
            last: it was left for another connection, so all others of its queue come first.
        """
        message_id = id_of(job)
        if message_id not in self.active:
            return
        self.active.discard(message_id)
        if self.bucket is not None:
            self.bucket.put_back()
        now = self._home.now()
        if last:
            self._skipped += 1
            if self._skipped > len(self.ready):
                # All that there is was left for another connection: without a rest it would be offered in a circle.
                self._skipped = 0
                self.pause = now + SKIP_PAUSE
        if self._home.stopped or self.rests_until(now):
            self.more = True
            self._home.released(self, message_id)
            self._home.consider(self)
            return
        self.ready[message_id] = (job, size_of(job))
        if not last:
            self.ready.move_to_end(message_id, last=False)
        self._home.stock.came(size_of(job))
        self._home.consider(self)

    async def wait(self, seconds: float) -> bool:
        """Waits for another message with an idle session; True when there is one, so that ``take`` is worth a try.

        False at once when the session should rather end: others wait for its place, the destination rests, or everything stops.

        Args:
            seconds: for how long, at most.
        """
        home = self._home
        now = home.now()
        if home.stopped or self.rests_until(now) or self._is_to_end():
            return False
        if home.has_work(self, now, further=0):
            return True
        if home.turns.fewest() is not None:
            return False
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self.waiters.append(waiter)
        home.idle[waiter] = self
        timer = loop.call_later(seconds, self.wake_one, False, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()
            self.wake_one(False, waiter)  # when the session was cancelled meanwhile

    def succeeded(self) -> None:
        """The remote answered, as at the end of the greeting and of each message: it may bear more, and what waits is due at once."""
        throttle = self.throttle
        before, allowed = throttle.standing, throttle.allowed
        if throttle.succeeded(self.sessions):
            self.last_error = ""
            self._home.came_back(self, before)
        elif throttle.allowed > allowed:
            self._home.consider(self)

    def failed(self, reason: str) -> float:
        """The remote could not be reached, refused at the greeting, or was lost without progress.

        Args:
            reason: for administrators, in one line.

        Returns: until when the destination rests, in seconds since 1970; not after the present time when it does not.
        """
        self.last_error = reason
        before = self.throttle.standing
        if self.throttle.failed(self._home.now(), self.sessions):
            self.forced, self.cursor = False, None
            self._home.went_down(self, before)
        return self.throttle.until

    def is_scheduled(self, now: float) -> bool:
        """True when its schedule lets it be worked on."""
        return self.forced or self.limits.schedule.is_open(now)

    def rests_until(self, now: float) -> float:
        """Until when nothing is taken, infinite when somebody has to ask for it; 0 when it may be taken now."""
        until = max(self.suspended_until, self.throttle.until, self.pause)
        if now < until:
            return until
        if self.forced or self.limits.schedule.always:
            return 0.0
        opening = self.limits.schedule.next_opening(now)
        return float("inf") if opening is None else opening if opening > now else 0.0

    def why_it_rests(self, now: float) -> str:
        """Why nothing is taken, for who asks what a message waits for; "" when there is nothing to say."""
        if now < self.suspended_until:
            return f"suspended: {self.suspended_for}" if self.suspended_for else "suspended"
        if now < self.throttle.until:
            return self.last_error
        return "" if self.is_scheduled(now) else self.limits.schedule.words

    def _is_to_end(self) -> bool:
        """True when a session has to go: there are more than are allowed, or one that waits has so few that this one's place is its due."""
        if self.sessions > self.throttle.allowed:
            return True
        fewest = self._home.turns.fewest() if self.sessions > 1 else None
        return fewest is not None and self.sessions > fewest + 1

    def wants(self) -> bool:
        """True when one more session, or an idle one, would have something to do when it does not rest, as far as memory knows."""
        work = len(self.active) + len(self.ready) + self.more
        return self.sessions - len(self.waiters) < min(work, self.throttle.allowed)

    def wake_one(self, work: bool, waiter: asyncio.Future[bool] | None = None) -> None:
        """Ends the waiting of one idle session, that of the shortest time or a certain one.

        Args:
            work: whether there is a message for it.
            waiter: which one.
        """
        if waiter is None:
            waiter = self.waiters.pop()  # the least idle one: the others end by and by when they are not needed
        elif self._home.idle.get(waiter) is self:
            self.waiters.remove(waiter)
        else:
            return
        del self._home.idle[waiter]
        if not waiter.done():
            waiter.set_result(work)

    def is_idle(self, now: float) -> bool:
        """True when nothing would be different if it were made anew."""
        busy = self.sessions or self.ready or self.active or self.more or self.forced or self.waits_in is not None
        limited = self.bucket is not None and not self.bucket.is_full(now)
        return not busy and not limited and now >= max(self.suspended_until, self.throttle.until, self.pause)
