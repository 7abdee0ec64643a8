"""``penstock queue list``, ``show`` and ``cat``: the mail of the running server.

A listing may have a million lines: rows are read page by page and written as they come, so that the first line of any listing is there at
once, and ``| head`` ends it.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from ..admin.protocol import CatMessage, ControlError, Data, Detail, ListMessages, MessageRow, ShowMessage
from ..config import load
from .exits import EX_NOUSER, Stop
from .in_json import in_json
from .listing import Layout, Row, show
from .offline import printable
from .pipes import quiet_pipe
from .queue_filter import make_filter
from .workers import AwayError, Workers, told

if TYPE_CHECKING:
    from .queue import Words

LAYOUT = Layout(
    columns=("queue_id", "state", "arrival_time", "size", "sender", "recipients", "queue", "next_try", "reason"),
    narrow=("queue_id", "state", "sender", "recipients", "reason"),
    right=("size",),
    fold=("sender", "recipients", "queue", "reason"),
)
# Rows of one table on a terminal, and the first page of any listing: small, so that the first line comes at once.
TABLE = 200
FIRST = 50
# In one line of a listing for people.
MOST_RECIPIENTS = 3


def show_list(path: Path, words: Words, limit: int, as_json: bool) -> None:
    """Lists messages, oldest first. Raises PenstockError; Stop."""
    workers = Workers(load(path))
    question = ListMessages(filter=make_filter(words), limit=min(limit, 500) if limit else 500)
    found = workers.messages(question)
    rows = itertools.islice(found, limit) if limit else found
    with quiet_pipe():
        if as_json:
            told(lambda: _write(rows))
        elif not told(lambda: _show(rows)):
            typer.echo("no such mail is in the queue" if words != type(words)() else "the queue is empty")
    if limit:
        # The listing may have been left before its end.
        workers.must_be_there()


def _write(rows: Iterator[MessageRow]) -> None:
    for row in rows:
        sys.stdout.buffer.write(_encode(row))
    sys.stdout.buffer.flush()


def _encode(row: MessageRow) -> bytes:
    fields = msgspec.to_builtins(row)
    del fields["re"]
    return msgspec.json.encode(fields) + b"\n"


def _show(rows: Iterator[MessageRow]) -> int:
    """Writes rows for people, as they come; how many there were."""
    if sys.stdout.isatty():
        count = 0
        while table := list(itertools.islice(rows, TABLE)):
            show([_short(row) for row in table], LAYOUT, False)
            count += len(table)
        return count
    return _plain(rows)


def _plain(rows: Iterator[MessageRow]) -> int:
    """Columns for grep and awk, as wide as the first rows need: who comes later may stand out, but never waits."""
    first = [_cells(_short(row)) for row in itertools.islice(rows, FIRST)]
    if not first:
        return 0
    lines = [list(LAYOUT.columns), *first]
    widths = [max(len(line[index]) for line in lines) for index in range(len(LAYOUT.columns))]
    rest = map(_cells, map(_short, rows))
    count = -1
    for count, line in enumerate(itertools.chain(lines, rest)):  # noqa: B007 - it is returned
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")
    sys.stdout.flush()
    return count


def _cells(row: Row) -> list[str]:
    return [str(row[column]) or "-" for column in LAYOUT.columns]


def _short(row: MessageRow) -> Row:
    addresses = [r.address for r in row.recipients[:MOST_RECIPIENTS]]
    more = len(row.recipients) - len(addresses)
    return {
        "queue_id": row.queue_id,
        "state": row.queue_name,
        "arrival_time": when(row.arrival_time),
        "size": row.message_size,
        "sender": printable(row.sender) or "<>",
        "recipients": printable(",".join(addresses)) + (f",+{more}" if more else ""),
        "queue": printable(row.queue),
        "next_try": _next_try(row),
        "reason": printable(row.reason),
    }


def _next_try(row: MessageRow) -> str:
    """When it is tried next; "" for what is held, or waits until somebody asks for it."""
    return "now" if row.queue_name == "active" else when(row.due) if row.queue_name == "deferred" else ""


def when(seconds: float) -> str:
    """A time for people and programs: local, ISO 8601; "" for 0."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds)) if seconds else ""


def show_one(path: Path, message: str, as_json: bool) -> None:
    """Shows one message. Raises PenstockError; Stop."""
    detail = next(answer for answer in _of_one(Workers(load(path)), ShowMessage(id=message)) if isinstance(answer, Detail))
    if as_json:
        fields = msgspec.to_builtins(detail)
        row = {name: value for name, value in fields["row"].items() if name != "re"}
        merged = {**row, "recipient_details": fields["recipients"], **fields["facts"], "header": detail.header}
        typer.echo(in_json(merged))
        return
    for name, value in {**_short_of_one(detail), **detail.facts}.items():
        if name in ("tried", "told", "received") and isinstance(value, int | float):
            value = when(value)
        if value not in ("", 0, False):
            typer.echo(f"{name + ':':<16} {printable(str(value))}")
    for recipient in detail.recipients:
        typer.echo(f"{'recipient:':<16} {printable(recipient.address)}")
        for name, more in msgspec.structs.asdict(recipient).items():
            if more and name != "address":
                typer.echo(f"  {name + ':':<14} {printable(_text(more))}")
    typer.echo("\n" + "\n".join(printable(line.replace("\t", " ")) for line in detail.header.splitlines()))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={what}" for name, what in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _short_of_one(detail: Detail) -> dict[str, str | int | float]:
    row = detail.row
    return {
        "queue_id": row.queue_id,
        "state": row.queue_name,
        "worker": row.worker,
        "sender": row.sender or "<>",
        "stage": row.stage,
        "queue": row.queue,
        "next_try": _next_try(row),
        "reason": row.reason,
    }


def write_one(path: Path, message: str) -> None:
    """Writes one message to standard output. Raises PenstockError; Stop."""
    with quiet_pipe():
        for answer in _of_one(Workers(load(path)), CatMessage(id=message)):
            if isinstance(answer, Data):
                sys.stdout.buffer.write(answer.octets)
        sys.stdout.buffer.flush()


def _of_one(workers: Workers, question: ShowMessage | CatMessage) -> Iterator[object]:
    """The answer of the worker that has the message. Raises Stop."""
    for path in workers.paths():
        try:
            yield from workers.ask(path, question)
        except AwayError:
            workers.missing.add(path)
        except ControlError as error:
            if error.kind != "unknown":
                told(lambda error=error: _raise(error))  # type: ignore[misc]
            workers.answered.add(path)
        else:
            return
    workers.must_be_there()
    raise Stop(
        EX_NOUSER, f"there is no message {question.id!r} in the queue", "it may have been delivered meanwhile; see: penstock queue list"
    )


def _raise(error: ControlError) -> None:
    raise error
