"""Log lines: JSON when nobody sits in front, human lines on a terminal; always structured, always with the ids that belong to them.

What never appears: a password, a token, the body of a message. Text that came from outside is data of a field, never part of the event's
name, so a client cannot forge a line.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Literal, TextIO, cast

import structlog

Log = structlog.stdlib.BoundLogger
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


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
    colours = out.isatty() and "NO_COLOR" not in os.environ
    render: Any = structlog.dev.ConsoleRenderer(colors=colours) if human else structlog.processors.JSONRenderer(default=str)
    structlog.contextvars.clear_contextvars()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            *([] if human else [structlog.processors.format_exc_info]),
            _with(values),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )


def _with(values: dict[str, object]) -> Any:
    """A processor that adds what every line of this process carries."""

    def add(logger: Any, name: str, line: dict[str, Any]) -> dict[str, Any]:
        return {**line, **values}

    return add
