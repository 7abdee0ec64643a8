"""What the running workers say of their bindings, added up; and how a change reaches them.

A change is made by a worker, so that it is checked where it will run, with that process's environment; the other workers then read it. Only
where no worker answers does the command keep it itself, for the next start.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..admin.protocol import AnyAnswer, AnyQuestion, ControlError
from ..admin.protocol_bindings import BindingChanged, BindingRow, ChangeBinding, ListBindings, Reload, ReloadRow
from ..config import Config
from ..config.changes import Change, Result, apply
from .exits import EX_CONFIG, EX_NOPERM, EX_TEMPFAIL, Stop
from .workers import AwayError, Workers

Live = dict[tuple[str, str, str], dict[str, object]]
COUNTED = ("asked", "matched", "verdicts", "errors", "seconds", "refused")
_MORE = ("late", "dropped", "agreed", "differed")


def ask_workers(config: Config) -> Live | None:
    """How the bindings fare, by binding, handler and event; None when no worker answers, or this user may not ask."""
    workers = Workers(config)
    found: dict[tuple[str, str, str], list[BindingRow]] = {}
    answered = False
    for path in workers.paths():
        try:
            for answer in workers.ask(path, ListBindings()):
                answered = True
                if isinstance(answer, BindingRow):
                    found.setdefault((answer.name, answer.handler, f"{answer.event} {answer.keyword}".rstrip()), []).append(answer)
        except (AwayError, ControlError):
            continue
        except Stop as stop:
            if stop.code != EX_NOPERM:
                raise
            return None
    return {key: _added_up(rows) for key, rows in found.items()} if answered else None


def _added_up(rows: Sequence[BindingRow]) -> dict[str, object]:
    """What all workers say of one handler: numbers are added; what differs is told for each worker."""
    numbers: dict[str, object] = {name: sum(getattr(row, name) for row in rows) for name in (*COUNTED, *_MORE)}
    numbers["seconds"] = round(sum(row.seconds for row in rows), 3)
    versions = sorted({row.version for row in rows})
    return {
        **numbers,
        "state": _one_or_each((row.worker, f"{row.state}{f' ({row.detail})' if row.detail else ''}") for row in rows),
        "version": ", ".join(versions),
        "generation": max(row.generation for row in rows),
        "last_error": next((row.last_error for row in rows if row.last_error), ""),
        "workers": len(rows),
    }


def _one_or_each(said: Iterable[tuple[str, str]]) -> str:
    pairs = list(said)
    if len({text for _, text in pairs}) == 1:
        return pairs[0][1]
    return "; ".join(f"{worker}: {text}" for worker, text in pairs)


def make(config: Config, changes: Sequence[Change]) -> tuple[list[Result], str]:
    """Makes changes, one after the other, in the running server or without it.

    Args:
        config: the configuration.
        changes: what.

    Returns: what became of each, and what came of it in the server, in one sentence; "" where nothing changed.

    Raises: ConfigError or Stop for the first one that cannot be made; those before it are kept.
    """
    workers = Workers(config)
    results: list[Result] = []
    reloads: dict[Path, ReloadRow] = {}
    for change in changes:
        done = _in_server(workers, change, reloads)
        results.append(done if done is not None else apply(config.path, change, caller(), time.time()))
    if not any(result.changed for result in results):
        return results, ""
    for path in workers.paths():
        if path not in reloads:
            with suppress(AwayError, ControlError):
                _note(workers.ask(path, Reload()), path, reloads)
    return results, _told(list(reloads.values()))


def _in_server(workers: Workers, change: Change, reloads: dict[Path, ReloadRow]) -> Result | None:
    """What became of a change that the first worker that answers makes; None when none does. Raises Stop when it refuses."""
    question = ChangeBinding(change.op, change.name, dict(change.values), list(change.keys), change.replace)
    for path in workers.paths():
        try:
            for answer in _noted(workers, path, question, reloads):
                if isinstance(answer, BindingChanged):
                    result = Result(answer.changed, answer.what, tuple(answer.notes))
            return result
        except AwayError:
            continue
        except ControlError as error:
            raise Stop(EX_TEMPFAIL if error.kind == "later" else EX_CONFIG, error.what) from None
    return None


def _noted(workers: Workers, path: Path, question: AnyQuestion, reloads: dict[Path, ReloadRow]) -> list[AnyAnswer]:
    answers = list(workers.ask(path, question))
    _note(answers, path, reloads)
    return answers


def _note(answers: Iterable[AnyAnswer], path: Path, reloads: dict[Path, ReloadRow]) -> None:
    for answer in answers:
        if isinstance(answer, ReloadRow):
            reloads[path] = answer


def _told(rows: Sequence[ReloadRow]) -> str:
    if not rows:
        return "no server is running: it holds from the next start"
    failed = [f"{row.worker} runs on with the old bindings: {row.error}" for row in rows if row.error]
    if failed:
        return "; ".join([*failed, "the change is kept for the next start: 'penstock bindings reset NAME' takes it back"])
    return f"in force in {len(rows)} worker{'s' if len(rows) > 1 else ''}"


def caller() -> str:
    """The name of the user who runs the command; its number where it has none."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
