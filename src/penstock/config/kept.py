"""The live changes of the bindings: a file beside the spool, which the server reads after all that the administrator wrote.

It is one JSON document, replaced as a whole, so that a crash leaves the old one or the new one. It says for each binding what differs from
the files, who said so and when; a short history follows for whoever wonders. Rejected: a log of changes that is played again at each start,
for it grows without end, and a line whose binding is gone from the files would stop all that follow.

The file can name any Python class, so it is believed only when nobody but the spool's owner and root could have written it.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ConfigError

NAME, LOCK = "bindings.json", "bindings.lock"
# More than a thousand bindings with settings need; what is larger was not written by us.
MAX_OCTETS = 8 * 1024 * 1024
MAX_HISTORY = 200
# How long a command waits for another one: each imports the sinks, which may take a while.
LOCK_WAIT = 15.0


class Override(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What differs from the files in one binding.

    Args:
        by: who changed it last.
        at: when, in seconds since 1970.
        table: the whole binding, where it was added; None where it is one of the files.
        replaces: it was added in the place of one of the files, on purpose.
        removed: it is taken out.
        values: keys that were set, by their dotted names, in the order in which they were; None where the key is taken out.
    """

    by: str
    at: float
    table: dict[str, Any] | None = None
    replaces: bool = False
    removed: bool = False
    values: dict[str, Any] = {}


class Deed(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One change that was made. The values are not in it, since they may be secrets.

    Args:
        at: when, in seconds since 1970.
        by: who.
        op: what.
        name: with which binding; "" for all.
        keys: which of its keys.
    """

    at: float
    by: str
    op: str
    name: str
    keys: list[str] = []


class Kept(msgspec.Struct, forbid_unknown_fields=True):
    """All live changes.

    Args:
        version: of this form.
        bindings: by name.
        history: the last changes, oldest first.
    """

    version: int = 1
    bindings: dict[str, Override] = {}
    history: list[Deed] = []


def read(path: Path) -> Kept:
    """The live changes; none when there is no file. Raises ConfigError for what cannot be used, with how to get rid of it."""
    hint = "'penstock bindings reset --all' sets the file aside and goes back to what the files say"
    try:
        data = _content(path)
        kept = msgspec.json.decode(data, type=Kept) if data is not None else Kept()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(str(path), f"the live changes cannot be read: {error}", hint) from None
    except OSError as error:
        raise ConfigError(str(path), f"the live changes cannot be read: {error.strerror or error}", hint) from error
    except ValueError as error:
        raise ConfigError(str(path), str(error), hint) from None
    if kept.version != 1:
        raise ConfigError(str(path), f"the live changes have form {kept.version}, and this version knows form 1", hint)
    return kept


def visible(path: Path) -> tuple[Kept, str]:
    """The live changes as far as this user may see them, and what to tell him where he may not; "" where he may.

    Whoever checks a file may be another user than the server's. Raises ConfigError as ``read`` does.
    """
    try:
        return read(path), ""
    except ConfigError as error:
        if isinstance(error.__cause__, PermissionError):
            return Kept(), f"this user may not read {path}, so live changes are not looked at"
        raise


def _content(path: Path) -> bytes | None:
    """What is in the file; None when it is not there. Raises ValueError for a file that a stranger could have written."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("the live changes are no file")
        if found.st_uid not in (0, path.parent.stat().st_uid) or stat.S_IMODE(found.st_mode) & 0o022:
            raise ValueError("others may have written the live changes: the file is to belong to the spool's owner, who alone may write it")
        if found.st_size > MAX_OCTETS:
            raise ValueError(f"the live changes are too large: {found.st_size} octets")
        return file.read(MAX_OCTETS)


def write(path: Path, kept: Kept) -> None:
    """Puts these changes in the place of those before, whole or not at all. Raises ConfigError."""
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.format(encode(kept), indent=1))
            _give_to_owner(fd, path.parent)
            file.flush()
            os.fsync(fd)
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(str(path), f"the live changes cannot be written: {error.strerror or error}", "nothing was changed") from None


def encode(kept: Kept) -> bytes:
    """As it is in the file. Raises ConfigError for values that JSON does not have."""
    try:
        return msgspec.json.encode(kept)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError("live changes", f"this cannot be kept: {error}") from None


def set_aside(path: Path) -> Path | None:
    """Moves the file away, never deletes it; where it is now, None when that failed."""
    number = 0
    while (aside := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
        _sync_folder(path.parent)
    except OSError:
        return None
    return aside


def _give_to_owner(fd: int, folder: Path) -> None:
    """What root writes is the server's to read, which runs as the folder's owner."""
    if os.geteuid() == 0:
        found = folder.stat()
        os.fchown(fd, found.st_uid, found.st_gid)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other commands from changing the file meanwhile. Raises ConfigError when one of them takes too long.

    The system frees the lock when its holder dies, however that happens.
    """
    fd = _open_lock(path)
    try:
        until = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ConfigError(str(path), "another command is changing the bindings just now", "try again when it is done") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def _open_lock(path: Path) -> int:
    lock = path.with_name(LOCK)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "run this as the server's user, or root"
        raise ConfigError(str(path), f"the bindings cannot be changed: {lock}: {error.strerror or error}", hint) from None
    _give_to_owner(fd, path.parent)
    return fd
