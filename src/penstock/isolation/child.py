"""What runs in a sink process: ``python -m penstock sink-process --fd N --page N``, started by the worker and by nobody else.

It has one socket, and ends when that does. It takes no signals of a terminal: only its worker decides about it. Its limits are set before
the user's code is imported, so that an import has them too."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import inspect
import os
import pickle
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import uvloop

from ..events.keeping import close_kept
from ..events.sink import Sink
from ..observe.log import get_log
from . import lines
from .channel import Channel, Incoming, close_all
from .frames import Answer, Call, Cancel, Hello, Line, Over, Ready, Settings, Stop, ToChild
from .handling import Handling
from .page import Page

_PR_SET_PDEATHSIG = 1
_decoder: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)


def main(words: Sequence[str]) -> None:
    """Runs a sink process.

    Args:
        words: ``--fd N``, the socket, and ``--page N``, the memory that says what runs.
    """
    given = dict(zip(words[::2], words[1::2], strict=True))
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
        # SIGTERM too: who stops a whole service sends it to all, and the worker may still have mail that we have to see.
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    sock = socket.socket(fileno=int(given["--fd"]))
    page = Page(int(given["--page"]))
    for descriptor in (sock.fileno(), page.fileno()):
        # What the sink starts gets neither.
        os.set_inheritable(descriptor, False)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_Child(sock, page).run())
    # Threads that hang would keep the interpreter from ending.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What happens outside of handlers is told to the server's log; without memory nothing can be told, and nothing goes on."""
    if isinstance(context.get("exception"), MemoryError):
        os._exit(os.EX_OSERR)
    loop.default_exception_handler(context)


class _Child:
    """The process."""

    def __init__(self, sock: socket.socket, page: Page) -> None:
        self._sock = sock
        self._page = page
        self._sink: Sink[Any] | None = None
        self._handling: Handling | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until the server closes the socket."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._over = self._loop.create_future()
        self._channel: Channel[ToChild] = Channel(self._sock, _decoder, self._take, self._gone)
        self._loop.set_exception_handler(_unexpected)
        lines.forward(self._log)
        await self._over

    def _gone(self, _error: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _take(self, incoming: Incoming[ToChild]) -> None:
        frame = incoming.frame
        if isinstance(frame, Call) and self._handling is not None:
            self._handling.begin(frame, incoming.descriptors)
            return
        close_all(incoming.descriptors)
        if isinstance(frame, Answer) and self._handling is not None:
            self._handling.questions.answered(frame)
        elif isinstance(frame, Cancel) and self._handling is not None:
            self._handling.cancel(frame.id)
        elif isinstance(frame, Over) and self._handling is not None:
            self._handling.over(frame.keys)
        elif isinstance(frame, Hello | Settings | Stop):
            task = self._loop.create_task(self._obey(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _obey(self, frame: Hello | Settings | Stop) -> None:
        """Does what concerns the sink as a whole, and says whether it worked."""
        try:
            if isinstance(frame, Hello):
                await self._begin(frame)
            elif isinstance(frame, Settings):
                await self._change(pickle.loads(frame.settings))  # noqa: S301 - from our own worker
            else:
                assert self._sink is not None
                await self._sink.stop()
                await close_kept(self._sink)
        except BaseException as error:
            # SystemExit too: a module may call sys.exit when it is imported.
            self._channel.send(Ready(f"{type(error).__name__}: {error}"))
            return
        self._channel.send(Ready())

    async def _begin(self, hello: Hello) -> None:
        if hello.memory:
            resource.setrlimit(resource.RLIMIT_AS, (hello.memory, hello.memory))
        sys.path[:] = hello.path
        found: Any = importlib.import_module(hello.module)
        for name in hello.qualname.split("."):
            found = getattr(found, name)
        settings = pickle.loads(hello.settings)  # noqa: S301 - from our own worker
        self._sink = found() if settings is None else found(settings)
        self._sink.log = get_log()
        await self._sink.start()
        self._handling = Handling(self._sink, hello.threads, hello.server, self._page, self._channel)
        gc.collect()
        gc.freeze()

    async def _change(self, settings: Any) -> None:
        sink: Any = self._sink
        changed = sink.settings_changed(settings)
        if inspect.isawaitable(changed):
            await changed
        sink.settings = settings

    def _log(self, line: Line) -> None:
        """Sends a line, from any thread."""
        if threading.get_ident() == self._thread:
            self._send_line(line)
        else:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._send_line, line)

    def _send_line(self, line: Line) -> None:
        with contextlib.suppress(ValueError):
            self._channel.send(line)
