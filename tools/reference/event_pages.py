"""A page for every event: when it happens, what it carries, what it may be answered with, how it can be matched, and an example."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

from penstock.events.catalog import CATALOG
from penstock.events.event import Answered, Event
from penstock.events.rule import Match, impossible

from .words import HERE, said, sentence, signature, snake, table, typed

EXAMPLES = Path(__file__).parents[2] / "tests" / "reference"
# For the dispatcher, not for sinks.
_INNER = {
    "absorb", "admits", "answer", "begin", "clone", "commit", "edit", "edits", "facts", "itself", "judge", "keep", "kept", "matched",
    "is_shown_to", "offered", "recipients_now", "report", "restore", "show", "stage", "work", "check", "editable",
}  # fmt: skip


def pages() -> dict[str, str]:
    """The pages, by path."""
    made = {f"events/{snake(name)}.md": _page(name, event) for name, event in CATALOG.items()}
    rows = [
        (f"[{name}]({snake(name)}.md)", _kind(event), _answers(event, "../verdicts/"), sentence(said(event)))
        for name, event in CATALOG.items()
    ]
    made["events/README.md"] = f"# Events\n\n{HERE}\n" + table(("event", "kind", "answers", "when"), rows)
    return made


def _page(name: str, event: type[Event]) -> str:
    parts = [f"# {name}\n", HERE, said(event) + "\n", _facts(event), "## What it carries\n", _carried(event)]
    parts += ["## Conditions\n", _conditions(event)]
    example = EXAMPLES / f"test_{snake(name)}.py"
    if example.exists():
        parts += [
            "## Example\n",
            "A sink, and a test that runs it.\n",
            f"```python\n{example.read_text().split(chr(10) * 2, 1)[1].strip()}\n```\n",
        ]
    return "\n".join(parts)


def _kind(event: type[Event]) -> str:
    return "report" if event.report else "question"


def _answers(event: type[Event], base: str) -> str:
    return ", ".join(f"[{verdict.__name__}]({base}{snake(verdict.__name__)}.md)" for verdict in event.admits) or "nothing"


def _facts(event: type[Event]) -> str:
    rows = [("kind", "report: it tells, and cannot be answered" if event.report else "question: a handler may answer it")]
    if not event.report:
        rows.append(("answers", _answers(event, "../verdicts/")))
        editing = ", ".join(f"`{verdict.__name__}`" for verdict in event.edits)
        if editing:
            rows.append(("edits and goes on with", editing))
    rows.append(("stage", "yes: recorded when it is over; asked again after a crash, see `attempt`" if event.stage else "no"))
    return table(("", ""), rows)


def _carried(event: type[Event]) -> str:
    rows = []
    for name in sorted(set(dir(event)) - _INNER):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(event, name)
        rows.append((f"`{name}`", _type_of(event, name, member), _text_of(member, event, name)))
    return table(("name", "type", "what it is"), rows)


def _type_of(event: type[Event], name: str, member: object) -> str:
    if isinstance(member, property) and member.fget is not None:
        return f"`{typed(inspect.signature(member.fget).return_annotation)}`"
    if inspect.isfunction(member):
        return f"{'`async` ' if inspect.iscoroutinefunction(member) else ''}`{signature(member)}`".replace("|", "\\|")
    for base in event.__mro__:
        init = vars(base).get("__init__")
        if init is not None and name in inspect.signature(init).parameters:
            return f"`{typed(inspect.signature(init).parameters[name].annotation)}`"
    return ""


def _text_of(member: object, event: type[Event], name: str) -> str:
    if isinstance(member, property) or inspect.isfunction(member):
        return " ".join(said(member).split()).replace("|", "\\|")
    for base in event.__mro__:
        if base not in (Event, Answered) and name in getattr(base, "__slots__", ()):
            return f"see above, at `{base.__name__.removesuffix('Report')}`" if base is not event else "see above"
    return {"attempt": "which time this moment is told of, from 1"}.get(name, "")


def _conditions(event: type[Event]) -> str:
    can: list[str] = []
    cannot: list[str] = []
    for field in fields(Match):
        if field.name in ("rule", "when"):
            continue
        why = impossible(field.name, event.__name__)
        (cannot if why else can).append(f"[{field.name}](../match/{field.name}.md)" + (f" ({why})" if why else ""))
    return f"Can be matched: {', '.join(can) or 'none'}.\n\nCannot: {', '.join(cannot) or 'none'}.\n"
