"""What a trace looks like: one block for each event, with its bindings in order, and one line for each step between them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import typer

from ..observe.trace_entries import Asked, Entry, Looked
from .offline import printable
from .styles import bad, bold, dim, doubt, good

REASONS = {
    "condition": "a condition does not hold",
    "disabled": "it is disabled",
    "expired": "it has expired",
    "max firings": "it has fired as often as it may",
    "breaker": "its breaker is open, after failures",
    "sampled out": "this is not in its sample",
    "canary": "this is not in the canary's share",
    "own message": "it submitted this message itself",
    "done before": "it was asked at this stage before",
    "earlier verdict": "an earlier binding has answered",
    "too many wait": "too many reports wait for it",
}
_INDENT = " " * 14
_NAME = 28


def write_story(wanted: str, entries: Sequence[Entry]) -> None:
    """Writes the story of a message or a session."""
    for line in _heading(wanted, entries):
        typer.echo(line)
    several = len({entry.message for entry in entries if entry.message}) > 1
    generations = {entry.generation for entry in entries if entry.generation}
    day = ""
    for entry in entries:
        today = time.strftime("%Y-%m-%d", time.localtime(entry.time))
        if today != day:
            typer.echo(f"\n{dim(today)}")
            day = today
        for line in _step(entry, several) if entry.kind == "step" else _event(entry, several, len(generations) > 1):
            typer.echo(line)


def _heading(wanted: str, entries: Sequence[Entry]) -> list[str]:
    is_message = any(entry.message == wanted for entry in entries)
    lines = [bold(f"{'Message' if is_message else 'Session'} {printable(wanted)}")]
    sessions = sorted({entry.session for entry in entries if entry.session} - {wanted})
    messages = sorted({entry.message for entry in entries if entry.message} - {wanted})
    if sessions:
        lines.append(f"came in session {', '.join(sessions)}")
    if messages:
        lines.append(f"{'see also' if is_message else 'brought'} {', '.join(messages[:20])}")
    generations = sorted({entry.generation for entry in entries if entry.generation})
    if generations:
        lines.append(f"bindings of generation {', '.join(map(str, generations))}")
    return lines


def _event(entry: Entry, several: bool, generations: bool) -> list[str]:
    more = [entry.message] if several and entry.message else []
    more += [f"attempt {entry.attempt}"] if entry.attempt > 1 else []
    more += [f"generation {entry.generation}"] if generations and entry.generation else []
    tail = dim(f"  ({', '.join(more)})") if more else ""
    lines = [f"{_clock(entry)}  {bold(entry.what)}  {printable(entry.about)}".rstrip() + tail]
    width = min(max((len(one.binding) for one in entry.asked), default=0), _NAME)
    for one in entry.asked:
        lines += _binding(one, width)
    if entry.more:
        lines.append(f"{_INDENT}{dim(f'and {entry.more} more that were not asked')}")
    if entry.verdict:
        lines.append(f"{_INDENT}{bold('=>')} {bold(printable(entry.verdict))}, by {printable(entry.by)}")
    return lines


def _binding(one: Asked, width: int) -> list[str]:
    name = printable(one.binding).ljust(width)
    lines = [f"{_INDENT}{one.priority:>5}  {name}  {_outcome(one)}"]
    inner = f"{_INDENT}{' ' * 5}  {' ' * width}  "
    return lines + [inner + condition_line(looked) for looked in one.conditions] + [inner + _edit(edit) for edit in one.edits]


def _outcome(one: Asked) -> str:
    if one.reason == "shadow":
        return dim("is a shadow: asked about a copy, and only compared")
    if one.reason:
        return dim(f"not asked: {REASONS.get(one.reason, one.reason)}")
    took = dim(f"{one.ms:g} ms{f', version {one.version}' if one.version else ''}")
    if one.error:
        return f"{bad('failed: ' + printable(one.error))}  {took}"
    return f"{doubt(printable(one.verdict)) if one.verdict else good('asked, said nothing')}  {took}"


def condition_line(looked: Looked) -> str:
    """One condition: whether it held, what it wants, and what it found."""
    held = good("yes") if looked.held else bad("no ")
    found = f", found {shortened(looked.found)}" if looked.found else ""
    return f"{held} {looked.name} {shortened(looked.wanted)}{dim(found)}"


def shortened(text: str, most: int = 100) -> str:
    """The text on one line of bounded length."""
    shown = printable(text)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def _edit(edit: str) -> str:
    shown = shortened(edit, 160)
    return good(shown) if edit.startswith("+") else bad(shown) if edit.startswith("-") else doubt(shown)


def _step(entry: Entry, several: bool) -> list[str]:
    shown = [f"{name}={_quoted(value)}" for name, value in entry.details.items() if value]
    tail = dim(f"  ({entry.message})") if several and entry.message else ""
    return [f"{_clock(entry)}  {doubt(printable(entry.what))}  {' '.join(shown)}".rstrip() + tail]


def _quoted(value: str) -> str:
    shown = printable(value)
    return f'"{shown}"' if " " in shown or not shown else shown


def _clock(entry: Entry) -> str:
    return dim(time.strftime("%H:%M:%S", time.localtime(entry.time)) + f".{int(entry.time % 1 * 1000):03}")
