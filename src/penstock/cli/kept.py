"""What ``penstock spool`` shows of the messages that a stopped server keeps.

Field names are those of ``postqueue -j``, which scripts know; what Postfix has no name for is added beside them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import typer

from ..admin.describing import header_text
from ..config import load
from ..errors import PenstockError
from ..mail.content import Content, chunks
from ..mail.message import with_edits
from ..storage.base import Query
from ..storage.embedded import EmbeddedSpool, tools
from .exits import EX_DATAERR, complain
from .in_json import in_json
from .listing import Layout, Row, show
from .offline import Kept, counted, find, folders, messages, printable, run

LAYOUT = Layout(
    columns=("queue_id", "queue_name", "arrival_time", "size", "sender", "recipients", "reason"),
    narrow=("queue_id", "queue_name", "sender", "recipients", "reason"),
    right=("size",),
    fold=("sender", "recipients", "reason"),
)


def show_list(path: Path, held: bool, as_json: bool) -> None:
    """Lists messages, oldest first. Raises PenstockError; Stop."""

    async def work(spools: dict[str, EmbeddedSpool]) -> list[Row]:
        described = [describe(kept) for kept in messages(spools, Query(held=True if held else None))]
        return sorted(described, key=lambda row: str(row["queue_id"]))

    rows = run(path, work)
    if as_json or rows:
        show(rows if as_json else [_short(row) for row in rows], LAYOUT, as_json)
    else:
        typer.echo("no mail is held" if held else "the spool is empty")


def describe(kept: Kept) -> Row:
    """What a listing says of a message, for a program."""
    entry, record = kept.entry, kept.record
    recipients = record.envelope.recipients if record is not None else []
    reason = entry.held or ("" if record is not None else "its record is damaged")
    return {
        "queue_name": "hold" if entry.held else "deferred" if entry.due > time.time() else "incoming",
        "queue_id": entry.id,
        "arrival_time": int(record.received) if record is not None else 0,
        "message_size": record.size if record is not None else 0,
        "sender": str(record.envelope.sender) if record is not None else "",
        "recipients": [{"address": str(r.address), **({"delay_reason": reason} if reason else {})} for r in recipients],
        "reason": reason,
        "due": entry.due,
        "stage": entry.stage,
        "worker": kept.worker,
    }


def _short(row: Row) -> Row:
    recipients = row["recipients"]
    assert isinstance(recipients, list)
    return {
        "queue_id": row["queue_id"],
        "queue_name": row["queue_name"],
        "arrival_time": _when(row["arrival_time"]),
        "size": row["message_size"],
        "sender": printable(str(row["sender"])) or "<>",
        "recipients": printable(",".join(r["address"] for r in recipients)),
        "reason": printable(str(row["reason"])),
    }


def _when(seconds: object) -> str:
    assert isinstance(seconds, int | float)
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds)) if seconds else ""


def _content(kept: Kept) -> Content:
    """The message as it is now: the header with what sinks edited, and the body as it came. Raises StorageDamaged."""
    content = kept.spool.content(kept.entry)
    return content if kept.record is None else with_edits(kept.record, content)


def write_one(path: Path, message: str) -> None:
    """Writes one message to standard output. Raises PenstockError; Stop."""

    async def work(spools: dict[str, EmbeddedSpool]) -> None:
        sys.stdout.buffer.writelines(chunks(_content(find(spools, [message])[0])))
        sys.stdout.buffer.flush()

    run(path, work)


def show_one(path: Path, message: str, as_json: bool) -> None:
    """Shows one message. Raises PenstockError; Stop."""

    async def work(spools: dict[str, EmbeddedSpool]) -> tuple[Row, str]:
        kept = find(spools, [message])[0]
        return {**describe(kept), **_origin(kept)}, header_text(lambda: _content(kept), 1024 * 1024)

    row, header = run(path, work)
    if as_json:
        typer.echo(in_json({**row, "header": header}))
        return
    for name, value in row.items():
        if name == "recipients":
            assert isinstance(value, list)
            value = ", ".join(recipient["address"] for recipient in value)
        elif name in ("arrival_time", "due"):
            value = _when(value) or ("now" if name == "due" else "unknown")
        typer.echo(f"{name + ':':<14} {printable(str(value)) or '-'}")
    typer.echo("\n" + "\n".join(printable(line.replace("\t", " ")) for line in header.splitlines()))


def _origin(kept: Kept) -> Row:
    record = kept.record
    if record is None:
        return {}
    names = ("origin", "direction", "listener", "client_ip", "helo", "user", "deferrals", "parent")
    return {name: getattr(record, name) for name in names}


def show_check(path: Path, as_json: bool) -> None:
    """Verifies all spools. Raises PenstockError; Stop; typer.Exit when something is damaged."""
    try:
        reports = {folder: tools.check(folder) for folder in folders(load(path))}
    except OSError as error:
        raise PenstockError(f"the spool cannot be read: {error}") from None
    problems = [line for report in reports.values() for line in report.problems]
    found = {name: sum(getattr(report, name) for report in reports.values()) for name in ("segments", "records", "files")}
    if as_json:
        typer.echo(in_json({"ok": not problems, "workers": len(reports), **found, "problems": problems}))
    for line in problems if not as_json else []:
        complain(EX_DATAERR, line)
    if problems:
        raise typer.Exit(EX_DATAERR)
    if not as_json:
        parts = [counted(len(reports), "spool"), counted(found["segments"], "segment"), counted(found["records"], "record")]
        typer.echo(f"ok: {', '.join([*parts, counted(found['files'], 'large content')])}")
