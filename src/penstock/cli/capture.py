"""``penstock capture``: what was captured: the sessions of a file, and one of them as a dialogue.

Sessions are written down while ``[capture]`` in the configuration says so; ``penstock reload`` begins and ends it without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ..capture.format import CapturedSession, CaptureError, Step, Unreadable, read
from .exits import EX_NOINPUT, EX_NOUSER, Stop, complain
from .listing import Layout, show
from .options import JsonOption

capture = typer.Typer(help="Look at captured sessions.", no_args_is_help=True)
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A file of captured sessions, or a folder of such files.")]
_LAYOUT = Layout(
    columns=("session", "started", "client", "helo", "seconds", "messages", "rejections", "ended", "sender", "recipients"),
    narrow=("session", "started", "client", "messages", "ended", "sender"),
    right=("seconds", "messages", "rejections", "recipients"),
)
_ARROWS = {"reply": "S: ", "content": "   "}


@capture.command("list")
def list_sessions(path: FileArgument, as_json: JsonOption = False) -> None:
    """List the sessions of a file, or of all files in a folder."""
    show([_row(session) for session in sessions(path)], _LAYOUT, as_json)


@capture.command("show")
def show_session(
    path: FileArgument,
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="Which one; all of them when left out.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show what was said in a session: C: the client, S: the server, with seconds since it began."""
    import msgspec

    found = [session for session in sessions(path) if not session_id or session.id == session_id]
    if not found and session_id:
        raise Stop(EX_NOUSER, f"{path}: there is no session {session_id!r}", "'penstock capture list' names those that are there")
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for session in found:
        _show(session)


def sessions(path: Path) -> Iterator[CapturedSession]:
    """The sessions of a file or a folder; lines that are none are told of. Raises Stop when it cannot be read."""
    if path.is_dir():
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise Stop(EX_NOINPUT, f"{path}: there is no file of captured sessions in it", "they end in .jsonl")
    else:
        files = [path]
    for file in files:
        try:
            for item in read(file):
                if isinstance(item, Unreadable):
                    complain(0, f"{file}, line {item.line}: {item.why}")
                else:
                    yield item
        except CaptureError as error:
            raise Stop(EX_NOINPUT, str(error)) from None


def _row(session: CapturedSession) -> dict[str, object]:
    commands = [step.octets for step in session.steps if step.kind == "command"]
    helo = [line[5:].strip() for line in commands if line[:5].upper() in ("EHLO ", "HELO ")]
    mail = [line for line in commands if line[:5].upper() == "MAIL "]
    sender = mail[0].partition(":")[2].strip().partition(" ")[0] if mail else ""
    return {
        "session": session.id,
        "started": datetime.fromtimestamp(session.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "client": session.client_ip,
        "helo": helo[-1] if helo else "",
        "seconds": session.seconds,
        "messages": session.messages,
        "rejections": session.rejections,
        "ended": session.ended,
        "sender": _printable(sender),
        "recipients": sum(line[:5].upper() == "RCPT " for line in commands),
    }


def _show(session: CapturedSession) -> None:
    typer.echo(f"session {session.id} at {session.listener} from {session.client_ip}, {_row(session)['started']}")
    if session.hides:
        typer.echo(f"taken out: {', '.join(session.hides)}, and what was said to AUTH")
    for step in session.steps:
        arrow = _ARROWS.get(step.kind, "C: ")
        for number, line in enumerate(_lines(step)):
            typer.echo(f"{step.at:>9.3f} {arrow}{line}" if number == 0 else f"{'':>9} {arrow}{line}")
    typer.echo(f"{session.seconds:>9.3f} ends: {session.cut or session.ended}")


def _lines(step: Step) -> list[str]:
    text = step.octets.removesuffix("\r\n")
    lines = [_printable(line) for line in text.split("\r\n")] if text else []
    if step.missing:
        lines.append(f"({step.missing} octets are left out)")
    if step.hidden:
        lines.append("(taken out)" + (f", afterwards the user was {step.user}" if step.user else ""))
    return lines or ["(nothing)"]


def _printable(line: str) -> str:
    """What a stranger sent, so that it does nothing to a terminal."""
    decoded = line.encode("latin-1").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in decoded)
