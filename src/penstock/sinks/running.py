"""Runs a program with a message on its standard input, in this thread, and never longer than it may.

Rejected: asyncio's subprocesses, since uvloop's take neither user nor umask. Rejected: ``Popen.communicate``, which wants the whole message
in memory and keeps all of the output.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_KEPT = 4096
_CHUNK = 64 * 1024
# How long the output of a program that ended is waited for: a child of its own may hold it open.
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Program:
    """What is run, and how.

    Args:
        arguments: the program with its whole path, and its arguments.
        environment: all that it gets.
        directory: where it runs.
        umask: for the files that it makes.
        user: arguments of Popen that make it run as another user.
        seconds: how long it may take.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str = "/"
    umask: int = 0o077
    user: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 120.0


def run(program: Program, content: Iterator[bytes]) -> tuple[int, bytes]:
    """Runs a program in a process group of its own, all of which is killed when it ends or is late.

    Args:
        program: the program.
        content: what it reads; one that ends early has its reasons.

    Returns: the exit code, minus the number of the signal that ended it, and the first 4 KiB of what it wrote.

    Raises: OSError or ValueError when it cannot be started; TimeoutError when it was killed.
    """
    process = subprocess.Popen(  # noqa: S603  # the administrator's own command, without a shell
        program.arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(program.environment),
        cwd=program.directory,
        umask=program.umask,
        start_new_session=True,
        bufsize=0,
        **program.user,
    )
    talk = _Talk(process, content)
    try:
        talk.hold(time.monotonic() + program.seconds)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        talk.close()
        # As another user it cannot always be killed; whoever waits for mail does not wait for that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
    return process.returncode, bytes(talk.output)


class _Talk:
    """What goes to a program and comes from it, until it has ended.

    Args:
        process: the program.
        content: what it reads.
    """

    def __init__(self, process: subprocess.Popen[bytes], content: Iterator[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.output = bytearray()
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self._input = process.stdin.fileno()
        self._content = content
        self._waiting = b""
        self._silent = False

    def hold(self, end: float) -> None:
        """Until then, of the monotonic clock. Raises TimeoutError."""
        watch = os.pidfd_open(self._process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                for file, event, step in (
                    (self._stdin.fileno(), selectors.EVENT_WRITE, self._write),
                    (self._stdout.fileno(), selectors.EVENT_READ, self._read),
                    (watch, selectors.EVENT_READ, lambda: False),
                ):
                    if file != watch:
                        os.set_blocking(file, False)
                    selector.register(file, event, (file, step))
                self._turn(selector, watch, end)
        finally:
            os.close(watch)

    def close(self) -> None:
        """Closes both ends."""
        self._stdin.close()
        self._stdout.close()

    def _turn(self, selector: selectors.BaseSelector, watch: int, end: float) -> None:
        ended = False
        while not (ended and self._silent):
            left = end - time.monotonic()
            if left <= 0:
                if ended:  # only a child that holds the output open is late
                    return
                raise TimeoutError
            for key, _ in selector.select(left):
                file, step = key.data
                if step():
                    continue
                selector.unregister(file)
                if file == watch:
                    ended, end = True, min(end, time.monotonic() + _PATIENCE)
                elif file == self._input:
                    self._stdin.close()

    def _write(self) -> bool:
        """Writes a piece; False when all is written, or the program reads no more."""
        self._waiting = self._waiting or next(self._content, b"")
        try:
            self._waiting = self._waiting[os.write(self._input, self._waiting) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self._waiting) or self._more()

    def _more(self) -> bool:
        self._waiting = next(self._content, b"")
        return bool(self._waiting)

    def _read(self) -> bool:
        """Reads what is there; False at the end."""
        try:
            piece = os.read(self._stdout.fileno(), _CHUNK)
        except BlockingIOError:
            return True
        self.output += piece[: _KEPT - len(self.output)]
        self._silent = not piece
        return bool(piece)
