"""No shell is ever between Penstock and a program, and nothing that a stranger writes is more than one argument, or an option.

The source is read as Python reads it, so that neither a comment nor a line break hides a call.
"""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import penstock
from penstock.sinks import pipe

SOURCE = Path(penstock.__file__).parent
# Each gives text to a shell, or runs what is found along PATH.
FORBIDDEN = {
    "os.system", "os.popen", "os.execlp", "os.execvp", "os.execvpe", "os.execlpe", "os.spawnlp", "os.spawnvp", "os.spawnlpe", "os.spawnvpe",
    "os.startfile", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell", "pty.spawn", "eval",
    "subprocess.call", "subprocess.check_call", "subprocess.check_output", "commands.getoutput", "popen2.popen2", "platform.popen",
}  # fmt: skip
# Who starts programs, and which: everybody else has no reason to.
STARTERS = {
    "supervisor.py": "our own interpreter: workers, and reloads",
    "isolation/process.py": "our own interpreter: sinks that run in a process",
    "sinks/running.py": "the administrator's command of a pipe delivery",
}
STARTS = {
    "subprocess.Popen", "subprocess.run", "asyncio.create_subprocess_exec", "os.posix_spawn", "os.posix_spawnp", "os.fork", "os.forkpty",
    "os.execv", "os.execve", "os.spawnv", "os.spawnve",
}  # fmt: skip


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), ast.parse(path.read_text("utf-8"))


def _imported(tree: ast.Module) -> dict[str, str]:
    """What a name of the module stands for, for names that were imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                top = one.name.partition(".")[0]
                names[one.asname or top] = one.name if one.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update({one.asname or one.name: f"{node.module}.{one.name}" for one in node.names})
    return names


def _called(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of what is mentioned; "" for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def _mentions(tree: ast.Module) -> set[str]:
    names = _imported(tree)
    return {_called(node, names) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)}


def test_nothing_in_the_source_uses_a_shell() -> None:
    """No function that takes a line of a shell, and no ``shell=`` at all, under whatever name it was imported."""
    found: list[str] = []
    for path, tree in _sources():
        found += [f"{path}: {name}" for name in _mentions(tree) & FORBIDDEN]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and any(keyword.arg == "shell" for keyword in node.keywords):
                found.append(f"{path}:{node.lineno}: shell=")
    assert not found


def test_only_these_modules_start_programs() -> None:
    """A further one is a decision: its arguments are looked at, and it is named here."""
    found = {path for path, tree in _sources() if _mentions(tree) & STARTS}
    assert found == set(STARTERS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import os as o\no.system('x')", "os.system"),
        ("from subprocess import getoutput as g\ng('x')", "subprocess.getoutput"),
        ("import asyncio.subprocess\nasyncio.create_subprocess_shell('x')", "asyncio.create_subprocess_shell"),
    ],
)
def test_the_search_sees_through_other_names(text: str, name: str) -> None:
    """What it is to find is found."""
    assert name in _mentions(ast.parse(text)) & FORBIDDEN


@pytest.mark.parametrize("word", ["-{local}", "--{local}"])
def test_the_name_of_an_option_is_never_an_address(word: str) -> None:
    """``-f{sender}`` is an option with a value; this would be any option at all."""
    with pytest.raises(ValueError, match="option"):
        pipe.words_of(f"/usr/bin/deliver {word}")


hostile = st.text(st.sampled_from(string.printable + "$`'\"\\;|&<>(){}*?~#!-\u00e9\u202e"), max_size=60)


@given(hostile, hostile, st.sampled_from(["{local}", "{recipient}", "--to={recipient}", "-f{sender}", "x{detail}", "{sender}{local}"]))
@example("-rf", "/", "{local}")
@example("{domain}", "x", "{local}")
@example("a b", "", "{local}")
def test_what_a_stranger_writes_stays_within_one_argument(local: str, sender: str, word: str) -> None:
    """It is one argument, it is not filled in a second time, and an argument that is an option only because of it is refused."""
    values = {"local": local, "domain": "example.com", "detail": "", "sender": sender, "recipient": f"{local}@example.com"}
    words = pipe.words_of(f"/usr/bin/deliver --quiet {word} {{domain}}")
    try:
        arguments = [pipe.filled(one, values) for one in words]
    except pipe.LooksLikeOptionError:
        assert not word.startswith("-")
        assert (sender if word.startswith("{sender}") else local).startswith("-") or (word.startswith("{sender}{") and not sender)
        return
    assert len(arguments) == len(words) == 4
    assert arguments[:2] == ["/usr/bin/deliver", "--quiet"]
    assert arguments[3] == "example.com"
    assert arguments[2] == "".join(values.get(part.strip("{}"), part) for part in _parts(word))
    assert arguments[2].startswith("-") == word.startswith("-")


def _parts(word: str) -> list[str]:
    return [part for part in word.replace("{", "\0{").replace("}", "}\0").split("\0") if part]
