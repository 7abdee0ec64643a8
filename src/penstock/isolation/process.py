"""One sink process, as the worker has it: started, asked, watched, killed, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import msgspec

from ..observe.log import Log
from .channel import Channel, Incoming
from .frames import Hello, ToChild, ToServer
from .output import Output
from .page import Page, Running

_decoder: msgspec.msgpack.Decoder[ToServer] = msgspec.msgpack.Decoder(ToServer)


class Process:
    """A process; it lives from the moment that this object is made, and ``over`` tells when it does no longer, and why.

    Args:
        hello: what it is to be.
        take: told each frame that comes from it.
        log: with the binding's name.
        over: told once why it ended, and what it ran then.

    Raises: OSError when no process can be made.
    """

    def __init__(
        self, hello: Hello, take: Callable[[Incoming[ToServer]], None], log: Log, over: Callable[[str, list[Running]], None]
    ) -> None:
        self._log = log
        self._over = over
        self._why = ""
        self._loop = asyncio.get_running_loop()
        self._page = Page.new()
        ours, theirs = socket.socketpair()
        try:
            self._popen = _spawn(hello, theirs.fileno(), self._page.fileno())
        except BaseException:
            ours.close()
            self._page.close()
            raise
        finally:
            theirs.close()
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self.pid = self._popen.pid
        self._outputs = [
            Output(os.dup(pipe.fileno()), name, log.bind(pid=self.pid))
            for pipe, name in ((self._popen.stdout, "stdout"), (self._popen.stderr, "stderr"))
        ]
        self._popen.stdout.close()
        self._popen.stderr.close()
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._ended)
        self._channel: Channel[ToServer] = Channel(ours, _decoder, take, self._lost)
        self._channel.send(hello)

    def send(self, frame: ToChild, descriptors: list[int]) -> None:
        """Sends it a frame; the descriptors are closed. Raises ValueError for one that is too large."""
        self._channel.send(frame, descriptors)

    def running(self) -> list[Running]:
        """What it runs now, as far as it says."""
        return self._page.running() if self._pidfd >= 0 else []

    def spent(self, running: Running) -> float:
        """Seconds of CPU time that a running call has used."""
        return self._page.spent(self.pid, running) if self._pidfd >= 0 else 0.0

    def kill(self, why: str) -> None:
        """Kills it, and all that it started, at once; ``over`` is told when it is gone."""
        self._why = self._why or why
        if self._pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _lost(self, error: Exception | None) -> None:
        """It closed its socket, or what came is garbage: in neither case it is of any more use."""
        if error is not None:
            self.kill(str(error))
            return
        # One that ends by itself is given the time to, so that the log has its exit status.
        self._loop.call_later(0.5, self.kill, "it closed its socket")

    def _ended(self) -> None:
        # Whatever it started belongs to it; nobody else would end that. Its number is its own until it is waited for.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self._popen.poll()
        if status is None:
            return
        running = self._page.running()
        self._channel.drain()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._channel.close()
        self._page.close()
        for output in self._outputs:
            output.close()
        self._over(self._why or _in_words(status), running)


def _spawn(hello: Hello, sock: int, page: int) -> subprocess.Popen[bytes]:
    """Starts Python as the worker was started: umask, environment and folder are inherited."""
    command = [sys.executable, "-P", "-u", "-m", "penstock", "sink-process", "--fd", str(sock), "--page", str(page)]
    # Each arena of malloc takes 64 MiB of address space, of which there may be little.
    environment = {"MALLOC_ARENA_MAX": "2", **os.environ}
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(sock, page),
        env=environment, start_new_session=True, bufsize=0,
    )  # fmt: skip


def _in_words(status: int) -> str:
    if status >= 0:
        return f"it exited with status {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was killed by signal {-status}"
