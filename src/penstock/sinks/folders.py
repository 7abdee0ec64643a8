"""Folders that survive a power loss, and that say clearly why they cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.errors import ConfigError

# More names than this are not remembered; they are only synced again.
_MOST = 100_000


class Folders:
    """Makes folders, and knows which are on stable storage already.

    That a folder is there does not say that its name would survive a power loss: another thread may have made it a moment ago, or a process
    that died before its sync. So each folder's name is synced once in the life of this object, whoever made it.
    """

    def __init__(self) -> None:
        self._durable: set[Path] = set()

    def make(self, path: Path, mode: int = 0o777) -> None:
        """Makes a folder and those above it, where they are missing; each is on stable storage when this returns.

        Args:
            path: the folder; one that is there is left as it is.
            mode: the permissions of what is made.

        Raises: OSError.
        """
        there = path.is_dir()
        if there and (path in self._durable or path.parent == path):
            return
        self.make(path.parent, mode)
        made = not there
        if made:
            path.mkdir(mode, exist_ok=True)
        try:
            # A new name is only safe when the folder that holds it is synced.
            _sync(path.parent)
        except PermissionError:
            if made:
                raise
        if len(self._durable) >= _MOST:
            self._durable.clear()
        self._durable.add(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def must_be_writable(where: str, path: Path) -> None:
    """Makes the folder where it is missing and tries to write into it.

    Args:
        where: the sink and the setting, for the error.
        path: the folder.

    Raises: ConfigError with the path and the reason.
    """
    trial = path / f".penstock-{os.getpid()}.trial"
    try:
        Folders().make(path)
        trial.touch()
        trial.unlink()
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror or error}"
        raise ConfigError(where, what, "name a folder that the server's user may write to") from error
