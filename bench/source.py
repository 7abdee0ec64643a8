"""Runs Postfix's ``smtp-source`` against a server and measures both ends: messages a second, and the CPU time the
server spent.

One generator for all servers, written in C by others, so that neither its cost nor our taste decides. It stops with
an error at the first reply it did not want, so a run that ends well had every message acknowledged.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass

from tests.support.needs import program
from tests.support.processes import tree

from .peers import Peer

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix."""

    size: int
    sessions: int
    persistent: bool

    def __str__(self) -> str:
        kind = "persistent" if self.persistent else "one each"
        return f"{self.size // 1024} KiB, {self.sessions} sessions, {kind}"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one server did in one case.

    Args:
        messages: acknowledged.
        rate: acknowledged messages a second, from the first connection to the last reply.
        cpu: microseconds a message of all the server's processes, until it was idle again (deliveries included).
        busy: share of one core the server used while messages came in.
    """

    messages: int
    rate: float
    cpu: float
    busy: float


def measure(peer: Peer, case: Case, seconds: float) -> Measured:
    """Warms up, sends for about ``seconds``, and checks that the server has as many messages as it acknowledged."""
    warm = max(2 * case.sessions, 200)
    guess = warm / send(peer.address, case, warm)
    wait_idle(peer.root)
    peer.forget()
    messages = max(int(guess * seconds), warm)
    before = cpu_seconds(peer.root)
    took = send(peer.address, case, messages)
    busy = cpu_seconds(peer.root) - before
    wait_idle(peer.root)
    spent = cpu_seconds(peer.root) - before
    taken = peer.taken()
    assert taken == messages, f"{peer.name}: {messages} messages acknowledged, {taken} found"
    peer.forget()
    return Measured(messages, messages / took, spent / messages * 1e6, busy / took)


def send(address: tuple[str, int], case: Case, messages: int, recipient: str = "alice@example.com") -> float:
    """Sends so many messages and gives the seconds it took."""
    command = [program("smtp-source") or "smtp-source", "-s", str(case.sessions), "-m", str(messages)]
    command += ["-l", str(case.size), "-f", "load@client.example", "-t", recipient, "-C", "10"]
    command += ["-d"] if case.persistent else []
    started = time.monotonic()
    done = subprocess.run([*command, f"{address[0]}:{address[1]}"], capture_output=True, text=True, timeout=600)
    took = time.monotonic() - started
    assert done.returncode == 0, f"smtp-source: {done.stderr.strip()}"
    return took


def cpu_seconds(root: int) -> float:
    """CPU time of a process, its living descendants, and all that any of them has reaped."""
    return sum(one.own_ticks + one.reaped_ticks for one in tree(root)) / TICK


def wait_idle(root: int, timeout: float = 60.0) -> None:
    """Waits until the server has used next to no CPU for half a second: all it took is delivered."""
    deadline = time.monotonic() + timeout
    last = cpu_seconds(root)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = cpu_seconds(root)
        if now - last <= 2 / TICK:
            return
        last = now
    raise AssertionError(f"process {root} was not idle within {timeout:g} s")
