"""The place of one sink process: there is a process in it, or one is being started, or it rests after too many failures.

A process that dies, hangs or talks garbage is replaced. The call that was to blame fails, as the page says (``page``); the others that were
under way are given back to be tried once more."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable

from ..errors import SinkError, SinkTimeout
from ..events.binding import Binding
from ..events.event import Event
from ..events.keeping import keeps
from ..events.plug import Plug
from ..events.verdict import Verdict
from ..events.work import Backplane
from ..observe.log import Log
from .channel import Incoming, close_all
from .events import frame_of
from .flight import AgainError, Flight, Questions
from .frames import Answer, Ask, Cancel, Done, Failed, Hello, Line, Over, Settings, Stop, ToServer
from .lines import write
from .living import Seen
from .page import Running
from .process import Process

# How long importing and starting a sink may take, and stopping it.
START, STOP = 60.0, 10.0
# How long a handler that was told to end may take to, and may keep its process's loop from the others when one of them is late.
GRACE = 1.0
# Rests between one start and the next: none at first, then doubled each time; a process that lived this long begins anew.
FIRST_REST, LONGEST_REST, LIVED = 0.5, 60.0, 60.0
# So many calls are under way in one process.
MOST_CALLS = 256
# How often the CPU time of what runs is looked at.
LOOK = 0.1


class Seat:
    """A place for one process.

    Args:
        plug: whose sink it is.
        hello: makes what a new process is told.
        log: with the binding's name.
        server: answers what handlers ask when their call is over.
    """

    def __init__(self, plug: Plug, hello: Callable[[], Hello], log: Log, server: Backplane | None) -> None:
        self.restarts = -1
        self._plug = plug
        self._hello = hello
        self._log = log
        self._process: Process | None = None
        self._ready: asyncio.Future[str] | None = None
        self._gone = asyncio.Event()
        self._usable = asyncio.Event()
        self._failures = 0
        self._rest_until = 0.0
        self._last_error = ""
        self._stopping = False
        self._flights: dict[int, Flight] = {}
        self._blamed: set[int] = set()
        self._numbers = itertools.count(1)
        self._places = asyncio.Semaphore(MOST_CALLS)
        self._seen = Seen(lambda keys: self._send(Over(keys))) if keeps(type(plug.sink)) else None
        self._questions = Questions(server if plug.mode != "shadow" else None, self._send)
        self._keeper: asyncio.Task[None] | None = None
        self._looking: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none that can be asked."""
        return self._process.pid if self._process is not None and self._usable.is_set() else 0

    async def start(self) -> None:
        """Starts the first process. Raises SinkError when that fails; then there is none."""
        error = await self._begin()
        if error:
            raise SinkError(self._plug.name, f"its process does not start: {error}")
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def ask(self, binding: Binding, event: Event) -> Verdict | None:
        """What the handler answers.

        Raises: SinkError, SinkTimeout; AgainError when the process ended and the call was not to blame; what the server raised to it.
        """
        seconds = binding.plug.timeout
        await self._wait(seconds)
        try:
            await asyncio.wait_for(self._places.acquire(), seconds)
        except TimeoutError:
            raise SinkTimeout(binding.name, f"its process has {MOST_CALLS} calls under way") from None
        try:
            return await self._ask(binding, event)
        finally:
            self._places.release()

    async def drain(self, seconds: float) -> None:
        """Waits at most so long until no call is under way."""
        self._stopping = True
        futures = [flight.future for flight in self._flights.values() if not flight.future.done()]
        if futures and seconds > 0:
            await asyncio.wait(futures, timeout=seconds)

    async def stop(self) -> None:
        """Lets the sink stop, and ends its process; calls under way fail."""
        self._stopping = True
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._process is not None and self._usable.is_set():
            error = await self._tell(Stop(), STOP)
            if error:
                self._log.error("sink does not stop", error=error)
        await self._end("it was stopped")

    async def settings_changed(self, settings: bytes) -> str:
        """Tells the process its new settings; why it does not take them, or "". One that is started later has them anyway."""
        return await self._tell(Settings(settings), START) if self._process is not None and self._usable.is_set() else ""

    async def _wait(self, seconds: float) -> None:
        """Waits until there is a process. Raises SinkError when that would take long."""
        if self._usable.is_set():
            return
        if self._stopping:
            raise SinkError(self._plug.name, "its process is stopped")
        rest = self._rest_until - time.monotonic()
        if rest > min(GRACE, seconds):
            raise SinkError(self._plug.name, f"its process is started again in {rest:.1f} s, since {self._last_error}")
        try:
            await asyncio.wait_for(self._usable.wait(), seconds)
        except TimeoutError:
            raise SinkTimeout(self._plug.name, f"its process was not ready within {seconds:g} s") from None

    async def _ask(self, binding: Binding, event: Event) -> Verdict | None:
        number, descriptors, process = next(self._numbers), list[int](), self._process
        scope = (binding.scope.binding, binding.scope.owner)
        try:
            frame = await frame_of(number, binding.method, event, scope, descriptors)
        except TypeError as error:
            close_all(descriptors)
            raise SinkError(binding.name, f"the event cannot be given to a sink process: {error}") from None
        except BaseException:
            close_all(descriptors)
            raise
        if process is None or process is not self._process or not self._usable.is_set():
            close_all(descriptors)
            raise AgainError("it ended meanwhile")
        loop = asyncio.get_running_loop()
        flight = self._flights[number] = Flight(number, binding, event, loop.create_future())
        try:
            process.send(frame, descriptors)
        except ValueError as error:
            del self._flights[number]
            raise SinkError(binding.name, f"the event is too large for a sink process: {error}") from None
        if self._seen is not None:
            self._seen.note(event)
        flight.timer = loop.call_later(binding.plug.timeout, self._late, flight)
        self._look_soon()
        try:
            return await flight.future
        except asyncio.CancelledError:
            self._leave(flight)
            raise

    def _take(self, incoming: Incoming[ToServer]) -> None:
        """A frame came from the process."""
        frame, descriptors = incoming.frame, incoming.descriptors
        if isinstance(frame, Done | Failed):
            flight = self._flights.pop(frame.id, None)
            if flight is not None and isinstance(frame, Done):
                flight.done(frame, descriptors)
            elif flight is not None and isinstance(frame, Failed):
                flight.failed(frame)
                if frame.kind == "MemoryError":
                    self._kill("it has no memory left")
        elif isinstance(frame, Ask):
            if self._questions.take(frame, self._flights.get(frame.id), self._plug.name, descriptors):
                return  # which closes the descriptors later
            self._kill("it asks too much at once")
        elif isinstance(frame, Line):
            write(self._log, frame)
        elif self._ready is not None and not self._ready.done():
            self._ready.set_result(frame.error)
        close_all([one for one in descriptors if one >= 0])

    def _late(self, flight: Flight) -> None:
        """A deadline is over. Where another call keeps the process's loop, it is that one which is to blame."""
        flight.timer = None
        seconds = flight.binding.plug.timeout
        now = time.monotonic()
        for running in self._process.running() if self._process is not None else ():
            if running.row == 0 and running.call != flight.id and now - running.since > GRACE:
                self._blame(running, f"it blocks its process for {now - running.since:.1f} s")
                return
        flight.fail(SinkTimeout(flight.binding.name, f"no answer within {seconds:g} s"))
        self._leave(flight)

    def _leave(self, flight: Flight) -> None:
        """Nobody waits for a call any more: the handler is told to end, and its process is killed if it does not."""
        flight.leave()
        if self._flights.get(flight.id) is flight:
            self._send(Cancel(flight.id))
            asyncio.get_running_loop().call_later(GRACE, self._still, flight)

    def _still(self, flight: Flight) -> None:
        if self._flights.get(flight.id) is flight:
            self._blamed.add(flight.id)
            self._kill(f"{flight.binding.method} did not end after its deadline")

    def _look_soon(self) -> None:
        if self._plug.process.cpu and self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK, self._look)

    def _look(self) -> None:
        """Looks whether a call uses more CPU time than it may."""
        self._looking = None
        most, process = self._plug.process.cpu, self._process
        if process is None or not self._flights:
            return
        for running in process.running():
            if process.spent(running) > most:
                self._blame(running, f"it used more than {most:g} s of CPU time")
                return
        self._look_soon()

    def _blame(self, running: Running, why: str) -> None:
        """Kills the process for what one call does."""
        flight = self._flights.get(running.call)
        self._blamed.add(running.call)
        if flight is not None:
            flight.fail(SinkTimeout(flight.binding.name, why))
        self._kill(f"{flight.binding.method if flight else 'a call'}: {why}")

    def _kill(self, why: str) -> None:
        self._usable.clear()
        if self._process is not None:
            self._process.kill(why)

    def _send(self, frame: Answer | Cancel | Over) -> None:
        if self._process is not None:
            self._process.send(frame, [])

    async def _begin(self) -> str:
        """Starts a process; "" when it can be asked, or why it cannot."""
        self._gone.clear()
        try:
            self._process = Process(self._hello(), self._take, self._log, self._over)
        except Exception as error:  # no memory, no descriptors, no such interpreter, settings that cannot be pickled
            return f"{type(error).__name__}: {error}"
        why = await self._answer_within(START)
        if why or self._gone.is_set():
            await self._end(why)
            return why or self._last_error
        self.restarts += 1
        self._usable.set()
        self._log.info("sink process started", pid=self._process.pid)
        return ""

    async def _keep(self) -> None:
        """Replaces the process whenever it ends."""
        while True:
            began = time.monotonic()
            await self._gone.wait()
            while True:
                self._failures = 1 if time.monotonic() - began > LIVED else self._failures + 1
                rest = min(LONGEST_REST, FIRST_REST * 2.0 ** (self._failures - 2)) if self._failures > 1 else 0.0
                self._rest_until = time.monotonic() + rest
                self._log.error("sink process ended", why=self._last_error, again_in=rest)
                await asyncio.sleep(rest)
                began = time.monotonic()
                self._last_error = await self._begin()
                if not self._last_error:
                    break

    def _over(self, why: str, running: list[Running]) -> None:
        """The process is gone."""
        self._usable.clear()
        self._process = None
        self._last_error = why
        if self._seen is not None:
            self._seen.clear()
        self._questions.close()
        blamed = self._blamed or {one.call for one in running}
        self._blamed = set()
        flights, self._flights = self._flights, {}
        for flight in flights.values():
            name = flight.binding.name
            to_blame = flight.id in blamed or flight.talked
            flight.fail(SinkError(name, f"its process ended: {why}") if to_blame else AgainError(why))
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(why)
        self._gone.set()

    async def _tell(self, frame: Stop | Settings, seconds: float) -> str:
        """Says something to the sink itself; what it has against it."""
        if self._process is None:
            return "its process is gone"
        self._process.send(frame, [])
        return await self._answer_within(seconds)

    async def _answer_within(self, seconds: float) -> str:
        self._ready = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(self._ready, seconds)
        except TimeoutError:
            return f"no answer within {seconds:g} s"

    async def _end(self, why: str) -> None:
        """Kills what is left, and waits until it is gone."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._kill(why)
        if self._process is not None:
            await self._gone.wait()
