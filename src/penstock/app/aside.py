"""Runs code that may block, such as the user's while it is imported, in a thread of its own and with a deadline.

A thread cannot be ended. One that hangs is left behind, and it is said where it hangs. Rejected: the loop's own executor, whose threads the
interpreter waits for when the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """One call in a thread; it begins at once.

    Args:
        call: what is called.
        name: of the thread.
    """

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[tuple[T | None, BaseException | None]] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    async def result(self, seconds: float) -> T:
        """What the call gives. Raises what it raises; TimeoutError with where it is, when it takes longer than so long."""
        await asyncio.wait((self._done,), timeout=seconds)
        if not self._done.done():
            raise TimeoutError(self.where())
        given, error = self._done.result()
        if error is not None:
            raise error
        return given  # type: ignore[return-value]

    def where(self) -> str:
        """The line of somebody's code that it is at."""
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - the only way to see where another thread is
        lines = [line for line in traceback.extract_stack(frame) if not line.filename.startswith("<")]
        del frame
        theirs = [line for line in lines if not any(part in line.filename for part in ("penstock/", "threading.py", "importlib"))]
        return f"in {theirs[-1].filename}, line {theirs[-1].lineno}" if theirs else "somewhere in the server's own code"

    def _run(self) -> None:
        given, failure = None, None
        try:
            given = self._call()
        except BaseException as error:  # the thread is ours: nothing may end it without a word
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._tell, given, failure)

    def _tell(self, given: T | None, failure: BaseException | None) -> None:
        if not self._done.done():
            self._done.set_result((given, failure))
