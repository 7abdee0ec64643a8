"""Keeps traces in files: bounded, cheap, and harmless when something breaks.

A worker appends lines to a file, and begins another one when that is full; the oldest files go first. Files are written by a thread, from a
queue of bounded size: when the disk is slower than the mail, traces are dropped and counted, and no session waits. Nothing is synced: a
trace tells what happened to mail, it is not the mail. After a crash the last line may be torn; each start begins a new file, so that
nothing is ever written behind it, and a reader skips a line that is none.

Rejected: a database, whose writes cost more than what is traced, and an index: reading some dozen megabytes takes less than a second, and
is only done when somebody asks.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .trace_entries import Entry, encode_entry

PATTERN = "trace-*.jsonl"
# A folder is made of so many files; so that much of it goes at once.
_FILES = 16
_SMALLEST = 64 * 1024
# Seconds until a disk that failed is tried again, and between looks for files that are too old.
_REST, _TIDY = 10.0, 600.0


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """How much is kept.

    Args:
        folder: where; one for each worker.
        size: octets of all files together.
        age: seconds after which a file is removed.
        entry: octets of one entry.
        waiting: octets of entries that wait to be written.
    """

    folder: Path
    size: int = 64 * 1024 * 1024
    age: float = 7 * 86400.0
    entry: int = 16 * 1024
    waiting: int = 4 * 1024 * 1024


class TraceStore:
    """Writes entries to files.

    ``written`` and ``dropped`` count entries. The folder is made when there is something to write.

    Args:
        settings: how much is kept.
        on_trouble: told, in a thread of its own, what is wrong with the files.
    """

    def __init__(self, settings: TraceSettings, on_trouble: Callable[[str], None] = lambda what: None) -> None:
        self.settings = settings
        self.written = 0
        self.dropped = 0
        self._on_trouble = on_trouble
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._files = _Files(settings)

    def put(self, entry: Entry) -> None:
        """Takes an entry; from any thread, and without waiting for the disk."""
        try:
            line = encode_entry(entry, self.settings.entry)
        except (ValueError, TypeError):
            self.dropped += 1
            return
        with self._changed:
            if self._closed or self._waiting + len(line) > self.settings.waiting:
                self.dropped += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="traces", daemon=True)
                self._thread.start()
            elif len(self._lines) == 1:
                self._changed.notify_all()

    def flush(self, seconds: float = 5.0) -> bool:
        """Waits until all entries so far are written; False when that takes too long. Blocks: not for the loop."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._busy, seconds)

    def close(self, seconds: float = 5.0) -> None:
        """Writes what waits, and takes nothing more. Blocks for so long at most."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._closed, _TIDY)
                lines, self._lines, self._waiting = self._lines, deque(), 0
                self._busy = bool(lines)
                if not lines and self._closed:
                    self._files.close()
                    return
            self._write(lines)

    def _write(self, lines: deque[bytes]) -> None:
        try:
            self._files.tidy()
            self._files.write(lines)
            self.written += len(lines)
        except OSError as error:
            self.dropped += len(lines)
            if self._files.rest():
                self._on_trouble(f"{self.settings.folder}: {error.strerror or error}")


class _Files:
    """The files of one worker; used by one thread."""

    def __init__(self, settings: TraceSettings) -> None:
        self._settings = settings
        self._most = max(settings.size // _FILES, min(_SMALLEST, settings.size))
        self._fd = -1
        self._size = 0
        self._begun = 0.0
        self._tidied = 0.0
        self._resting = 0.0

    def write(self, lines: deque[bytes]) -> None:
        """Appends lines. Raises OSError; then some of them may be there."""
        if time.monotonic() < self._resting:
            raise OSError(0, "the files could not be written lately")
        block = bytearray()
        for line in lines:
            if self._fd < 0 or self._size + len(block) + len(line) > self._most or time.time() - self._begun > self._settings.age / _FILES:
                self._append(block)
                self._begin()
            block += line
        self._append(block)

    def rest(self) -> bool:
        """Leaves the disk alone for a while; whether this is news."""
        news = time.monotonic() >= self._resting
        if news:
            self._resting = time.monotonic() + _REST
        self.close()
        return news

    def close(self) -> None:
        """Ends the present file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def tidy(self) -> None:
        """Removes what is too old, now and then."""
        if time.monotonic() - self._tidied > _TIDY or not self._tidied:
            self._tidied = time.monotonic()
            self._remove(0)

    def _append(self, block: bytearray) -> None:
        self._size += len(block)
        rest = memoryview(bytes(block))
        block.clear()
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def _begin(self) -> None:
        """Begins another file, which nobody else has ever written to."""
        self.close()
        folder = self._settings.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove(self._most)
        number = max((number_of(path) for path in folder.glob(PATTERN)), default=0)
        while self._fd < 0:
            number += 1
            # A dying worker of the same number may write here too.
            with contextlib.suppress(FileExistsError):
                self._fd = os.open(
                    folder / f"trace-{number:08}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
        self._size, self._begun = 0, time.time()

    def _remove(self, room: int) -> None:
        """Removes files that are too old, and the oldest until there is room for so many octets more."""
        oldest = time.time() - self._settings.age
        files = [(path, found) for path in sorted(self._settings.folder.glob(PATTERN)) if (found := _stat(path)) is not None]
        total = sum(found.st_size for _, found in files)
        for path, found in files:
            if total + room <= self._settings.size and found.st_mtime >= oldest:
                continue
            path.unlink(missing_ok=True)
            total -= found.st_size


def number_of(path: Path) -> int:
    """The number in a file's name; 0 for a stranger's."""
    digits = path.stem.removeprefix("trace-")
    return int(digits) if digits.isdigit() else 0


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
