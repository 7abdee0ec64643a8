"""The servers that are measured, all behind one small face: start, say where you listen, count what you took, forget
it.

Each keeps every accepted message on stable storage before it answers, below the same folder and so on the same file
system. Each runs with the logging it has by default, and with its limits on clients out of the way.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Protocol

from tests.support import postfix, processes, server


class Peer(Protocol):
    """A server under measurement."""

    name: str

    def __enter__(self) -> Peer: ...
    def __exit__(self, *_: object) -> None: ...
    @property
    def address(self) -> tuple[str, int]: ...
    @property
    def root(self) -> int:
        """The process whose descendants do the work, itself included."""
        ...

    def taken(self) -> int:
        """How many messages it took since ``forget``, as its files or its log have them."""
        ...

    def forget(self) -> None:
        """Throws away what it took, so that no run pays for the one before."""
        ...


class Penstock:
    """Penstock with one worker and its default bindings."""

    def __init__(self, folder: Path, name: str = "Penstock", deliver: str = "discard:", workers: int = 1) -> None:
        self.name = name
        more = "[limits]\nconnections_per_client = 1000\n"
        self._maildir = not deliver
        self._log_from = 0
        self._server = server.Server(folder, workers=workers, deliver=deliver, more=more)

    def __enter__(self) -> Penstock:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def address(self) -> tuple[str, int]:
        return self._server.address

    @property
    def root(self) -> int:
        return self._server.supervisor

    @property
    def worker(self) -> int:
        """The process that does the work, for profilers."""
        return self._server.workers[0]

    def taken(self) -> int:
        if self._maildir:
            return _files(self._server.mail)
        with self._server.log_path.open("rb") as log:
            log.seek(self._log_from)
            return sum(b'"delivered"' in line for line in log)

    def forget(self) -> None:
        shutil.rmtree(self._server.mail, ignore_errors=True)
        self._log_from = self._server.log_path.stat().st_size


class Aiosmtpd:
    """aiosmtpd with a handler that syncs, on asyncio's own loop as its Controller runs it, or on uvloop; see ``aiosmtpd_server``."""

    def __init__(self, folder: Path, loop: str = "asyncio") -> None:
        self.name = "aiosmtpd" if loop == "asyncio" else f"aiosmtpd ({loop})"
        self._loop = loop
        self._folder = folder
        self._port = 0

    def __enter__(self) -> Aiosmtpd:
        reader, writer = os.pipe()
        command = [sys.executable, "-m", "bench.aiosmtpd_server", str(self._folder), str(writer), self._loop]
        root = Path(__file__).resolve().parent.parent
        self._process = processes.spawn(command, pass_fds=[writer], cwd=root)
        os.close(writer)
        with os.fdopen(reader) as line:
            self._port = int(line.readline())
        return self

    def __exit__(self, *_: object) -> None:
        processes.end(self._process)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    @property
    def root(self) -> int:
        return self._process.pid

    def taken(self) -> int:
        return _files(self._folder / "new")

    def forget(self) -> None:
        _empty(self._folder / "new")


class Postfix:
    """Postfix that takes mail and discards it, or (``hold``) takes it and leaves it in the hold queue."""

    def __init__(self, folder: Path, hold: bool = False) -> None:
        self.name = "Postfix (hold)" if hold else "Postfix"
        self._hold = hold
        more = "relay_domains = example.com\nrelay_transport = discard:\n"
        if hold:
            more += "smtpd_sender_restrictions = static:HOLD\n"
        self._postfix = postfix.Postfix(more, folder)
        self._log_from = 0

    def __enter__(self) -> Postfix:
        self._postfix.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._postfix.__exit__()

    @property
    def address(self) -> tuple[str, int]:
        return self._postfix.address

    @property
    def root(self) -> int:
        return self._postfix.process.pid

    def taken(self) -> int:
        if self._hold:
            return self._postfix.queued("hold")
        return len(re.findall(r"postfix/discard.* status=sent", self._postfix.log()[self._log_from :]))

    def forget(self) -> None:
        _empty(self._postfix.folder / "queue" / "hold")
        self._log_from = len(self._postfix.log())


def _files(folder: Path) -> int:
    """Delivered files below a folder."""
    return sum(len(files) for path, _, files in os.walk(folder) if not path.endswith("/tmp"))


def _empty(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for name in files:
            Path(path, name).unlink(missing_ok=True)
