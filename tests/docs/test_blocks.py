"""Every block of code in the documentation works: Python runs and binds, TOML loads with its sinks, commands parse, links lead."""

from __future__ import annotations

import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from penstock import Sink
from penstock.cli import app
from penstock.config import load, plugs
from penstock.events.binding import Bindings
from penstock.events.plug import Plug

from .pages import PAGES, ROOT, Block, blocks

HEAD = '[server]\nhostname = "mx.example.com"\n'
LISTENER = '[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n'
with_code = pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.language in ("python", "toml") for b in blocks(page))], ids=lambda page: page.name
)


@pytest.fixture
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a page imports, or offers for import, is gone after it."""
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "examples")])
    yield
    for name in set(sys.modules) - known:
        if not name.startswith("penstock"):
            del sys.modules[name]


def _run(block: Block, before: dict[str, Any]) -> dict[str, Any]:
    """The names after a Python block: those of the blocks before it on the page, and its own.

    A first line such as ``# my_sinks.py`` gives the module the name under which a TOML block may name it.
    """
    named = re.match(r"# (\w+)\.py\n", block.text)
    module = types.ModuleType(named[1] if named else "a_block_of_the_documentation")
    sys.modules[module.__name__] = module
    module.__dict__.update({name: value for name, value in before.items() if not name.startswith("__")})
    exec(compile("\n" * (block.line - 1) + block.text, str(block.page), "exec"), module.__dict__)
    for sink in vars(module).values():
        if isinstance(sink, type) and issubclass(sink, Sink) and sink.__module__ == module.__name__:
            Bindings([Plug(sink.__name__, sink.__new__(sink), where=str(block))])
    return dict(vars(module))


def _load(block: Block, folder: Path) -> None:
    """Loads a TOML block with its sinks; what a whole configuration needs and the block leaves out is put in front."""
    head = "" if "[server]" in block.text else HEAD
    path = folder / "penstock.toml"
    path.write_text(head + ("" if "[[listener]]" in block.text else LISTENER) + block.text)
    Bindings(plugs(load(path)))


@with_code
@pytest.mark.usefixtures("_own_modules")
def test_python_and_toml_blocks_work(page: Path, tmp_path: Path) -> None:
    """In the order of the page, each with what came before it."""
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python":
            names = _run(block, names)
        elif block.language == "toml":
            _load(block, tmp_path)
        elif named := re.match(r"# file: (\S+)\n", block.text):
            (tmp_path / named[1]).write_text(block.text)


def _commands() -> list[Any]:
    found = []
    for page in PAGES:
        for language in ("sh", "console"):
            for block in blocks(page, language):
                found += [pytest.param(line, id=f"{block}") for line in block.text.splitlines() if "penstock " in f"{line} "]
    return [param for param in found if re.match(r"(\S*/)?penstock\b", str(param.values[0]).removeprefix("$ "))]


@pytest.mark.parametrize("line", _commands())
def test_commands_exist_with_their_options(line: str) -> None:
    """Parsed as the command itself does it, and not run."""
    words = shlex.split(line.removeprefix("$ ").partition(" | ")[0], comments=True)[1:]
    command = typer.main.get_command(app)
    with command.make_context("penstock", words[:0], resilient_parsing=True) as context:
        name, verb, rest = command.resolve_command(context, words)  # type: ignore[attr-defined]
        with verb.make_context(name, rest, parent=context) as inner:
            if rest and hasattr(verb, "resolve_command"):
                name, verb, rest = verb.resolve_command(inner, rest)
                verb.make_context(name, rest, parent=inner)


def test_make_targets_that_are_named_exist() -> None:
    """``make run`` and the others."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for block in blocks(page, "sh") for name in re.findall(r"^make ([a-z]+)", block.text, re.MULTILINE)}
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    """Relative links only; nothing outside is fetched."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}, target
