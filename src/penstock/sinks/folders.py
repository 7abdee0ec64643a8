"""Folders that survive a power loss, and that say clearly why they cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.errors import ConfigError


def make_durably(path: Path, mode: int = 0o777) -> None:
    """Makes a folder and those above it, where they are missing; each is on stable storage when this returns.

    Args:
        path: the folder; one that is there is left as it is.
        mode: the permissions of what is made.

    Raises: OSError.
    """
    if path.is_dir():
        return
    make_durably(path.parent, mode)
    path.mkdir(mode, exist_ok=True)
    # A new name is only safe when the folder that holds it is synced.
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
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
        make_durably(path)
        trial.touch()
        trial.unlink()
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror or error}"
        raise ConfigError(where, what, "name a folder that the server's user may write to") from error
