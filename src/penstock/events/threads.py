"""The threads in which plain ``def`` handlers run: a few for each binding, so that a sink that hangs keeps its own and nobody else's.

Rejected: one ``ThreadPoolExecutor`` for all, which a few calls that hang fill for good; and one for each binding, since the interpreter
waits for its threads when the process ends, and a thread that hangs would keep the server from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from .places import Places

# A thread that had nothing to do for so many seconds ends.
IDLE = 60.0
Job = tuple[Callable[[], Any], Callable[[Any], None]]


@dataclass(frozen=True, slots=True)
class Raised:
    """What a call raised instead of giving a result; handed over as a value, since some exceptions mean something to asyncio."""

    error: BaseException


class Threads:
    """The threads of one binding, made when they are needed; all methods belong to the loop.

    Args:
        name: of the binding.
        most: how many calls run at once; one that hangs keeps its place.
        full: told when a call has waited for a place for a while.
    """

    def __init__(self, name: str, most: int, full: Callable[[], None]) -> None:
        self.places = Places(most, full)
        self._pool = _Pool(f"penstock-{name}")

    def start(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Runs a call in a thread; its result, or ``Raised``.

        Its place is to be taken before, and is free again when the call ends, whoever still waits for it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        # A loop whose time is a test's lets none pass while a thread is at work.
        hold = getattr(loop, "hold", None)
        if hold is not None:
            hold(future)

        def ended(result: Any) -> None:
            self.places.free()
            if not future.done():
                future.set_result(result)

        def tell(result: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(ended, result)

        self._pool.submit((call, tell))
        return future


class _Pool:
    """Threads that take jobs; as many as there are jobs at once. They are daemons: the process ends without them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        # Threads that wait for a job which nobody has put into the queue yet.
        self._idle = 0

    def submit(self, job: Job) -> None:
        """Gives a job to an idle thread, or to a new one."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._jobs.put(job)
                return
        # Not as an argument: a thread keeps those for as long as it lives, and so it would the message.
        self._jobs.put(job)
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        job: Job | None = self._jobs.get()
        while job is not None:
            call, tell = job
            try:
                result = call()
            except BaseException as error:
                result = Raised(error)
            with self._lock:
                # Before the end is told, so that the next job finds this thread.
                self._idle += 1
            tell(result)
            del job, call, tell, result  # a thread that waits keeps no message alive
            job = self._next()

    def _next(self) -> Job | None:
        while True:
            try:
                return self._jobs.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    if self._idle:
                        self._idle -= 1
                        return None
                # Somebody counts on this thread: the job is in the queue, or another thread took it in this one's place.
