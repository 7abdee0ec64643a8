"""What tests of a relaying server need: its configuration, what is queued, what it logged, and when mail arrives.

The server relays to a ``CountingReceiver``; all messages of a ``Load`` carry their token in the Message-ID, so that each line the receiver
writes names the message it is about.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from support.server import Server

RECIPIENT = "bob@remote.example"

QUICKLY = """\
[limits]
connections_per_client = 1000
[relay]
networks = ["127.0.0.1"]
[retry]
intervals = ["1s"]
glitch = ["0.2s"]
"""

SMART_HOST = '[delivery]\nsmart_host = "[127.0.0.1]:{port}"\n'


def token_of(identity: str) -> str:
    """The token in a Message-ID of the load generator; the Message-ID itself when it is another's."""
    return identity.removeprefix("<").removesuffix("@client.example>")


@dataclass(frozen=True, slots=True)
class Copy:
    """One line of the receiver: a message that it has.

    Args:
        token: of the message.
        told: whether the receiver said so.
    """

    token: str
    told: bool


def arrivals(ids: Path) -> list[Copy]:
    """All that the receiver has, in order."""
    found = []
    for line in ids.read_text().splitlines() if ids.exists() else []:
        code, _, rest = line.partition(" ")
        found.append(Copy(token_of(rest.partition(" ")[2]), code == "250"))
    return found


def queued(server: Server) -> set[str]:
    """The ids of the messages in the queue, as the running server says."""
    command = [sys.executable, "-m", "penstock", "queue", "list", "--json", "--config", str(server.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return {json.loads(line)["queue_id"] for line in done.stdout.splitlines()}


def logged(folder: Path, *events: str) -> Iterator[dict[str, object]]:
    """The log lines with these events, of all starts of a server."""
    wanted = tuple(f'"event":"{event}"' for event in events)
    for path in sorted(folder.glob("server-*.log")):
        for line in path.read_text(errors="replace").splitlines():
            if any(text in line for text in wanted) and line.endswith("}"):
                yield json.loads(line)


@dataclass(slots=True)
class Explained:
    """Why messages arrived more than once.

    Args:
        lost_answers: second copies after the receiver took the content and closed without an answer.
        kills: second copies with a kill between them and the first, counted for each kill.
        killed: the tokens of those, and the number of the kill.
        copies: how many there are of each message.
        distance: how many copies at most came from a first one to the kill after it.
        never: tokens with a second copy that nothing explains, where the two copies are, and the marks around them.
    """

    lost_answers: int = 0
    kills: Counter[int] = field(default_factory=Counter)
    killed: dict[str, int] = field(default_factory=dict)
    copies: Counter[str] = field(default_factory=Counter)
    distance: int = 0
    never: list[tuple[str, int, int, list[int]]] = field(default_factory=list)


def explain(copies: list[Copy], marks: list[int], in_flight: int) -> Explained:
    """Finds for each copy that is not a message's first what made it come.

    Args:
        copies: all, in order.
        marks: how many there were when the server, or the receiver, had just been killed.
        in_flight: so many contents may lie in the receiver's sockets then, and be taken after the mark: one for each connection.
    """
    found = Explained(copies=Counter(copy.token for copy in copies))
    last: dict[str, int] = {}
    for place, copy in enumerate(copies):
        before = last.get(copy.token)
        last[copy.token] = place
        if before is None:
            continue
        between = [number for number, mark in enumerate(marks) if mark <= place and before < mark + in_flight]
        if not copies[before].told:
            found.lost_answers += 1
        elif between:
            found.kills[between[0]] += 1
            found.killed[copy.token] = between[0]
            found.distance = max(found.distance, marks[between[0]] - before)
        else:
            found.never.append((copy.token, before, place, [mark for mark in marks if abs(mark - before) < 300]))
    return found


class Watch:
    """Notes when each message arrived, by looking at the receiver's file all the time; a context manager."""

    def __init__(self, ids: Path) -> None:
        self.at: dict[str, float] = {}
        self._ids = ids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        with os.fdopen(os.open(self._ids, os.O_RDONLY | os.O_CREAT, 0o644), "rb") as file:
            rest = b""
            while not self._over.wait(0.001):
                data = file.read()
                now = time.monotonic()
                *lines, rest = (rest + data).split(b"\n") if data else (rest,)
                for line in lines:
                    self.at.setdefault(token_of(line.decode().split(" ", 2)[2]), now)
