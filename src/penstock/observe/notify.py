"""What the service manager is told of the server: sd_notify(3), over the socket that it names in NOTIFY_SOCKET.

The protocol is a datagram of ``NAME=value`` lines, so it needs no library. Nothing here ever fails the server: who is not there to be told,
or is slow, is not told.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Self


class Notifier:
    """Tells the service manager; without one, nobody.

    ``watchdog`` is how often, in seconds, it wants a sign of life; 0 for never.

    Args:
        path: of its socket; one that begins with ``@`` has no name in the file system (unix(7)); "" for nobody.
        watchdog: seconds within which it wants a sign of life.
    """

    def __init__(self, path: str = "", watchdog: float = 0.0) -> None:
        self.watchdog = watchdog / 2
        self._socket: socket.socket | None = None
        if path.startswith(("/", "@")):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                # Now: later we may not be allowed to.
                sock.connect("\0" + path[1:] if path[0] == "@" else path)
                sock.setblocking(False)
            except OSError:
                sock.close()
            else:
                self._socket = sock

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Self:
        """As the process's environment says; the variables are taken out, as they mean no child of ours."""
        path, microseconds, pid = (environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        mine = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        return cls(path, int(microseconds) / 1e6 if mine else 0.0)

    def ready(self, status: str) -> None:
        """The server works, or works again after a reload."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload began; ``ready`` tells its end."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """The server is ending."""
        self._tell("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """One line for people, which ``systemctl status`` shows."""
        self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """A sign of life."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._socket is not None:
            # A text with a line of its own could say anything.
            message = "\n".join(line.replace("\n", " ") for line in lines)
            with contextlib.suppress(OSError):
                self._socket.send(message.encode("utf-8", "replace"))
