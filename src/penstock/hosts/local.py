"""Listening on a Unix socket, as LMTP between programs of one machine does: who may connect is said by the rights of a file.

One socket for all workers, which take connections from it in turn: a path cannot be shared as a port can. The file that a killed server
left behind is taken away, but only when nobody answers there. Rejected: to take it away in any case, as that would silently take over
from a server that runs.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

BACKLOG = 1024
PREFIX = "unix:"
# A client that is let wait is alive all the same.
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may connect.

    Args:
        mode: of the socket's file; connecting takes the right to write.
        group: its group; "" for that of the server.
        user: its owner, as a number; None for the one who starts the server.
    """

    mode: int = 0o660
    group: str = ""
    user: int | None = None


def is_local(host: str) -> bool:
    """Whether this is a path and no IP address."""
    return host.startswith(PREFIX)


def open_local(name: str, host: str, rights: Rights) -> socket.socket:
    """A listening socket at a path. Raises ConfigError when it cannot be had.

    Args:
        name: the listener's.
        host: ``unix:`` and the path.
        rights: who may connect.
    """
    path, where = Path(host.removeprefix(PREFIX)), f"listener.{name}.address"
    group = _group(rights.group, f"listener.{name}.socket_group")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made = False
    try:
        _clear(path)
        # Nobody may connect before the rights are what they are to be: the file is made without any.
        before = os.umask(0o777)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        made = True
        os.chown(path, -1 if rights.user is None else rights.user, group)
        path.chmod(rights.mode)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if made:
            with contextlib.suppress(OSError):
                path.unlink()
        raise ConfigError(where, f"cannot listen on {path}: {error.strerror}", _HINTS.get(error.errno or 0, "")) from None
    return sock


_HINTS = {
    errno.EADDRINUSE: "another server listens there",
    errno.ENOTSOCK: "there is a file that is no socket; name another path, or take it away",
    errno.ENOENT: "make the folder that is to have the socket",
    errno.EACCES: "the folder must be one that the server may write to",
    errno.EPERM: "only root may give a socket to a group that the server is not in",
}


def _group(name: str, where: str) -> int:
    if not name:
        return -1
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(where, f"there is no group {name!r}", "make it with groupadd, or name another") from None


def _clear(path: Path) -> None:
    """Takes away what a server left behind that is gone. Raises OSError when somebody listens there, or it is no socket."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_PATIENCE)
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def place_of(sock: socket.socket) -> tuple[str, int]:
    """Where a socket listens: host and port, or ``unix:`` with the path, and 0."""
    name = sock.getsockname()
    return (f"{PREFIX}{name}", 0) if sock.family == socket.AF_UNIX else (str(name[0]), int(name[1]))


def shown(place: tuple[str, int]) -> str:
    """A place as logs have it."""
    return place[0] if is_local(place[0]) else f"{place[0]}:{place[1]}"


def remove(sock: socket.socket) -> None:
    """Takes the file of a socket away when the server stops; one that may not be taken away is taken over at the next start."""
    place, _ = place_of(sock)
    if is_local(place):
        with contextlib.suppress(OSError):
            Path(place.removeprefix(PREFIX)).unlink()
