"""``penstock replay``: says captured sessions again to today's bindings and to others, offline, and shows where they differ.

Nothing is delivered and nothing is sent by the server. But sinks are really run, since what they decide is what is wanted: one that asks a
database asks it, and one that writes a file writes it. ``--without`` leaves such a binding out, on both sides."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer

from ..capture.format import CapturedSession, CaptureError, Unreadable, read
from ..errors import PenstockError
from ..observe.log import set_up
from ..testing.virtual import VirtualLoop
from .exits import EX_DATAERR, EX_NOINPUT, Stop, complain
from .in_json import in_json
from .replay_bound import candidates, todays
from .replay_compare import Difference, differences, from_recording
from .replay_side import Bound, Side

T = TypeVar("T")
DIFFERENT = 1


@dataclass(frozen=True, slots=True)
class Options:
    """How a replay is run.

    Args:
        config: today's configuration.
        bindings: the candidate's file; None to compare today's bindings with the recording alone.
        without: bindings to leave out.
        as_json: True to write JSON.
        verbose: True to show the differences from the recording, and the log.
    """

    config: Path
    bindings: Path | None
    without: tuple[str, ...]
    as_json: bool
    verbose: bool


@dataclass(slots=True)
class Tally:
    """What was found."""

    sessions: int = 0
    different: int = 0
    changed: int = 0
    unreadable: int = 0


class _Stage:
    """A side on a loop of its own, which stands still while the other one runs."""

    def __init__(self, stack: ExitStack, bound: Bound, begins: float) -> None:
        runner = stack.enter_context(asyncio.Runner(loop_factory=VirtualLoop))
        self._runner = runner
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        self.side = self.run(_made(loop, bound, begins))
        self.run(self.side.start())
        stack.callback(self.run, self.side.stop())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs until it is done."""
        return self._runner.run(work)


async def _made(loop: VirtualLoop, bound: Bound, begins: float) -> Side:
    return Side(loop, bound, begins)


def replay(path: Path, options: Options) -> int:
    """Says the sessions of a file again; 0 when nothing differs, 1 when something does.

    Raises: Stop for a file that has no session; ConfigError, PenstockError when sinks cannot be bound or do not start.
    """
    set_up("info" if options.verbose else "error", "human" if sys.stderr.isatty() else "auto", process="replay")
    tally = Tally()
    sessions = _sessions(path, tally)
    today = todays(options.config, options.without)
    other = candidates(today.config, options.bindings, options.without) if options.bindings is not None else None
    _warn(today, other)
    shown: list[dict[str, Any]] = []
    with ExitStack() as stack:
        first = _Stage(stack, today, sessions[0].started)
        second = _Stage(stack, other, sessions[0].started) if other is not None else None
        for session in sessions:
            tally.sessions += 1
            found, recorded = _compare(session, first, second)
            tally.different += bool(found)
            tally.changed += bool(recorded)
            if options.as_json:
                shown.append(_row(session, found, recorded))
            else:
                _show(session, found, recorded if options.verbose or second is None else [])
    different = tally.different if second is not None else tally.changed
    if options.as_json:
        typer.echo(in_json({**asdict(tally), "results": shown}))
    else:
        typer.echo(_summary(tally, second is not None))
    return DIFFERENT if different else 0


def _sessions(path: Path, tally: Tally) -> list[CapturedSession]:
    """The sessions of a file in the order in which they began; lines that are none are told of."""
    try:
        found = []
        for item in read(path):
            if isinstance(item, Unreadable):
                tally.unreadable += 1
                complain(0, f"{path}, line {item.line}: {item.why}")
            else:
                found.append(item)
    except CaptureError as error:
        raise Stop(EX_NOINPUT, str(error)) from None
    if not found:
        raise Stop(EX_DATAERR, f"{path}: there is no session in it", "[capture] in the configuration writes such files")
    return sorted(found, key=lambda session: session.started)


def _warn(today: Bound, other: Bound | None) -> None:
    own = sorted({plug.name for bound in (today, other) if bound is not None for plug in bound.plugs if _is_real(plug.import_path)})
    if own:
        names = ", ".join(own)
        complain(0, f"these sinks are really run, with all that they do: {names}", "--without NAME leaves one out")


def _is_real(import_path: str) -> bool:
    return not import_path.startswith("penstock.sinks")


def _compare(session: CapturedSession, first: _Stage, second: _Stage | None) -> tuple[list[Difference], list[Difference]]:
    try:
        one = first.run(first.side.play(session))
        other = second.run(second.side.play(session)) if second is not None else None
    except Exception as error:
        raise PenstockError(f"session {session.id} cannot be said again: {type(error).__name__}: {error}") from error
    return differences(one, other) if other is not None else [], from_recording(session, one)


def _row(session: CapturedSession, found: Sequence[Difference], recorded: Sequence[Difference]) -> dict[str, Any]:
    return {
        "session": session.id,
        "started": session.started,
        "client": session.client_ip,
        "differences": [asdict(one) for one in found],
        "unlike_recording": [{"where": one.where, "recorded": one.today, "today": one.candidate} for one in recorded],
    }


def _show(session: CapturedSession, found: Sequence[Difference], recorded: Sequence[Difference]) -> None:
    if found or recorded:
        typer.echo(f"session {session.id} from {session.client_ip}")
    _each(recorded, "recorded", "today")
    _each(found, "today", "candidate")


def _each(found: Sequence[Difference], left: str, right: str) -> None:
    for one in found:
        typer.echo(f"  {one.kind}: {one.where}")
        for name, text in ((left, one.today), (right, one.candidate)):
            lines = text.split("\n")
            typer.echo(f"    {name + ':':<11}{lines[0]}")
            for line in lines[1:]:
                typer.echo(f"{'':<15}{line}")


def _summary(tally: Tally, compared: bool) -> str:
    sessions = f"{tally.sessions} session{'' if tally.sessions == 1 else 's'}"
    skipped = f"; {tally.unreadable} lines could not be read" if tally.unreadable else ""
    changed = f"{tally.changed} answered otherwise today than when captured"
    if not compared:
        return f"{sessions}, {changed}{skipped}"
    return f"{sessions}, {tally.different} with differences, {changed}{skipped}"
