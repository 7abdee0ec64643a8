"""Lines that a sink logs in its process, in the log of the server: with its level and its values, and never with the name of another."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from ..observe.log import Log
from .frames import Line

_LEVELS = {"debug", "info", "warning", "error"}
_OF_THE_LINE = {"event", "level", "time", "timestamp", "exc_info", "stack_info", "binding"}
# A longer text is cut, and so are more values.
_LONGEST, _MOST = 8192, 64


def write(log: Log, line: Line) -> None:
    """Writes a line of a sink to the server's log."""
    values = {(f"{key}_" if key in _OF_THE_LINE else key): _short(value) for key, value in list(line.values.items())[:_MOST]}
    getattr(log, line.level if line.level in _LEVELS else "error")(line.event[:_LONGEST], **values)


def _short(value: Any) -> Any:
    return value[:_LONGEST] if isinstance(value, str) else value


def forward(send: Callable[[Line], None]) -> None:
    """Configures the log of this process: ``send`` is given each line."""

    def render(_logger: object, level: str, values: MutableMapping[str, Any]) -> str:
        values.pop("binding", None)
        event = str(values.pop("event", ""))
        send(Line(level, event, {str(key): _plain(value) for key, value in values.items() if not (key == "exc_info" and not value)}))
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _plain(value: Any) -> Any:
    return value if type(value) in (str, int, float, bool, type(None)) and not _is_large(value) else str(value)[:_LONGEST]


def _is_large(value: Any) -> bool:
    return type(value) is int and not -(2**63) <= value < 2**64
