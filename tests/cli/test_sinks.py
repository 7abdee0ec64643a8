"""``penstock sinks``: what there is, what a sink would be bound to, and what is wrong with one that could not be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .command import penstock

SOURCE = """\
from dataclasses import dataclass, field
from penstock import Match, Secret, Sink, on
from penstock.events import RcptTo, Submission, Verb
from penstock.verdicts import Discard, Reject

@dataclass(frozen=True)
class Inner:
    depth: int = 3

@dataclass(frozen=True)
class S:
    \"\"\"What it takes.

    Args:
        size: how many,
            at most.
        key: the key.
    \"\"\"

    size: int
    key: Secret = Secret("opensesame")
    inner: Inner = field(default_factory=Inner)

class Good(Sink[S]):
    \"\"\"Does good.\"\"\"

    def __init__(self, settings: S) -> None:
        raise SystemExit(3)

    @on(RcptTo, match=Match(sender="*@a.example"))
    async def check(self, event: RcptTo) -> Reject | None:
        \"\"\"Looks.\"\"\"

    @on(Verb, keyword="xping")
    async def ping(self, event: Verb) -> None: ...

class Wrong(Sink):
    @on(RcptTo)
    async def check(self, event: Submission) -> None: ...

class Nothing(Sink): ...
"""


def _show(folder: Path, sink: str, *more: str) -> tuple[int, str, str]:
    (folder / "shown_sinks.py").write_text(SOURCE)
    done = penstock("sinks", sink, "-c", str(folder / "penstock.toml"), *more)
    return done.returncode, done.stdout, done.stderr


def test_a_sink_is_shown_without_being_made(tmp_path: Path) -> None:
    code, out, _ = _show(tmp_path, "shown_sinks:Good", "--json")
    facts = json.loads(out)
    assert (code, facts["doc"]) == (0, "Does good.")
    assert [(one["event"], one["handler"], one["mode"], one["match"], one["doc"]) for one in facts["handlers"]] == [
        ("RcptTo", "check", "loop", "sender=*@a.example", "Looks."), ("Verb XPING", "ping", "loop", "", ""),
    ]  # fmt: skip
    assert "Reject" in facts["handlers"][0]["answers"]
    assert [(one["name"], one["type"], one["required"], one["default"], one["doc"]) for one in facts["settings"]] == [
        ("size", "int", True, "", "how many, at most."), ("key", "Secret", False, '"***"', "the key."),
        ("inner", "Inner", False, "{}", ""), ("inner.depth", "int", False, "3", ""),
    ]  # fmt: skip
    assert "opensesame" not in out
    assert "size: int (required)" in _show(tmp_path, "shown_sinks:Good")[1]


@pytest.mark.parametrize(
    ("sink", "what"),
    [
        ("shown_sinks:Wrong", "the handler is bound to RcptTo but takes Submission"),
        ("shown_sinks:Nothing", "handles no event"),
        ("shown_sinks:Missing", "has no 'Missing'"),
        ("shown_sinks:S", "is not a sink"),
        ("nowhere_at_all:X", "cannot be imported"),
        ("unheard_of", "no installed package offers a sink 'unheard_of'"),
    ],
)
def test_what_could_not_be_bound_is_told(tmp_path: Path, sink: str, what: str) -> None:
    code, _, err = _show(tmp_path, sink)
    assert (code, what in err) == (78, True), err


def test_without_a_name_all_that_ship_are_listed(tmp_path: Path) -> None:
    rows = {row["sink"]: row for row in json.loads(_show(tmp_path, "", "--json")[1])}
    assert rows["penstock.sinks:Archive"]["events"] == "Submission"
    assert all(row["what"] and "cannot be used" not in row["what"] for row in rows.values())
