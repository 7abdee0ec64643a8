"""Sinks in real processes, around the harness of the other tests of sinks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from events.harness import FakeBackplane, Harness, KeptLog, message_work
from penstock import Sink
from penstock.events.catalog import EndOfData, Submission
from penstock.events.plug import Plug, ProcessSettings
from penstock.events.work import MessageWork
from penstock.isolation import SinkProcess

# Enough for Python and what the tests import; a leak reaches it soon.
MEMORY = 512 * 1024 * 1024


class Isolated(Harness):
    """A harness with one sink in a process, asked under the name ``sink0``."""

    process: SinkProcess

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log with this name."""
        return [line for line in self.log.lines if line["event"] == event]

    async def line(self, event: str, seconds: float = 10.0) -> dict[str, Any]:
        """The first line of the log with this name, waited for."""
        await eventually(lambda: bool(self.lines(event)), f"a line {event!r}", seconds)
        return self.lines(event)[0]

    @property
    def errors(self) -> str:
        """What is in the log of sinks that failed."""
        return " / ".join(str(line["error"]) for line in self.lines("sink failed"))


class PlainLog(KeptLog):
    """A log that can be bound to values."""

    def bind(self, **values: Any) -> PlainLog:
        """The same lines, with values."""
        other = PlainLog()
        other.lines = self.lines
        other._values = {**getattr(self, "_values", {}), **values}  # type: ignore[attr-defined]
        return other

    def _keep(self, event: str, **values: Any) -> None:
        self.lines.append({"event": event, **getattr(self, "_values", {}), **values})

    debug = info = warning = error = _keep


@contextlib.asynccontextmanager
async def isolated(
    cls: type[Sink[Any]], settings: Any = None, *, start: bool = True, process: ProcessSettings | None = None, **more: Any
) -> AsyncIterator[Isolated]:
    """A sink of this class in a process, bound with these values of ``Plug``; nothing is left behind."""
    shell = object.__new__(cls)
    if settings is not None:
        shell.settings = settings
    values = {"timeout": 10.0, "process": process or ProcessSettings(memory=MEMORY), **more}
    plug = Plug("sink0", shell, where="test: sink0", run_in="process", **values)
    server, log = FakeBackplane(), PlainLog()
    running = SinkProcess(plug, log, server)  # type: ignore[arg-type]
    harness = Isolated([replace(plug, remote=running)], server, log)
    harness.process = running
    before = descriptors()
    try:
        if start:
            await running.start()
        yield harness
    finally:
        await running.stop()
        assert not children(), "a process is left behind"
    # The loop's own appear when a socket is waited for first.
    assert len(descriptors() - before) <= 2, descriptors() - before


def descriptors() -> set[str]:
    """Those of this process."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if "/fd" not in str(path.readlink()):
                found.add(path.name)
    return found


def children() -> list[int]:
    """Sink processes of this one, dead ones that nobody waited for included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            words = (path.parent / "cmdline").read_bytes()
            if int(fields[1]) == os.getpid() and (b"sink-process" in words or fields[0] == "Z"):
                found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def eventually(holds: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)


def titled(subject: str, **values: Any) -> MessageWork:
    """A message with this subject."""
    return message_work(f"From: a@example.com\r\nSubject: {subject}\r\n\r\nbody\r\n".encode(), **values)


def at_end(harness: Isolated, subject: str) -> EndOfData:
    """The end of a message with this subject."""
    event = harness.make(EndOfData, titled(subject))
    assert isinstance(event, EndOfData)
    return event


def submission(harness: Isolated, subject: str) -> Submission:
    """A message with this subject that enters transport."""
    event = harness.make(Submission, titled(subject))
    assert isinstance(event, Submission)
    return event
