"""Log lines of a test, kept as data, so that a test can read what an administrator would."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log.

    Args:
        level: "debug", "info", "warning" or "error".
        event: what happened, in fixed words.
        values: the fields, such as ``binding`` and ``message``.
    """

    level: str
    event: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> object:
        return self.values[name]

    def __str__(self) -> str:
        fields = " ".join(f"{name}={value!r}" for name, value in self.values.items() if name != "exc_info")
        return f"{self.level:7} {self.event} {fields}".rstrip()


class CapturedLog(list[LogLine]):
    """Log lines in the order in which they were written."""

    def named(self, event: str) -> list[LogLine]:
        """The lines with these words."""
        return [line for line in self if line.event == event]

    @property
    def events(self) -> list[str]:
        """The fixed words of all lines."""
        return [line.event for line in self]

    @property
    def errors(self) -> list[LogLine]:
        """The lines of level "error"."""
        return [line for line in self if line.level == "error"]

    def keep(self, _logger: object, level: str, line: MutableMapping[str, Any]) -> str:
        """A structlog processor: keeps the line, and gives its text on."""
        event = str(line.pop("event", ""))
        kept = LogLine("error" if level == "exception" else level, event, dict(line))
        self.append(kept)
        return str(kept) + _trace(line.get("exc_info"))


def _trace(info: object) -> str:
    """The traceback of an exception, as lines below its log line; "" without one."""
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    return "\n" + "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""


@contextmanager
def captured(log: CapturedLog) -> Iterator[CapturedLog]:
    """Keeps all log lines of this process, meanwhile; they are printed to standard error too, where pytest shows them when a test fails."""
    before = structlog.get_config()
    structlog.configure(
        processors=[log.keep],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    try:
        yield log
    finally:
        structlog.configure(**before)
