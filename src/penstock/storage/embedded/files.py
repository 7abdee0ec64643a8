"""The spool's folder on disk: its lock, its sub-folders, durable directory entries, and the place where damage is set aside.

A new file is only safe when its directory is synced too; whoever makes or renames a file that must survive calls ``sync_directory``.
Nothing that is damaged is ever deleted: it goes to ``damaged/`` under a name that says where it came from.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from ...errors import StorageFull, StorageLocked, StorageUnavailable

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def storage_error(error: OSError, doing: str) -> StorageUnavailable:
    """The exception for the caller: StorageFull when there is no room, StorageUnavailable otherwise."""
    kind = StorageFull if error.errno in NO_ROOM else StorageUnavailable
    return kind(f"{doing}: {error.strerror or error}")


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SpoolFolder:
    """The folder of one spool: ``journal/``, ``large/``, ``damaged/``, ``index.sqlite``, ``reserve`` and ``lock``.

    Args:
        root: the folder; made when it is not there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = root / "journal"
        self.large = root / "large"
        self.damaged = root / "damaged"
        self.index = root / "index.sqlite"
        self._lock = -1
        self._reserved = False
        self._lent = False
        self._reserving = threading.Lock()

    def take(self) -> None:
        """Makes the sub-folders and takes the lock.

        Raises: StorageLocked when another process has it; StorageUnavailable when the folder cannot be used.
        """
        try:
            for folder in (self.root, self.journal, self.large, self.damaged):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            sync_directory(self.root)
            with contextlib.suppress(PermissionError):  # the parent may be somebody else's; then the folder was there before us
                sync_directory(self.root.parent)
        except OSError as error:
            self.release()
            raise storage_error(error, f"cannot use the spool folder {self.root}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise StorageLocked(f"the spool {self.root} is in use by process {owner}") from error
        with contextlib.suppress(OSError):  # a full disk; the kernel holds the lock, the number is only for people
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def make_reserve(self, size: int) -> None:
        """Keeps room for the index, which must be able to write for room to be given back. Without effect when it is there.

        Raises: OSError when there is no room for it.
        """
        with self._reserving:
            if not self._reserved:
                self._make_reserve(size)

    def _make_reserve(self, size: int) -> None:
        if self._lent:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path = self.root / "reserve"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        self._reserved = True

    def use_reserve(self) -> None:
        """Gives the reserved room to whoever writes next."""
        self._reserved = False
        (self.root / "reserve").unlink(missing_ok=True)

    @contextlib.contextmanager
    def lend_reserve(self) -> Iterator[None]:
        """Gives the reserved room away, and sees to it that it is not taken back before the work in hand is done with it."""
        self._lent = True
        try:
            self.use_reserve()
            yield
        finally:
            self._lent = False

    def release(self) -> None:
        """Gives the lock back; may be called twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def set_aside_copy(self, path: Path) -> str:
        """Copies a file into ``damaged/``; the path of the copy, or "" when there was no room for it."""
        target = self._free_name(path.name)
        try:
            shutil.copyfile(path, target)
        except OSError:
            target.unlink(missing_ok=True)
            return ""
        return str(target)

    def set_aside_move(self, path: Path) -> str:
        """Moves a file into ``damaged/``; the new path."""
        target = self._free_name(path.name)
        path.rename(target)
        return str(target)

    def set_aside_link(self, path: Path) -> str:
        """Gives a file a second name in ``damaged/``, so that it outlives the first; the new path, or "" when that failed."""
        target = self.damaged / path.name
        try:
            os.link(path, target)
        except FileExistsError:
            pass
        except OSError:
            return ""
        return str(target)

    def set_aside_bytes(self, name: str, data: bytes) -> str:
        """Keeps damaged octets under a name in ``damaged/``, once; the path, or "" when there was no room."""
        target = self.damaged / re.sub(r"[^A-Za-z0-9.@_-]", "_", name)
        try:
            if not target.exists():
                target.write_bytes(data)
        except OSError:
            return ""
        return str(target)

    def _free_name(self, name: str) -> Path:
        candidates = (self.damaged / f"{name}.{number}" for number in range(1, 1_000_000))
        return next(path for path in candidates if not path.exists())
