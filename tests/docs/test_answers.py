"""The table of answers has all forty-eight, and every test that it names is there."""

from __future__ import annotations

import ast
import re

import pytest

from .pages import ROOT

PAGE = ROOT / "docs" / "answers.md"
ROWS = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]


def test_all_points_are_answered() -> None:
    """In order, with a pain, an answer and a proof."""
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 49)]
    assert all(len(row) == 4 and all(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"point-{row[0]}")
def test_what_proves_an_answer_is_there(row: list[str]) -> None:
    """A file of tests, or one test in it."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row[3])
    assert named
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert any(one.startswith("test_") for one in tests), path
        assert not name or name in tests, f"{path}::{name}"
