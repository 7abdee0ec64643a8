"""Child processes that cannot outlive the tests, and what /proc says of them.

A child is started through a tiny launcher that asks the kernel to kill it when its parent dies (PR_SET_PDEATHSIG
survives exec), in a group of its own, and every group is killed when the interpreter exits.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .waiting import wait_until

_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

_groups: set[int] = set()


def spawn(
    command: Sequence[str],
    *,
    stderr: IO[bytes] | int | None = None,
    stdout: IO[bytes] | int | None = subprocess.DEVNULL,
    pass_fds: Iterable[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a command by its full path, as the leader of a new group that dies with us."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _LAUNCHER, str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
        env=None if env is None else dict(env),
        cwd=cwd,
        start_new_session=True,
    )
    _groups.add(process.pid)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of a process's group and waits until it is gone."""
    members = group(process.pid)
    kill_group(process.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    wait_gone(members)
    _groups.discard(process.pid)


def stop(process: subprocess.Popen[bytes], seconds: float = 5.0) -> None:
    """Asks a process to end with SIGTERM, as it then collects its own children; kills what is left of its group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    end(process)


def kill_group(pgid: int, signum: signal.Signals = signal.SIGKILL) -> None:
    """Sends a signal to a whole group; none left is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pgid, signum)


@atexit.register
def _kill_all() -> None:
    for pgid in _groups:
        kill_group(pgid)


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/PID/stat: what we need of it."""

    pid: int
    state: str
    parent: int
    group: int
    own_ticks: int
    reaped_ticks: int


def stat(pid: int) -> Stat | None:
    """What /proc/PID/stat says; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    ticks = [int(number) for number in fields[11:15]]  # utime, stime, cutime, cstime
    return Stat(pid, fields[0], int(fields[1]), int(fields[2]), sum(ticks[:2]), sum(ticks[2:]))


def every() -> list[Stat]:
    """All processes of the machine."""
    found = (stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [one for one in found if one is not None]


def group(pgid: int) -> list[int]:
    """The living members of a group."""
    return [one.pid for one in every() if one.group == pgid and one.state not in "ZX"]


def tree(root: int) -> list[Stat]:
    """A process and all its descendants."""
    processes = every()
    wanted = {root}
    found: list[Stat] = []
    while True:
        more = [one for one in processes if one.pid in wanted or one.parent in wanted]
        if len(more) == len(found):
            return more
        found, wanted = more, {one.pid for one in more}


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    found = stat(pid)
    return found is not None and found.state not in "ZX"


def stopped(pid: int) -> bool:
    """Whether every thread of a process is stopped, so that none can write any more."""
    try:
        tasks = [(path / "stat").read_text() for path in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all(text[text.rindex(")") + 2] in "TtZX" for text in tasks)


def wait_gone(pids: Iterable[int], timeout: float = 10.0) -> None:
    """Waits until none of the processes runs any more."""
    wanted = list(pids)
    wait_until(lambda: not any(alive(pid) for pid in wanted), f"processes {wanted} end", timeout)


def resident_kib(pid: int) -> int:
    """Memory that a process has in RAM now, from /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def peak_kib(pid: int) -> int:
    """The most memory that a process ever had in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0
