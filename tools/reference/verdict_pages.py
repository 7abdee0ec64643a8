"""A page for every verdict: what it does, its arguments with types and defaults, which events take it, and an example."""

from __future__ import annotations

import inspect
from dataclasses import fields

from penstock import verdicts
from penstock.events.catalog import CATALOG
from penstock.events.verdict import Verdict

from .event_pages import EXAMPLES
from .words import HERE, arguments, default, said, section, sentence, snake, table, typed


def pages() -> dict[str, str]:
    """The pages, by path."""
    names = sorted(set(verdicts.__all__) - {"Verdict"})
    made = {f"verdicts/{snake(name)}.md": _page(getattr(verdicts, name)) for name in names}
    rows = [(f"[{name}]({snake(name)}.md)", sentence(said(getattr(verdicts, name)))) for name in names]
    made["verdicts/README.md"] = f"# Verdicts\n\n{HERE}\n" + table(("verdict", "what it does"), rows)
    return made


def _page(verdict: type[Verdict]) -> str:
    name, told = verdict.__name__, arguments(verdict)
    rows = [(f"`{one.name}`", f"`{typed(one.type)}`", default(one), told.get(one.name, "")) for one in fields(verdict)]
    parts = [f"# {name}\n", HERE, said(verdict) + "\n"]
    parts += ["## Arguments\n", table(("name", "type", "default", "what it is"), rows) if rows else "None.\n"]
    for extra in ("Raises", "Source"):
        if section(verdict, extra):
            parts.append(f"{extra}: {section(verdict, extra)}\n")
    takers = [shown for shown, event in CATALOG.items() if verdict in event.admits]
    parts += ["## Events that it answers\n", ", ".join(f"[{one}](../events/{snake(one)}.md)" for one in takers) + "\n"]
    parts += _example(name, takers)
    return "\n".join(parts)


def _example(name: str, takers: list[str]) -> list[str]:
    for event in takers:
        path = EXAMPLES / f"test_{snake(event)}.py"
        if path.exists() and f"{name}(" in path.read_text():
            return [f"## Example\n\nSee [{event}](../events/{snake(event)}.md#example).\n"]
    made = _made(name)
    imported = ", ".join(sorted({name} | ({"Reject"} if "Reject(" in made else set())))
    return [f"## Example\n\n```python\nfrom penstock.verdicts import {imported}\n\nverdict = {made}\n```\n"]


def _made(name: str) -> str:
    verdict = getattr(verdicts, name)
    needed = [one for one in inspect.signature(verdict).parameters.values() if one.default is one.empty]
    values = {
        "code": "250", "groups": '(("bob@example.net",),)', "next_hop": '"relay.example:25"', "time": "timedelta(seconds=2)",
        "recipients": '{"bob@example.net": Reject()}', "user": '"alice"', "password": '"wonderland"',
        "salt": 'b"0123456789abcdef"', "iterations": "15_000", "stored_key": "bytes(32)", "server_key": "bytes(32)",
    }  # fmt: skip
    return f"{name}({', '.join(values[one.name] for one in needed)})"
