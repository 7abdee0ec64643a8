"""Penstock under a service manager: sockets that it opened, and what it is told through NOTIFY_SOCKET."""

from __future__ import annotations

import json
import os
import select
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import end, spawn
from support.server import CONFIG

# systemd execs the server with the sockets from 3 on; so does this, and the pid stays the same.
LAUNCH = """
import os, sys
first = [int(number) for number in sys.argv[1].split(",")]
for at, number in enumerate(first, 3):
    os.dup2(number, at, inheritable=True)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(first))
os.execv(sys.executable, [sys.executable, "-m", "penstock", *sys.argv[2:]])
"""


class Manager:
    """What a service manager does: opens sockets, starts the server with them, and listens to what it says.

    Args:
        folder: for the server.
        listeners: the names of the listening sockets.
    """

    def __init__(self, folder: Path, listeners: str) -> None:
        self.folder = folder
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(folder / "notify"))
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in listeners.split(":")]
        # Far above 3: what stands there is replaced.
        self._high = [_copied(sock, 600 + number) for number, sock in enumerate(self.sockets)]
        self._names = listeners
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, more: str = "", workers: int = 2) -> None:
        """Starts the server."""
        where = {"spool": self.folder / "spool", "control": self.folder / "run"}
        text = CONFIG.format(**where, workers=workers, deliver="discard:", more=more)
        config = self.folder / "penstock.toml"
        config.write_text(text)
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify"), "WATCHDOG_USEC": "400000"}
        environment["LISTEN_FDNAMES"] = self._names
        numbers = ",".join(map(str, self._high))
        with (self.folder / "log").open("wb") as log:
            self.process = spawn(
                [sys.executable, "-c", LAUNCH, numbers, "serve", "--config", str(config)], stderr=log, pass_fds=self._high, env=environment
            )

    def wait_for(self, line: str, seconds: float = 30) -> list[str]:
        """Reads what it says until a datagram has a line; gives that datagram."""
        for _ in range(1000):
            assert select.select([self.told], [], [], seconds)[0], f"no {line}\n{self.log()}"
            said = self.told.recv(4096).decode().split("\n")
            if line in said:
                return said
        raise AssertionError(f"no {line}")

    def events(self) -> list[str]:
        """The names of the lines of its log."""
        return [json.loads(line)["event"] for line in self.log().splitlines() if line.startswith("{")]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def close(self) -> None:
        if self.process is not None:
            end(self.process)
        self.told.close()
        for sock in self.sockets:
            sock.close()
        for number in self._high:
            os.close(number)


def _copied(sock: socket.socket, number: int) -> int:
    os.dup2(sock.fileno(), number)
    return number


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path, "mx:unknown")
    yield made
    made.close()


def _greeted(sock: socket.socket) -> str:
    with smtplib.SMTP(*sock.getsockname()[:2], timeout=20) as client:
        code, text = client.ehlo("client.example")
        assert code == 250
        return text.decode()


def test_sockets_of_the_service_manager_are_used_by_all_workers(manager: Manager) -> None:
    """The listener of that name is there and not at the address of the file; what is nobody's is said and closed."""
    manager.start()
    said = manager.wait_for("READY=1")
    assert "STATUS=serving with 2 of 2 workers" in said
    for _ in range(20):
        assert "mx.example.com" in _greeted(manager.sockets[0])
    assert "inherited socket is no listener's" in manager.events()
    port = manager.sockets[0].getsockname()[1]
    serving = next(json.loads(line) for line in manager.log().splitlines() if '"serving"' in line)
    assert serving["listeners"] == {"mx": f"127.0.0.1:{port}"}


def test_the_service_manager_hears_of_life_reload_and_end(manager: Manager) -> None:
    """READY, WATCHDOG again and again, RELOADING and READY around a reload, STOPPING at the end; then the port still is open."""
    manager.start(workers=1)
    manager.wait_for("READY=1")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)
    assert any(line.startswith("MONOTONIC_USEC=") for line in manager.wait_for("RELOADING=1"))
    assert "STATUS=serving with 1 of 1 workers" in manager.wait_for("READY=1")
    manager.process.terminate()
    manager.wait_for("STOPPING=1")
    assert manager.process.wait(30) == 0
    # Nobody accepts, and nobody is refused: the next start takes who waits.
    with socket.create_connection(manager.sockets[0].getsockname(), timeout=5):
        pass


def test_a_reload_that_fails_leaves_it_ready_and_says_so(manager: Manager) -> None:
    """The status is what an administrator sees first."""
    manager.start(workers=1)
    manager.wait_for("READY=1")
    (manager.folder / "penstock.toml").write_text("[server\n")
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    assert "STATUS=serving with 1 of 1 workers; the last reload failed" in manager.wait_for("READY=1")
    assert "mx.example.com" in _greeted(manager.sockets[0])


def test_workers_are_told_nothing_of_the_service_manager(manager: Manager) -> None:
    """A sink's process that said READY or took sockets would speak for the server."""
    manager.start(workers=1)
    manager.wait_for("READY=1")
    assert manager.process is not None
    children = Path(f"/proc/{manager.process.pid}/task/{manager.process.pid}/children").read_text().split()
    for pid in children:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        for name in (b"NOTIFY_SOCKET", b"LISTEN_", b"WATCHDOG"):
            assert name not in environment
