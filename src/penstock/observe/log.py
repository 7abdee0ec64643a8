"""Log lines: JSON when nobody sits in front, human lines on a terminal; always structured, always with the ids that belong to them.

What never appears: a password, a token, the body of a message. Text that came from outside is data of a field, never part of the
event's name, so a client cannot forge a line.

Two lines are written for every message, so this is a hot path: JSON is made by msgspec, the second of a time stamp is formatted once a
second, and a worker gathers the lines of one turn of its loop for one write. Each write gives other threads the interpreter, and taking
it back costs more than the line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, BinaryIO, Literal, TextIO, cast

import msgspec
import structlog

Log = structlog.stdlib.BoundLogger
Line = dict[str, Any]
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_encoder = msgspec.json.Encoder(enc_hook=str)
# DEL and the controls of the upper half (C1), line and paragraph separators, the marks that turn the direction of writing, and what is not
# seen at all: with those a line can look like another one.
_STEERING = re.compile("[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")


def get_log(**values: object) -> Log:
    """A log whose lines carry these values."""
    return cast(Log, structlog.get_logger(**values))


def set_up(level: str = "info", form: Literal["auto", "json", "human"] = "auto", stream: TextIO | None = None, **values: object) -> None:
    """Configures logging for this process.

    Args:
        level: "debug", "info", "warning" or "error".
        form: "json", "human", or "auto": human on a terminal, JSON elsewhere.
        stream: where to; standard error when None.
        values: what every line of this process carries.
    """
    out = stream or sys.stderr
    human = form == "human" or (form == "auto" and out.isatty())
    structlog.configure(
        processors=_human(out, values) if human else _json(values),
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out) if human else lambda *_: _Lines(out.buffer),
        cache_logger_on_first_use=True,
    )


def _human(out: TextIO, values: Line) -> list[Any]:
    colours = out.isatty() and "NO_COLOR" not in os.environ
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="timestamp")
    return [structlog.processors.add_log_level, _listen, stamp, _with(values), _calm, structlog.dev.ConsoleRenderer(colors=colours)]


def _json(values: Line) -> list[Any]:
    def render(_logger: object, level: str, line: Line) -> bytes:
        if _listener is not None:
            _hear({**line, "level": level})
        if "exc_info" in line and line["exc_info"] is None:
            del line["exc_info"]
        return _calm_json({"time": _stamp(time.time()), "level": level, "event": line.pop("event", ""), **line, **values})

    return [structlog.processors.format_exc_info, render]


def _calm_json(line: Line) -> bytes:
    """The line in JSON, with what would steer a terminal or turn a line around as ``\\uXXXX``: a reader of JSON gets the same text.

    JSON itself escapes only what is below U+0020 (RFC 8259 §7), and a log is read with ``tail``, too.
    """
    try:
        encoded = _encoder.encode(line)
    except UnicodeEncodeError:
        # Half of a surrogate pair, as Python makes them of octets in file names that are no UTF-8.
        return json.dumps(line, default=str).replace("\x7f", "\\u007f").encode("ascii")
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _STEERING.sub(lambda found: json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f", encoded.decode()).encode()


class _Lines:
    """Writes lines of octets; those of the loop that ``gather`` named together, all others and errors at once."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._waiting: list[bytes] = []

    def info(self, line: bytes) -> None:
        """Writes a line, soon."""
        loop, thread = _gathering
        if loop is None or threading.get_ident() != thread or loop.is_closed():
            self.error(line)
            return
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(line)

    def error(self, line: bytes) -> None:
        """Writes a line, and what waits before it, now."""
        self._waiting.append(line)
        self._flush()

    debug = info
    warning = error

    def _flush(self) -> None:
        if self._waiting:
            lines, self._waiting = self._waiting, []
            # A log that cannot be written must not cost mail: the disk may be full, the reader gone.
            with contextlib.suppress(OSError, ValueError):
                self._out.write(b"\n".join(lines) + b"\n")
                self._out.flush()


_listener: Callable[[Line], None] | None = None


def tap(listener: Callable[[Line], None] | None) -> None:
    """From now on each line that is written is told to a listener too, in the thread that writes it; None ends that."""
    global _listener  # a process has one log
    _listener = listener


def _listen(_logger: Any, _level: str, line: Line) -> Line:
    """A processor that tells the listener."""
    if _listener is not None:
        _hear(line)
    return line


def _hear(line: Line) -> None:
    # What is wrong with a listener must not cost the line; and it cannot be logged.
    with contextlib.suppress(Exception):
        if _listener is not None:
            _listener(line)


_gathering: tuple[asyncio.AbstractEventLoop | None, int] = (None, 0)


def gather(loop: asyncio.AbstractEventLoop | None) -> None:
    """From now on the lines of this thread are written once a turn of this loop; None ends that."""
    global _gathering  # a process has one log
    _gathering = (loop, threading.get_ident())


def _stamp(now: float) -> str:
    return f"{_second(int(now))}.{int(now % 1 * 1000):03}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _calm(_logger: Any, _level: str, line: Line) -> Line:
    """A processor that spells out what would steer a terminal: the values are often what strangers wrote."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable() and name != "exception":
            line[name] = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return line


def _with(values: Line) -> Callable[[Any, str, Line], Line]:
    """A processor that adds what every line of this process carries."""
    return lambda _logger, _level, line: {**line, **values}
