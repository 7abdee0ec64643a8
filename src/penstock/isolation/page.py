"""A page of memory that both sides see, in which a sink process says what it runs at this moment.

A process that is stuck, or dead, cannot be asked; the page still says which call had it, since when, and what CPU time that call had used.
So the call that is to blame fails, and the others are tried once more.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# The call, its CPU time before in ns, its thread's CPU time when this step began in ns, when that was in monotonic ns, and the thread.
_ROW = struct.Struct("<QQQQQ")
ROWS = mmap.PAGESIZE // _ROW.size
_NOTHING = bytes(_ROW.size)


@dataclass(frozen=True, slots=True)
class Running:
    """A call that has a thread at this moment.

    Args:
        call: its id.
        row: 0 for the process's loop.
        since: monotonic seconds.
        before: seconds of CPU time that it used in earlier steps.
        at: the thread's CPU time at the beginning of this step, in seconds.
        thread: the kernel's id of the thread.
    """

    call: int
    row: int
    since: float
    before: float
    at: float
    thread: int


class Page:
    """The page.

    Args:
        descriptor: of the memory; belongs to this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._free = list(range(ROWS - 1, 0, -1))
        self._lock = threading.Lock()

    @classmethod
    def new(cls) -> Page:
        """A page of zeros."""
        descriptor = os.memfd_create("penstock-page", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, mmap.PAGESIZE)
        return cls(descriptor)

    def fileno(self) -> int:
        """The descriptor, to be inherited."""
        return self._descriptor

    def close(self) -> None:
        """Lets go of the memory."""
        self._map.close()
        os.close(self._descriptor)

    def enter(self, row: int, call: int, before: int) -> int:
        """Says that a call has this thread now; the thread's CPU time in ns."""
        at = time.thread_time_ns()
        _ROW.pack_into(self._map, row * _ROW.size, call, before, at, time.monotonic_ns(), threading.get_native_id())
        return at

    def leave(self, row: int) -> None:
        """Says that no call has it any more."""
        self._map[row * _ROW.size : (row + 1) * _ROW.size] = _NOTHING

    def take_row(self) -> int:
        """A row for a thread; the last one is shared when there are too many."""
        with self._lock:
            return self._free.pop() if self._free else ROWS - 1

    def give_row(self, row: int) -> None:
        """Gives the row back."""
        self.leave(row)
        with self._lock:
            self._free.append(row)

    def running(self) -> list[Running]:
        """What runs now, as far as the process says."""
        found = []
        for row in range(ROWS):
            call, before, at, since, thread = _ROW.unpack_from(self._map, row * _ROW.size)
            if call:
                found.append(Running(call, row, since / 1e9, before / 1e9, at / 1e9, thread))
        return found

    def spent(self, pid: int, running: Running) -> float:
        """Seconds of CPU time that a running call has used so far; 0 when it cannot be known."""
        try:
            now = int(Path(f"/proc/{pid}/task/{running.thread}/schedstat").read_text().split()[0]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0
        with contextlib.suppress(ValueError):
            call, _, _, since, _ = _ROW.unpack_from(self._map, running.row * _ROW.size)
            if (call, since / 1e9) == (running.call, running.since):
                return running.before + now - running.at
        return 0.0
