"""The folders that are the server's own: made for its user before it gives up being root, and refused when they are another's.

What is there already is never given away: a link or a file that somebody else put there would get a new owner. An administrator who moves a
server to another user says so himself.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError
from .account import Account
from .schema import Config


def own_folders(config: Config) -> Iterator[tuple[str, Path]]:
    """The key and path of each."""
    yield "server.spool", config.resolve(config.server.spool)
    yield "server.control", config.resolve(config.server.control)
    if config.trace.sample > 0 or config.trace.match is not None:
        yield "trace.folder", config.resolve(config.trace.folder)
    if config.capture.enabled:
        yield "capture.folder", config.resolve(config.capture.folder)


def make_folders(config: Config, account: Account) -> None:
    """Makes those that are missing, for the user alone; what is above them stays root's. Raises ConfigError."""
    for key, path in own_folders(config):
        try:
            _make(path, account)
        except OSError as error:
            raise ConfigError(f"{config.path}: {key}", f"the folder {path} cannot be made: {error.strerror}") from None


def _make(path: Path, account: Account) -> None:
    # Others must pass through what is above; umask is ours to set, and back again: nothing else runs yet.
    before = os.umask(0o022)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    finally:
        os.umask(before)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, account.uid, account.gid)
    finally:
        os.close(descriptor)


def check_owner(config: Config, uid: int) -> None:
    """Refuses a spool that belongs to another user than the server's, even in part: what one of them writes the other could not use.

    Args:
        config: the configuration.
        uid: of the server's user.

    Raises: ConfigError.
    """
    spool = config.resolve(config.server.spool)
    for path in _own(spool):
        try:
            found = path.stat(follow_symlinks=False) if path != spool else path.stat()
        except OSError:
            continue
        if found.st_uid != uid:
            what = f"{path} belongs to the user {_name(found.st_uid)}, and the server runs as {_name(uid)}"
            hint = f"stop every server on it, then: chown -R {_name(uid)} {spool}"
            raise ConfigError(f"{config.path}: server.spool", what, hint)
        if path == spool and stat.S_IMODE(found.st_mode) & 0o022:
            raise ConfigError(f"{config.path}: server.spool", f"others may write into {path}", f"chmod go-w {path}")


def _own(spool: Path) -> Iterator[Path]:
    yield spool
    for pattern in ("worker-*", "worker-*/*"):
        yield from spool.glob(pattern)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
