"""The file format of captures: one session a line, in JSON.

Lines and not one document, so that a file cut off in the middle, or with garbage in it, loses only the lines that are hurt. Octets are
text in which each character stands for the octet of its number (Latin-1): lossless, and a command or an ASCII message can be read with any
tool. Fields are only ever added, with defaults; a line of a newer major version is skipped and named. Rejected: MessagePack, which is a
third smaller and which nobody can read, cut or search with what is on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from ..errors import PenstockError

VERSION = 1
# A longer line is none of ours, and is skipped in pieces.
LONGEST_LINE = 128 * 1024 * 1024
# What is beyond is no moment, no session and no message: the year 2286, a month, and a gibibyte.
_LATEST, _LONGEST_SESSION, _LARGEST = 1e10, 30 * 86400.0, 1024**3
Kind = Literal["command", "refused", "auth", "answer", "content", "unread", "reply"]


class CaptureError(PenstockError):
    """A file of captured sessions cannot be read at all."""


class Step(msgspec.Struct, omit_defaults=True):
    """One thing that the client or the server said.

    Args:
        at: seconds since the session began.
        kind: of the client: "command", "refused" (a line that the server's syntax refused), "auth" (an AUTH command), "answer" (a line or
            octets that a sink asked for), "content", "unread" (what the server never looked at); of the server: "reply".
        octets: what was said, with line ends; for "content" the raw octets with dots and end, or BDAT commands and their octets.
        missing: octets of content that are left out, before the end of it.
        hidden: True when what mattered was taken out, so that saying it again means nothing.
        user: with "auth", whom the server believed the client to be afterwards; "" for nobody.
    """

    at: float
    kind: Kind
    octets: str = ""
    missing: int = 0
    hidden: bool = False
    user: str = ""

    @property
    def raw(self) -> bytes:
        """The octets."""
        return self.octets.encode("latin-1")


class CapturedSession(msgspec.Struct, omit_defaults=True):
    """One session.

    Args:
        version: of the format.
        id: the session's id, as in the log.
        listener: the listener that took it.
        hostname: the name that the server greeted with.
        client_ip: the client's address.
        client_port: its port.
        client_name: its host name from DNS, or "".
        started: seconds since 1970.
        seconds: how long it lasted.
        ended: why it ended, as SessionEnded says it.
        messages: how many messages were accepted.
        rejections: how many refusals there were.
        tls: the TLS version in use, or "".
        cut: why the end of it is missing, or "".
        hides: what was taken out of it: "addresses", "bodies", "bodies dropped", "answers", "header Subject", ...
        steps: what was said, in order.
    """

    version: int = VERSION
    id: str = ""
    listener: str = ""
    hostname: str = ""
    client_ip: str = ""
    client_port: int = 0
    client_name: str = ""
    started: float = 0.0
    seconds: float = 0.0
    ended: str = ""
    messages: int = 0
    rejections: int = 0
    tls: str = ""
    cut: str = ""
    hides: list[str] = []
    steps: list[Step] = []


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no session.

    Args:
        line: its number, from 1.
        why: what is wrong with it.
    """

    line: int
    why: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(CapturedSession)


def encode(session: CapturedSession) -> bytes:
    """The session as one line."""
    return _encoder.encode(session) + b"\n"


def read(path: Path) -> Iterator[CapturedSession | Unreadable]:
    """The sessions of a file, and the lines that are none. Raises CaptureError when the file cannot be read."""
    try:
        with path.open("rb") as file:
            yield from read_lines(file)
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror or error}") from error


def read_lines(file: BinaryIO) -> Iterator[CapturedSession | Unreadable]:
    """The sessions in an open file, and the lines that are none. Raises OSError."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            _skip(file)
            yield Unreadable(number, "the line is too long")
        elif line.strip():
            yield _decoded(number, line)


def _skip(file: BinaryIO) -> None:
    while (piece := file.readline(1024 * 1024)) and not piece.endswith(b"\n"):
        pass


def _decoded(number: int, line: bytes) -> CapturedSession | Unreadable:
    try:
        session = _decoder.decode(line)
        for step in session.steps:
            step.octets.encode("latin-1")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else "the end of the line is missing: "
        return Unreadable(number, f"{cut}{error}")
    times = [session.seconds, *(step.at for step in session.steps)]
    if not 0 <= session.started <= _LATEST or not all(0 <= at <= _LONGEST_SESSION for at in times):
        return Unreadable(number, "its times are none that a session can have")
    if any(step.missing < 0 or step.missing > _LARGEST for step in session.steps):
        return Unreadable(number, "it leaves out more than a message can have")
    if not 1 <= session.version <= VERSION:
        return Unreadable(number, f"version {session.version} of the format is not known here; a newer server wrote it")
    return session
