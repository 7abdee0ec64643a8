"""``penstock trace``: reads the traces of all workers, and tells the running ones what to trace.

The files are read here, whether a server runs or not: so there is one way, that works when the server is down, which is when it is needed
most. A running server is only asked to write down what it has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import typer

from ..admin.protocol import ControlError
from ..admin.protocol_trace import AskTracing, TracingOp, TracingRow
from ..config import Config, load
from ..config.load import convert
from ..config.values import Duration
from ..events.recording import check_match
from ..events.rule import Match
from ..observe.trace_entries import Entry
from ..observe.trace_reading import Traced, lately, story
from .assignments import assignments
from .exits import EX_NOPERM, EX_NOUSER, EX_TEMPFAIL, EX_USAGE, Stop, complain
from .in_json import in_json
from .listing import Layout, Row, show
from .offline import printable
from .pipes import quiet_pipe
from .trace_shown import write_story
from .workers import AwayError, Workers, told

ACTIONS: tuple[str, ...] = ("on", "off", "reset", "status")
LAYOUT = Layout(
    columns=("id", "kind", "began", "entries", "about", "ended"),
    narrow=("id", "began", "about", "ended"),
    right=("entries",),
    fold=("about", "ended"),
)


def show_story(path: Path, wanted: str, as_json: bool) -> None:
    """Shows all that was traced of a message or a session. Raises ConfigError; Stop when there is nothing."""
    config = load(path)
    _written_down(config)
    name = wanted.strip().upper()
    entries = story(_folder(config), name)
    if not entries:
        raise Stop(EX_NOUSER, f"there is no trace of {printable(wanted)[:60]!r}", _why_none(config))
    with quiet_pipe():
        if as_json:
            typer.echo(in_json([_plain(entry) for entry in entries]))
        else:
            write_story(name, entries)


def show_last(path: Path, count: int, as_json: bool) -> None:
    """Lists what was traced last. Raises ConfigError; Stop."""
    config = load(path)
    _written_down(config)
    rows = [_row(traced, as_json) for traced in lately(_folder(config), count)]
    with quiet_pipe():
        if rows or as_json:
            show(rows, LAYOUT, as_json)
        else:
            typer.echo(f"nothing was traced yet: {_why_none(config)}")


def change_tracing(path: Path, action: str, match: Sequence[str], seconds: str, as_json: bool) -> None:
    """Tells the workers what to trace, and shows what they do. Raises ConfigError; Stop when none answers or a condition is wrong."""
    config = load(path)
    question = _question(action, match, seconds)
    workers = Workers(config)
    rows = told(lambda: [answer for answer in workers.each(question) if isinstance(answer, TracingRow)])
    if as_json:
        typer.echo(in_json([msgspec.to_builtins(row) for row in rows]))
        return
    for row in rows:
        typer.echo(f"{row.worker}: {_state(row)}")


def _question(action: str, match: Sequence[str], seconds: str) -> AskTracing:
    if action != "on":
        if match:
            raise Stop(EX_USAGE, f"--match goes with 'on', not with {action!r}")
        words: dict[str, TracingOp] = {"off": "off", "reset": "reset", "status": "ask"}
        return AskTracing(action=words[action])
    conditions = _nested(assignments(match))
    try:
        check_match(convert(conditions, Match, "--match"))
        return AskTracing(action="on", match=conditions, seconds=float(Duration.parse(seconds)))
    except ValueError as error:
        raise Stop(EX_USAGE, str(error)) from None


def _nested(flat: dict[str, object]) -> dict[str, object]:
    """``header.Subject`` as a table in the table."""
    found: dict[str, object] = {}
    for key, value in flat.items():
        head, dot, rest = key.partition(".")
        if dot:
            table = found.setdefault(head, {})
            assert isinstance(table, dict)
            table[rest.strip('"')] = value
        else:
            found[head] = value
    return found


def _state(row: TracingRow) -> str:
    if not row.active:
        what = "nothing is traced"
    elif row.ordered:
        what = "traces what was ordered" + (f" for {row.left:.0f} s more" if row.left is not None else "")
    else:
        what = "as configured"
    sample = f"sample {row.sample:g}%" + (f", at most {row.rate:g} sessions/s" if row.rate else "")
    return f"{what} ({sample}); {row.written} entries written, {row.dropped} dropped"


def _written_down(config: Config) -> None:
    """Has the workers write down what they have; who does not answer has nothing, or will be read as far as it came."""
    workers = Workers(config)
    answered, missing = 0, []
    for path in workers.paths():
        try:
            answered += sum(1 for answer in workers.ask(path, AskTracing()) if isinstance(answer, TracingRow))
        except AwayError:
            missing.append(path.stem)
        except ControlError as error:
            complain(EX_TEMPFAIL, f"{path.stem}: {error.what}")
        except Stop as stop:
            if stop.code != EX_NOPERM:
                raise
            return
    for name in missing if answered else ():
        complain(EX_TEMPFAIL, f"{name} does not answer, and what it has not written yet is not shown", "it may just be starting: ask again")


def _folder(config: Config) -> Path:
    """Where the traces are. Raises Stop when they may not be read."""
    folder = config.resolve(config.trace.folder)
    if folder.exists() and not all(os.access(path, os.R_OK | os.X_OK) for path in (folder, *folder.glob("worker-*"))):
        raise Stop(EX_NOPERM, f"you may not read the traces in {folder}", "run this as the server's user, or root")
    return folder


def _why_none(config: Config) -> str:
    """What may be the reason that there is no trace."""
    table = config.trace
    if table.sample <= 0 and table.match is None:
        return "[trace] says 'sample = 0'; 'penstock trace on' traces for a while"
    reasons = [f"[trace] takes {table.sample:g}% of sessions"] if 0 < table.sample < 100 else []
    reasons += ["[trace] has a 'match'"] if table.match is not None and table.sample <= 0 else []
    reasons += [f"above {table.rate:g} sessions a second not all are traced"] if table.rate and table.sample > 0 else []
    days = f"{table.age / 86400:g} days"
    return "; ".join([*reasons, f"traces are kept for {days} and {table.size // 1024**2} MiB; 'penstock trace' lists the last ones"])


def _row(traced: Traced, as_json: bool) -> Row:
    began, ended = traced.first, traced.ends[-3:]
    words = [f"{entry.what} {entry.details.get('to', '')} {entry.details.get('reply', '')}".strip() for entry in ended]
    return {
        "id": traced.id,
        "kind": traced.kind,
        "began": began.time if as_json else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began.time)),
        "entries": traced.entries,
        "about": printable(" ".join(filter(None, (began.what, began.about)))),
        "ended": printable("; ".join(words)) or "-",
    }


def _plain(entry: Entry) -> Row:
    """An entry for a program: with names for the parts of a condition, and all that is empty."""
    asked = [
        {
            **{name: getattr(one, name) for name in one.__struct_fields__ if name != "conditions"},
            "conditions": [msgspec.structs.asdict(condition) for condition in one.conditions],
        }
        for one in entry.asked
    ]
    return {**msgspec.structs.asdict(entry), "asked": asked}
