"""A real Penstock in a folder of its own: started, stopped, killed and started again by tests.

It runs ``python -m penstock serve`` as an administrator would. The listener takes a free port, and the server says
through ``--ready-fd`` which one and under which process ids its workers run.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .mailboxes import Mailboxes
from .processes import alive, end, group, kill_group, spawn, stopped, wait_gone
from .waiting import wait_until

CONFIG = """\
[server]
hostname = "mx.example.com"
spool = "{spool}"
control = "{control}"
workers = {workers}

[[listener]]
name = "mx"
address = "127.0.0.1:0"

[domain."example.com"]
kind = "local"
deliver = "{deliver}"
{more}
"""


class ServerFailedError(AssertionError):
    """The server did not come up; carries its log."""


class Server:
    """One Penstock; a context manager that starts it and never leaves a process behind.

    Args:
        folder: where configuration, spool, mail and logs go.
        workers: how many.
        deliver: of example.com; default a Maildir a recipient below ``mail``.
        disk: where ``spool`` and ``mail`` go; default beside the rest.
        more: TOML to append.
    """

    def __init__(self, folder: Path, *, workers: int = 1, deliver: str = "", disk: Path | None = None, more: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.mail = (disk or folder) / "mail"
        self.spool = (disk or folder) / "spool"
        self.config = folder / "penstock.toml"
        self.mailboxes = Mailboxes(self.mail)
        # What it runs with: tests of its rights take others.
        self.python, self.environment = sys.executable, _environment()
        self.supervisor = 0
        self.workers: list[int] = []
        self._count = workers
        self._listeners: dict[str, tuple[str, int]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._deliver = deliver or f"maildir:{self.mail}/{{domain}}/{{local}}"
        self.configure(more)

    def configure(self, more: str) -> None:
        """Writes the configuration anew, with other TOML appended; the next start reads it."""
        text = CONFIG.format(spool=self.spool, control=self.folder / "run", workers=self._count, deliver=self._deliver, more=more)
        self.config.write_text(text)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listener."""
        return self._listeners["mx"]

    def at(self, listener: str) -> tuple[str, int]:
        """Host and port of a further listener."""
        return self._listeners[listener]

    @property
    def running(self) -> bool:
        """Whether the supervisor lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = 30.0) -> None:
        """Starts it and returns when every worker accepts.

        Raises:
            ServerFailedError: it ended, or did not get ready in time.
        """
        assert not self.running, "already running"
        self._starts += 1
        reader, writer = os.pipe()
        command = [self.python, "-m", "penstock", "serve", "--config", str(self.config), "--ready-fd", str(writer)]
        try:
            with self.log_path.open("ab") as log:
                self._process = spawn(command, stderr=log, stdout=log, pass_fds=[writer], env=self.environment)
        finally:
            os.close(writer)
        try:
            ready = json.loads(self._ready_line(reader, timeout))
        finally:
            os.close(reader)
        self._listeners = {name: (host, port) for name, (host, port) in ready["listeners"].items()}
        self.supervisor = ready["pids"]["supervisor"]
        self.workers = list(ready["pids"]["workers"])
        assert len(self.workers) == self._count, ready

    def _ready_line(self, reader: int, timeout: float) -> bytes:
        """What comes through the pipe; ends early when all writers are gone, as when the server died."""
        deadline = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            readable = select.select([reader], [], [], max(left, 0))[0]
            data = os.read(reader, 65536) if readable else b""
            if not data:
                why = "it ended" if readable else f"nothing after {timeout:g} s"
                self.close()
                raise ServerFailedError(f"the server did not get ready: {why}\n{self.log_text()[-6000:]}")
            line += data
        return line

    def stop(self, timeout: float = 30.0) -> int:
        """Asks it to end (SIGTERM to the supervisor, as systemd does) and gives its exit code."""
        self.terminate()
        return self.wait(timeout)

    def terminate(self) -> None:
        """Asks it to end, and does not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 30.0) -> int:
        """Waits for the end and gives the exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s\n{self.log_text()[-6000:]}") from None

    def close(self) -> None:
        """Kills whatever is left of it."""
        if self._process is not None:
            end(self._process)

    def kill(self) -> None:
        """kill -9 to supervisor and workers at once; returns when they are gone."""
        self.close()

    def kill_worker(self, index: int = 0) -> int:
        """kill -9 to one worker; gives the process id it had."""
        pid = self.workers[index]
        os.kill(pid, signal.SIGKILL)
        wait_gone([pid])
        return pid

    def wait_for_workers(self, timeout: float = 20.0) -> None:
        """Waits until the supervisor has as many living children as it should have, and notes who they are."""

        def complete() -> list[int]:
            found = self.children()
            return found if len(found) == self._count else []

        self.workers = wait_until(complete, f"{self._count} workers run", timeout)

    def children(self) -> list[int]:
        """The living workers, as /proc has them, oldest first."""
        path = Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children")
        return [pid for pid in map(int, path.read_text().split()) if alive(pid)]

    def pids(self) -> list[int]:
        """All living processes of the server."""
        return [] if self._process is None else group(self._process.pid)

    def freeze(self) -> None:
        """SIGSTOP to all; returns when the kernel shows all as stopped."""
        self._signal_all(signal.SIGSTOP)
        wait_until(lambda: all(stopped(pid) for pid in self.pids()), "all processes are stopped", 10, 0.005)

    def thaw(self) -> None:
        """SIGCONT to all."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, signum: signal.Signals) -> None:
        assert self._process is not None
        kill_group(self._process.pid, signum)

    @property
    def log_path(self) -> Path:
        """The log of the last start."""
        return self.folder / f"server-{self._starts}.log"

    def log_text(self) -> str:
        """The log of the last start, as text."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """The JSON lines of the log of the last start; a line that is none becomes {"event": line}."""
        return [_parsed(line) for line in self.log_text().splitlines()]

    def queue(self) -> list[dict[str, Any]]:
        """What ``penstock queue list --json`` says."""
        return [json.loads(line) for line in self.command("queue", "list", "--json").splitlines()]

    def command(self, *words: str, content: bytes = b"") -> str:
        """Runs ``penstock`` with the configuration of this server; gives what it prints."""
        command = [sys.executable, "-m", "penstock", *words]
        environment = {**_environment(), "PENSTOCK_CONFIG": str(self.config)}
        done = subprocess.run(command, input=content, capture_output=True, check=False, env=environment, timeout=30)
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
        return done.stdout.decode()

    def wait_for_log(self, matches: Callable[[dict[str, Any]], bool], what: str, timeout: float = 10.0) -> dict[str, Any]:
        """Waits for a log line and gives it."""
        return wait_until(lambda: next(filter(matches, self.log()), {}), f"log line: {what}", timeout)


def _environment() -> dict[str, str]:
    """Ours, with the folder that holds ``support`` on the import path: tests bind sinks from ``support.sinks``."""
    paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {"event": line}
    return value if isinstance(value, dict) else {"event": line}
