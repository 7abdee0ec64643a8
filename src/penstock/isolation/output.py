"""What a sink process writes to its standard output and error: lines of the server's log, as many as anybody wants to read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

from ..observe.log import Log

# A longer line is cut; so many lines in so many seconds are kept.
LONGEST = 4096
MOST, PERIOD = 100, 10.0


class Output:
    """Reads one of the two.

    Args:
        descriptor: to read from; belongs to this object.
        stream: "stdout" or "stderr".
        log: with the binding's name.
    """

    def __init__(self, descriptor: int, stream: str, log: Log) -> None:
        self._descriptor = descriptor
        self._stream = stream
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._begun = 0.0
        self._written = 0
        self._dropped = 0
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        """Reads what is left, says how much was not kept, and lets go."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self._take(os.read(self._descriptor, 65536) + b"\n")
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        self._say_dropped()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._descriptor)
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        self._rest = rest[:LONGEST]

    def _line(self, line: bytes) -> None:
        text = line[:LONGEST].decode("utf-8", "replace").rstrip()
        if not text:
            return
        now = time.monotonic()
        if now - self._begun > PERIOD:
            self._say_dropped()
            self._begun, self._written = now, 0
        self._written += 1
        if self._written > MOST:
            self._dropped += 1
            return
        self._log.info("sink process wrote", stream=self._stream, text=text)

    def _say_dropped(self) -> None:
        if self._dropped:
            self._log.warning("sink process writes too much", stream=self._stream, lines=self._dropped)
            self._dropped = 0
