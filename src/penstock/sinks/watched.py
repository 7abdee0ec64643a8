"""Files that an administrator edits while the server runs: read again when they change, and never worse than they were.

A look at the file's date and size each second, in a thread, is all that it costs; look-ups find what was read last. Rejected: inotify,
which is not there for network file systems and says nothing about a file that is replaced by another; and to look at each look-up, since a
file of a hundred thousand lines that changed would then be read while all sessions wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from penstock.errors import ConfigError

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """A file and what was read from it.

    Args:
        path: the file.
        read: makes a value of the file; raises ConfigError.
    """

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self.path = path
        self.error = ""
        self._read = read
        self._mark: tuple[int, ...] | None = None
        self._value: T | None = None

    @property
    def value(self) -> T | None:
        """What was read last without an error; None when nothing ever was."""
        return self._value

    def refresh(self) -> bool:
        """Reads the file when it changed since the last time; whether it was read, or found that it cannot be. May wait for the disk.

        A file that is wrong leaves the value as it was, and ``error`` says why.
        """
        try:
            status = self.path.stat()
            # Taken before the file is read: what is written meanwhile is seen the next time.
            mark: tuple[int, ...] = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev, status.st_ctime_ns)
        except OSError as error:
            mark = (error.errno or 0,)
        if mark == self._mark:
            return False
        self._mark = mark
        try:
            self._value = self._read(self.path)
            self.error = ""
        except ConfigError as error:
            self.error = str(error)
        return True


def read_text(path: Path, largest: int) -> str:
    """The text of a file of an administrator's.

    Args:
        path: the file.
        largest: octets above which it is taken for something else.

    Raises: ConfigError with the path and the reason.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(largest + 1)
        if len(raw) > largest:
            raise ConfigError(str(path), f"the file has more than {largest} octets")
        return raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"the file cannot be read: {error}") from None


class Watch:
    """Calls a function again and again, in a thread.

    Args:
        look: what is called.
        seconds: how far apart.
    """

    def __init__(self, look: Callable[[], None], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Ends; a look under way is waited for."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await _ended(task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await asyncio.to_thread(self._look)


async def _ended(task: Awaitable[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await task
