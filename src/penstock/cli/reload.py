"""``penstock reload``: has the running server take up what changed in its configuration and in the code of its sinks.

The files are checked here first. What fails here would fail in each worker, so they are only told why. Then one worker after the other is
asked; when the first one fails, where only it can know, such as a sink that does not start, the others are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import typer

from ..admin.protocol import ControlError
from ..admin.protocol_bindings import Reload, ReloadRow
from ..config import Config, load, plugs
from ..errors import ConfigError
from ..events.binding import Bindings
from .exits import EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, Stop
from .in_json import in_json
from .workers import AwayError, Workers

# A worker gives its sinks a minute to load, and each half a minute to start.
TIMEOUT = 600.0
RUNS_ON = "the server runs on as before"


@dataclass(slots=True)
class Outcome:
    """What came of a reload.

    Args:
        rows: of the workers that answered.
        missing: names of those that did not.
        skipped: names of those that were not asked.
    """

    rows: list[ReloadRow] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[ReloadRow]:
        """The workers in which the old generation runs on."""
        return [row for row in self.rows if row.error]

    @property
    def done(self) -> list[ReloadRow]:
        """The workers that reloaded."""
        return [row for row in self.rows if not row.error]


def run_reload(path: Path, as_json: bool) -> None:
    """Reloads the server of a configuration, and says what came of it. Raises ConfigError; Stop with the exit code."""
    try:
        config = load(path)
        Bindings(plugs(config))
    except ConfigError as error:
        what = f"{error.where}: {error.what}"
        told = refuse(path, what)
        raise Stop(EX_CONFIG, f"{what}; {RUNS_ON}" if told else what, error.hint) from error
    outcome = reload_workers(config)
    if as_json:
        typer.echo(in_json(_as_json(outcome)))
    else:
        _show(outcome)
    _judge(config, outcome)


def refuse(path: Path, why: str) -> bool:
    """Tells the workers why there is no sense in reloading; whether there is one."""
    workers = Workers(path)
    told = False
    for socket in workers.paths():
        try:
            list(workers.ask(socket, Reload(refused=why), timeout=10.0))
            told = True
        except (AwayError, ControlError, Stop):
            continue
    return told


def reload_workers(config: Config) -> Outcome:
    """Asks one worker after the other to reload; those after a first one that failed are only told why. Raises Stop."""
    workers, outcome = Workers(config), Outcome()
    for path in workers.paths():
        refused = "" if outcome.done or not outcome.failed else f"{outcome.failed[0].worker}: {outcome.failed[0].error}"
        try:
            answers = list(workers.ask(path, Reload(refused=refused), timeout=TIMEOUT))
        except AwayError:
            outcome.missing.append(path.stem)
            continue
        except ControlError as error:
            answers = [ReloadRow(worker=path.stem, generation=0, error=error.what)]
        if refused:
            outcome.skipped.append(path.stem)
        else:
            outcome.rows += [row for row in answers if isinstance(row, ReloadRow)]
    return outcome


def sentence(outcome: Outcome) -> str:
    """What came of it, in one sentence."""
    if not outcome.rows:
        return "no server is running: it holds from the next start"
    if outcome.failed and not outcome.done:
        return f"{outcome.failed[0].worker}: {outcome.failed[0].error}; {RUNS_ON}"
    names = ", ".join(row.worker for row in outcome.done)
    if outcome.failed:
        wrong = "; ".join(f"{row.worker}: {row.error}" for row in outcome.failed)
        return f"reloaded in {names}, and not in others: {wrong}"
    return f"reloaded in {names}" + (f"; no answer from {', '.join(outcome.missing)}" if outcome.missing else "")


def _show(outcome: Outcome) -> None:
    for row in outcome.done:
        changed = ", ".join(row.changed) if row.changed else "no binding changed"
        typer.echo(f"{row.worker}: generation {row.generation}: {changed}")
    restart = sorted({key for row in outcome.done for key in row.restart})
    if restart:
        typer.echo(f"needs a restart: {', '.join(restart)}", err=True)


def _judge(config: Config, outcome: Outcome) -> None:
    """Raises Stop when not all workers have reloaded."""
    if not outcome.rows:
        hint = f"start it: penstock serve --config {config.path}"
        raise Stop(EX_UNAVAILABLE, f"no server is running: nobody answers in {config.resolve(config.server.control)}", hint)
    if outcome.failed and not outcome.done:
        raise Stop(EX_CONFIG, sentence(outcome), outcome.failed[0].hint)
    expected = {f"worker-{number}" for number in range(config.server.worker_count)}
    missing = sorted(expected.intersection(outcome.missing))
    if outcome.failed:
        raise Stop(EX_TEMPFAIL, sentence(outcome), "mend it and say 'penstock reload' again: those that have reloaded lose nothing by it")
    if missing:
        raise Stop(EX_TEMPFAIL, f"no answer from {', '.join(missing)}", "a worker that is just starting reads the new files anyway")


def _as_json(outcome: Outcome) -> dict[str, object]:
    rows = [
        {"worker": r.worker, "generation": r.generation, "changed": r.changed, "restart": r.restart, "error": r.error} for r in outcome.rows
    ]
    return {"ok": not outcome.failed and not outcome.missing, "workers": rows, "missing": outcome.missing, "skipped": outcome.skipped}
