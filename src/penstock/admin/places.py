"""Where the control sockets are, and who may reach them: on both sides.

A socket lies in a folder that only its owner may enter, so that nobody else can put one of his own in its place; and the worker asks
the kernel who is at the other end, so that a folder with too many rights opens nothing.
"""

from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path

from ..errors import PenstockError

# sun_path has 108 octets on Linux (unix(7)), one of them for the NUL at its end.
MAX_PATH = 107
BACKLOG = 128


def socket_path(folder: Path, number: int) -> Path:
    """The socket of a worker."""
    return folder / f"worker-{number}.sock"


def check_path(path: Path) -> None:
    """Raises PenstockError when the path is too long for a socket."""
    length = len(os.fsencode(path))
    if length > MAX_PATH:
        raise PenstockError(
            f"the path of the control socket {path} has {length} octets, and the system allows {MAX_PATH}: name a shorter 'server.control'"
        )


def open_socket(path: Path, group: str = "") -> socket.socket:
    """A listening socket at this path, in place of one that a dead worker left.

    Args:
        path: where; its folder is made when it is not there, for the owner alone.
        group: the name of a group that may connect too, "" for none.

    Raises: PenstockError.
    """
    check_path(path)
    try:
        gid = grp.getgrnam(group).gr_gid if group else -1
    except KeyError:
        raise PenstockError(f"'server.submit_group': there is no group {group!r} on this machine") from None
    try:
        _prepare(path.parent, gid)
        if path.is_symlink() or (path.exists() and not path.is_socket()):
            raise PenstockError(f"{path} is in the way of the control socket: it is no socket; move it away")
        path.unlink(missing_ok=True)
        return _listen(path, gid)
    except OSError as error:
        raise PenstockError(f"the control socket {path} cannot be made: {error.strerror or error}") from error


def _prepare(folder: Path, gid: int) -> None:
    """Makes the folder, or sees that nobody but us writes in the one that there is: rights of a folder that we did not make stay."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.stat()
        if found.st_uid != os.geteuid():
            raise PenstockError(f"the folder {folder} belongs to another user: give it to the server's, or name another") from None
        if stat.S_IMODE(found.st_mode) & 0o022:
            raise PenstockError(f"others may write into the folder {folder}: chmod go-w {folder}") from None
    if gid >= 0:
        os.chown(folder, -1, gid)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXGRP)


def _listen(path: Path, gid: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # What others could reach between these calls they cannot use: nobody is let in before the worker asked who it is.
        sock.bind(str(path))
        path.chmod(0o600)
        if gid >= 0:
            os.chown(path, -1, gid)
            path.chmod(0o660)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
