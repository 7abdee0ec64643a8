"""Finds out who blocks the loop, while it is blocked: a thread asks it for a sign of life, and looks at its stack when none comes.

While a handler on the loop waits without ``await``, computes, or sleeps with ``time.sleep``, every session of the worker stands still. Who
measures that afterwards knows only that it took long; the stack, taken in the middle, has the line. Rejected: asyncio's debug mode, which
slows down every callback and names the callback, not the line; and a note of who runs now, which would cost something at each call.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from .log import Log

# Seconds without a sign of life after which the loop counts as blocked, and between two questions for one.
LIMIT, EVERY = 0.25, 0.1
# The same culprit is named again after so many seconds.
SELDOM = 60.0
# So many innermost calls of the stack are written down.
DEEPEST = 12
# Who was running, for the log: given the innermost frame, what the line says of it ("binding", "method"); {} when it was no sink.
Blame = Callable[[FrameType], dict[str, str]]


def nobody(frame: FrameType) -> dict[str, str]:
    """Knows of no sinks."""
    return {}


class Stalls:
    """Watches one loop.

    Args:
        log: where it is said; written to from a thread.
        blame: names the sink that runs.
        limit: seconds from which the loop counts as blocked.
    """

    def __init__(self, log: Log, blame: Blame = nobody, limit: float = LIMIT) -> None:
        self._log = log
        self._blame = blame
        self._limit = limit
        self._last: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to watch the running loop, whose thread this is."""
        self._ended.clear()
        args = (asyncio.get_running_loop(), threading.get_ident())
        self._thread = threading.Thread(target=self._watch, args=args, name="penstock-stalls", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends that; returns at once."""
        self._ended.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            while not self._ended.wait(EVERY):
                alive = threading.Event()
                asked = time.monotonic()
                loop.call_soon_threadsafe(alive.set)
                if not alive.wait(self._limit):
                    self._blocked(thread, alive, asked)

    def _blocked(self, thread: int, alive: threading.Event, asked: float) -> None:
        frame = sys._current_frames().get(thread)  # noqa: SLF001 - the documented way to another thread's stack
        if frame is None or alive.is_set():
            return
        blamed = self._blame(frame)
        lines = [f"{f.filename}:{f.lineno} in {f.name}: {f.line}" for f in traceback.extract_stack(frame)[-DEEPEST:]]
        del frame  # it would keep alive all that the handler holds
        culprit = blamed.get("binding", "") or lines[-1]
        now = time.monotonic()
        is_news = now - self._last.get(culprit, -SELDOM) >= SELDOM
        if is_news:
            if len(self._last) > 1000:
                self._last.clear()
            self._last[culprit] = now
            self._log.warning("the loop is blocked", **blamed, stack=lines)
        while not alive.wait(EVERY):
            if self._ended.is_set():
                return
        if is_news:
            self._log.warning("the loop runs again", **blamed, seconds=round(time.monotonic() - asked, 2))
