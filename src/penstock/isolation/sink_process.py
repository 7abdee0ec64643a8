"""A sink with ``run_in = "process"``: what the worker knows of it.

How it is used, by whoever puts a worker together:

- ``SinkProcess(plug, log, backplane)``: ``plug.sink`` is a shell of the sink (its class, and its ``settings``); it is never called. The
  class is imported in the process by its module and name, with the ``sys.path`` of the worker; the settings go there by value.
- ``await start()`` in the place of ``await plug.sink.start()``: starts the processes, in each of which the sink is made and its ``start``
  is called; raises SinkError when one of them does not come up, and leaves nothing behind then.
- ``await stop(seconds)`` in the place of ``await plug.sink.stop()``: calls under way may end for so long; then the sink's ``stop`` is
  called in each process, and the process ends. After that, and before ``start``, calls raise SinkError.
- ``call(binding, event)`` is what ``Plug.remote`` is asked for: ``replace(plug, remote=SinkProcess(plug, log, backplane))``.
- ``await settings_changed(settings)`` where the sink has such a method: raises SinkError when it does not take them.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
import zlib

from ..errors import SinkError
from ..events.binding import Binding
from ..events.event import Event
from ..events.plug import Plug
from ..events.verdict import Verdict
from ..events.work import Backplane
from ..observe.log import Log
from .flight import AgainError
from .frames import Hello
from .seat import Seat


class SinkProcess:
    """The processes of one sink.

    Args:
        plug: the sink and how it is bound.
        log: where its lines, and what becomes of its processes, are written.
        backplane: what answers sinks that ask the server for something when their call is over.
    """

    def __init__(self, plug: Plug, log: Log, backplane: Backplane) -> None:
        self._plug = plug
        self._settings: object = getattr(plug.sink, "settings", None)
        self._names = (backplane.name, backplane.hostname)
        own = log.bind(binding=plug.name) if hasattr(log, "bind") else log
        self._seats = [Seat(plug, self._hello, own, backplane) for _ in range(max(1, plug.process.processes))]

    @property
    def pids(self) -> list[int]:
        """Of the processes that can be asked now."""
        return [seat.pid for seat in self._seats if seat.pid]

    @property
    def restarts(self) -> int:
        """How often a process was replaced."""
        return sum(max(seat.restarts, 0) for seat in self._seats)

    async def start(self) -> None:
        """Starts the processes, and the sink in each. Raises SinkError; then none of them runs."""
        results = await asyncio.gather(*(seat.start() for seat in self._seats), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            await self.stop()
            raise failed[0]

    async def stop(self, seconds: float = 0.0) -> None:
        """Stops the sink, and ends its processes.

        Args:
            seconds: how long calls under way may take to end.
        """
        await asyncio.gather(*(seat.drain(seconds) for seat in self._seats))
        await asyncio.gather(*(seat.stop() for seat in self._seats))

    async def call(self, binding: Binding, event: Event) -> Verdict | None:
        """What the handler answers; what it edited is on the event then, to be committed.

        Raises: SinkError; SinkTimeout; what the server raised to the handler, when the handler let it through.
        """
        try:
            return await self._seat(event).ask(binding, event)
        except AgainError:
            pass
        try:
            return await self._seat(event).ask(binding, event)
        except AgainError as again:
            raise SinkError(binding.name, f"its process ended twice: {again}") from None

    async def settings_changed(self, settings: object) -> None:
        """Tells the sink its new settings, in all processes. Raises SinkError when one of them does not take them."""
        before, self._settings = self._settings, settings
        results = await asyncio.gather(*(seat.settings_changed(self._pickled()) for seat in self._seats))
        for error in filter(None, results):
            self._settings = before
            raise SinkError(self._plug.name, f"its settings cannot be changed: {error}")

    def _seat(self, event: Event) -> Seat:
        """The process for an event: the same for all that belongs to a session or a message, while that process can be asked."""
        if len(self._seats) == 1:
            return self._seats[0]
        facts = event.facts
        work = facts.session or facts.outbound
        key = work.id if work is not None else facts.message.record.id if facts.message is not None else ""
        first = zlib.crc32(key.encode()) % len(self._seats)
        order = self._seats[first:] + self._seats[:first]
        return next((seat for seat in order if seat.pid), order[0])

    def _hello(self) -> Hello:
        cls, settings = type(self._plug.sink), self._plug.process
        return Hello(
            self._plug.name, cls.__module__, cls.__qualname__, self._pickled(), [str(path) for path in sys.path], settings.memory,
            self._plug.threads, self._names,
        )  # fmt: skip

    def _pickled(self) -> bytes:
        """The settings by value. From us to the process alone: what comes from there is never unpickled."""
        return pickle.dumps(self._settings)
