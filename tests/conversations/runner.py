r"""Whole sessions as text: reads a ``.smtp`` file into steps and plays them against anything that speaks SMTP.

The same files are played against the sans-I/O machine and, over a socket, against a running server, so neither can drift from what is
written. A file is a list of lines, each with a mark:

    # ...        a comment; the first one says what the conversation shows
    C: text      the client sends the text and CRLF
    C= text      the client sends exactly these octets, with the escapes \r \n \t \\ and \xNN
    C* 20 text   the same, so many times
    S: text      the server sends this line; a ``*`` at the end stands for any rest
    S~ regex     the server sends a line that this regular expression matches as a whole
    S* 250-      the server may send any number of lines that begin so
    S$           the server closes the connection

Consecutive client lines leave in one piece, so a pipelined conversation is one whose client lines stand together.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Send:
    """The client sends these octets."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """The server sends one line that matches, any number of them (``many``), or closes the connection (``pattern`` None)."""

    pattern: re.Pattern[str] | None
    many: bool
    source: str


Step = Send | Expect


class Disagreement(AssertionError):
    """The server did not say what the conversation expects."""


def files() -> list[Path]:
    """All conversations, by name."""
    return sorted(FOLDER.glob("*.smtp"))


def load(path: Path) -> list[Step]:
    """The steps of a file; raises ValueError for a line without a mark."""
    return parse(path.read_text("utf-8").splitlines(), path.name)


def parse(lines: Iterable[str], name: str = "conversation") -> list[Step]:
    """The steps of a conversation given as lines."""
    steps: list[Step] = []
    for number, line in enumerate(lines, 1):
        mark, text = line[:2], line[3:]
        if not line.strip() or line.startswith("#"):
            continue
        if mark in ("C:", "C=", "C*"):
            data = _octets(mark, text)
            if steps and isinstance(steps[-1], Send):
                data = steps.pop().data + data  # type: ignore[union-attr]
            steps.append(Send(data))
        elif mark in ("S:", "S~", "S*", "S$"):
            steps.append(Expect(_pattern(mark, text), mark == "S*", f"{name}:{number}: {line}"))
        else:
            raise ValueError(f"{name}:{number}: no mark: {line!r}")
    return steps


def _octets(mark: str, text: str) -> bytes:
    if mark == "C:":
        return text.encode() + b"\r\n"
    times = 1
    if mark == "C*":
        count, _, text = text.partition(" ")
        times = int(count)
    escapes = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
    raw = re.sub(
        rb"\\(x[0-9a-fA-F]{2}|.)",
        lambda match: bytes([int(match[1][1:], 16)]) if match[1][:1] == b"x" else escapes[match[1].decode()],
        text.encode(),
    )
    return raw * times


def _pattern(mark: str, text: str) -> re.Pattern[str] | None:
    if mark == "S$":
        return None
    if mark == "S~":
        return re.compile(text)
    if mark == "S*" or text.endswith("*"):
        return re.compile(re.escape(text.removesuffix("*")) + ".*")
    return re.compile(re.escape(text))


def _dialogue(steps: Iterable[Step]) -> Generator[bytes | None, bytes, None]:
    """Yields octets to send, or None to be given the next line of the server (``b""`` when it has closed)."""
    held: bytes | None = None
    for step in steps:
        if isinstance(step, Send):
            yield step.data
            continue
        while True:
            line = held if held is not None else (yield None)
            held = None
            text = line.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
            fits = (not line) if step.pattern is None else bool(line) and step.pattern.fullmatch(text) is not None
            if step.many and fits:
                continue
            if step.many:
                held = line
            elif not fits:
                raise Disagreement(f"{step.source}\n  but the server said: {text if line else '(connection closed)'}")
            break


def play(steps: Iterable[Step], send: Callable[[bytes], None], receive: Callable[[], bytes]) -> None:
    """Plays a conversation with plain callables.

    Args:
        send: sends octets.
        receive: gives the server's next line, ``b""`` when it has closed the connection.

    Raises: Disagreement naming the file, the line and what came instead.
    """
    dialogue = _dialogue(steps)
    try:
        wanted = next(dialogue)
        while True:
            if wanted is None:
                wanted = dialogue.send(receive())
            else:
                send(wanted)
                wanted = next(dialogue)
    except StopIteration:
        return


async def play_async(steps: Iterable[Step], send: Callable[[bytes], Awaitable[None]], receive: Callable[[], Awaitable[bytes]]) -> None:
    """As ``play``, with coroutine functions."""
    dialogue = _dialogue(steps)
    try:
        wanted = next(dialogue)
        while True:
            if wanted is None:
                wanted = dialogue.send(await receive())
            else:
                await send(wanted)
                wanted = next(dialogue)
    except StopIteration:
        return
