"""``penstock queue summary``, ``destinations`` and ``shape``, and ``penstock status``: numbers instead of messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import typer

from ..admin.ages import LIMITS
from ..admin.protocol import AgesRow, AnyQuestion, AskStatus, CountAges, CountQueues, DestinationRow, ListDestinations, QueueRow, StatusRow
from ..config import load
from ..errors import ConfigError
from ..hosts.local import shown
from .exits import complain
from .listing import Layout, Row, show
from .offline import printable
from .queue_shown import when
from .workers import Workers, told

T = TypeVar("T")
SUMMARY = Layout(("queue", "count", "held", "oldest"), ("queue", "count", "held", "oldest"), ("count", "held"), ("queue",))
DESTINATIONS = Layout(
    ("queue", "state", "window", "sessions", "next_try", "last_error", "worker"),
    ("queue", "state", "sessions", "last_error"),
    ("window", "sessions"),
    ("queue", "last_error"),
)
_AGES = (*(f"<={minutes}" for minutes in LIMITS), f">{LIMITS[-1]}")
SHAPE = Layout(("queue", "total", *_AGES), ("queue", "total", *_AGES), ("total", *_AGES), ("queue",))
STATUS = Layout(
    ("worker", "pid", "version", "started", "messages", "generation", "retiring", "listeners", "last_error"),
    ("worker", "pid", "messages", "generation", "listeners", "last_error"),
    ("pid", "messages", "generation", "retiring"),
    ("listeners", "last_error"),
)


def show_summary(path: Path, as_json: bool) -> None:
    """What each queue has. Raises PenstockError; Stop."""
    sums: dict[str, list[float]] = {}
    for row in _ask(path, CountQueues(), QueueRow):
        had = sums.setdefault(row.queue, [0, 0, 0.0])
        had[0] += row.count
        had[1] += row.held
        had[2] = min(filter(None, (had[2], row.oldest)), default=0.0)
    rows: list[Row] = [
        {"queue": name if as_json else _name(name), "count": int(count), "held": int(held), "oldest": oldest if as_json else when(oldest)}
        for name, (count, held, oldest) in sorted(sums.items())
    ]
    _show(rows, SUMMARY, as_json, "the queue is empty")


def show_destinations(path: Path, as_json: bool) -> None:
    """How it goes with each queue. Raises PenstockError; Stop."""
    found = sorted(_ask(path, ListDestinations(), DestinationRow), key=lambda row: (row.queue, row.worker))
    rows: list[Row] = [
        {
            "queue": row.queue if as_json else _name(row.queue),
            "state": row.state,
            "window": row.window,
            "sessions": row.sessions,
            "next_try": row.next_try if as_json else when(row.next_try) if row.state != "active" else "",
            "last_error": row.last_error if as_json else printable(row.last_error),
            "worker": row.worker,
        }
        for row in found
    ]
    _show(rows, DESTINATIONS, as_json, "no queue is being worked on")


def show_shape(path: Path, as_json: bool) -> None:
    """How old what is in each queue is. Raises PenstockError; Stop."""
    sums: dict[str, list[int]] = {}
    for row in _ask(path, CountAges(), AgesRow):
        had = sums.setdefault(row.queue, [0] * len(_AGES))
        sums[row.queue] = [a + b for a, b in zip(had, row.counts, strict=True)]
    order = sorted(sums.items(), key=lambda item: -sum(item[1]))
    rows: list[Row] = [
        {"queue": name if as_json else _name(name), "total": sum(counts), **dict(zip(_AGES, counts, strict=True))} for name, counts in order
    ]
    _show(rows, SHAPE, as_json, "the queue is empty")


def show_status(path: Path, as_json: bool) -> None:
    """How the workers are. Raises PenstockError; Stop."""
    rows: list[Row] = [
        {
            "worker": row.worker,
            "pid": row.pid,
            "version": row.version,
            "started": row.started if as_json else when(row.started),
            "messages": row.messages,
            "generation": row.generation,
            "retiring": row.retiring,
            "last_error": row.last_error if as_json else printable(row.last_error),
            "listeners": row.listeners if as_json else " ".join(f"{name}={shown(place)}" for name, place in row.listeners.items()),
        }
        for row in _statuses(path)
    ]
    _show(rows, STATUS, as_json, "")


def _statuses(path: Path) -> list[StatusRow]:
    """What the workers say; those of a server whose file is broken by now, too, for it is then that one wants to know."""
    try:
        workers = Workers(load(path))
    except ConfigError as error:
        workers = Workers(path)
        if not workers.paths():
            raise
        complain(0, f"{error.where}: {error.what}", "the server runs on with what it had")
    return told(lambda: [answer for answer in workers.each(AskStatus()) if isinstance(answer, StatusRow)])


def _ask(path: Path, question: AnyQuestion, kind: type[T]) -> list[T]:
    workers = Workers(load(path))
    return told(lambda: [answer for answer in workers.each(question) if isinstance(answer, kind)])


def _name(queue: str) -> str:
    return printable(queue) or "(none yet)"


def _show(rows: Sequence[Row], layout: Layout, as_json: bool, nothing: str) -> None:
    if rows or as_json:
        show(rows, layout, as_json)
    else:
        typer.echo(nothing)
