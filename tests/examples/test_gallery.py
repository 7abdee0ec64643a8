"""The gallery as a whole: each example has its page and its test, is short, strictly typed, and imports what every sink author can."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import io
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from docs.pages import blocks, rows, sections
from penstock import Sink
from penstock.events.sink import settings_type

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "gallery"
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py"))
GALLERY = [path for path in EXAMPLES if path.stem != "hello"]
PUBLIC = {"penstock", "penstock.events", "penstock.verdicts", "penstock.errors"}
# Served by tests/docs/test_example_sinks.py, from the time before the test kit.
SERVED = {"one_per_recipient", "rewrite_domain", "reject_big", "audit_notice"}
each = pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)


def _code_lines(source: str) -> int:
    """Lines that are neither empty, nor comment, nor docstring."""
    told = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            told |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in nothing:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - told)


@each
def test_it_is_short(path: Path) -> None:
    """20 to 60 lines of code, or less, beside what is said about it."""
    assert _code_lines(path.read_text()) <= 60


@each
def test_it_imports_of_penstock_only_the_public_face(path: Path) -> None:
    imported = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        imported |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        imported |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
    assert {name for name in imported if name.split(".")[0] == "penstock"} <= PUBLIC


@each
def test_it_has_a_page_with_its_binding_and_a_test(path: Path) -> None:
    page = PAGES / f"{path.stem}.md"
    assert any(f'sink = "{path.stem}:' in block.text for block in blocks(page, "toml"))
    assert f"examples/{path.name}" in page.read_text()
    assert {"Binding", "What it was", "What can go wrong"} <= set(sections(page, "##"))
    assert f"({path.stem}.md)" in (PAGES / "README.md").read_text()
    assert (Path(__file__).parent / f"test_{path.stem}.py").exists() or path.stem in SERVED


@each
def test_its_page_has_its_settings_with_their_defaults(path: Path) -> None:
    module = importlib.import_module(f"examples.{path.stem}")
    sinks = [cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, Sink) and cls.__module__ == module.__name__]
    wanted = {}
    for settings in filter(None, map(settings_type, sinks)):
        for field in dataclasses.fields(settings):
            made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            wanted[field.name] = "required" if made is dataclasses.MISSING else made
    found = {}
    for name, default, _ in rows(sections(PAGES / f"{path.stem}.md", "##").get("Settings", "")):
        found[name.strip("`")] = default if default == "required" else ast.literal_eval(default.strip("`"))
    assert found == wanted


def test_every_page_belongs_to_an_example() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} == {path.stem for path in GALLERY}


def test_the_list_of_examples_is_whole() -> None:
    listed = set(re.findall(r"^\| `(\w+)\.py`", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.stem for path in EXAMPLES}


def test_the_types_are_strict(tmp_path: Path) -> None:
    """By mypy, each example a module of its own, as beside a configuration."""
    pytest.importorskip("mypy")
    for path in EXAMPLES:
        shutil.copy(path, tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", sys.executable, "--config-file", "", "."]
    done = subprocess.run([*command, "--cache-dir", str(tmp_path / "cache")], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
