"""Which process has the other end of a connection: what /proc/net/tcp and /proc/PID/fd say."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from .waiting import wait_until


def owner(connection: socket.socket, pids: Iterable[int]) -> int:
    """The one of the processes that serves this IPv4 connection of ours."""
    candidates = list(pids)
    ours, theirs = connection.getsockname()[1], connection.getpeername()[1]
    return wait_until(lambda: _owner(theirs, ours, candidates), f"one of {candidates} serves port {ours}")


def _owner(local: int, remote: int, pids: list[int]) -> int:
    """0 when none does (yet). Both ports count: connections of others, ended ones too, may have used the same port of the client."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
            wanted = f"socket:[{fields[9]}]"
            return next((pid for pid in pids if wanted in _files(pid)), 0)
    return 0


def _files(pid: int) -> set[str]:
    """What the descriptors of a process point to."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(path))  # noqa: PTH115 - Path.readlink makes a path of what is none
        except OSError:
            continue
    return found
