"""What a type checker says of sinks: mypy strict and pyright accept good ones, and each reports what could never work.

All wrong handlers are in one file that is written for the purpose, a handler to a block, so that each checker runs once. basedpyright is
pyright, built so that it can be installed from the package index alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = Path(__file__).with_name("good.py")
WRONG = {
    "a verdict that its event does not admit": """
    @on(RcptTo)
    async def handler(self, event: RcptTo) -> Drop:
        return Drop()
""",
    "one wrong verdict among right ones": """
    @on(RcptTo, blocking=False)
    def handler(self, event: RcptTo) -> Reject | Respond | None:
        return None
""",
    "a verdict to a report": """
    @on(Accepted)
    async def handler(self, event: Accepted) -> Reject:
        return Reject()
""",
    "something that is no verdict": """
    @on(MailFrom)
    async def handler(self, event: MailFrom) -> bool:
        return True
""",
    "another event than it is bound to": """
    @on(RcptTo)
    async def handler(self, event: MailFrom) -> None: ...
""",
    "one of two events": """
    @on(Ehlo, Helo)
    async def handler(self, event: Ehlo) -> None: ...
""",
    "a misspelt field": """
    @on(RcptTo)
    async def handler(self, event: RcptTo) -> None:
        print(event.recipent)
""",
    "a field of the message that there is not": """
    @on(Submission)
    async def handler(self, event: Submission) -> None:
        print(event.message.headers)
""",
    "a message that may not be there": """
    @on(Ehlo)
    async def handler(self, event: Ehlo) -> None:
        print(event.message.sender)
""",
    "a forgotten async": """
    @on(Auth, mechanism="X-OTP")
    def handler(self, event: Auth) -> Authenticated:
        return Authenticated(event.challenge(b"User:").decode())
""",
    "a forgotten await": """
    @on(Submission)
    async def handler(self, event: Submission) -> None:
        event.message.save("/tmp/x.eml")
""",
    "a start that is not async": """
    def start(self) -> None: ...
""",
    "a setting that there is not": """
    @on(Ehlo)
    async def handler(self, event: Ehlo) -> None:
        print(self.settings.greting)
""",
    "a handler without its event": """
    @on(Ehlo)
    async def handler(self) -> None: ...
""",
    "no event at all": """
    @on(str)
    async def handler(self, event: str) -> None: ...
""",
    "a keyword of another event": """
    @on(Ehlo, Helo, keyword="XHELLO")
    async def handler(self, event: Ehlo | Helo) -> None: ...
""",
    "a condition that there is not": """
    @on(RcptTo, match=Match(recipients="example.com"))
    async def handler(self, event: RcptTo) -> None: ...
""",
    "a verdict with a wrong argument": """
    @on(RcptTo)
    async def handler(self, event: RcptTo) -> Reject:
        return Reject("550", "5.1.1", "No such user")
""",
}
_HEAD = '''"""Handlers that are wrong."""

from dataclasses import dataclass

from penstock import Match, Sink, on
from penstock.events import Accepted, Auth, Ehlo, Helo, MailFrom, RcptTo, Submission
from penstock.verdicts import Authenticated, Drop, Reject, Respond


@dataclass(frozen=True, slots=True)
class Settings:
    greeting: str = "hello"
'''
Blamed = dict[str, set[str]]


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    """The file, and which block each of its lines is part of."""
    text, lines = _HEAD, dict[int, str]()
    for number, (what, body) in enumerate(WRONG.items()):
        text += "\n\n"
        first = text.count("\n")
        text += f"class Wrong{number}(Sink[Settings]):{body}"
        lines |= dict.fromkeys(range(first, text.count("\n") + 1), what)
    path = tmp_path_factory.mktemp("typing") / "wrong.py"
    path.write_text(text)
    return path, lines


@pytest.fixture(scope="module")
def mypy(wrong: tuple[Path, dict[int, str]]) -> tuple[set[str], str]:
    """The blocks that mypy complains of, and what it says of the good file."""
    path, lines = wrong
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--show-absolute-path",
        f"--cache-dir={path.parent / 'cache'}",
    ]
    said = subprocess.run([*command, str(path), str(GOOD)], capture_output=True, text=True, timeout=240, cwd=path.parent, check=False)
    blamed = {lines[int(m[1])] for m in re.finditer(rf"^{re.escape(str(path))}:(\d+): error", said.stdout, re.MULTILINE)}
    return blamed, "\n".join(line for line in said.stdout.splitlines() if line.startswith(str(GOOD))) + said.stderr


@pytest.fixture(scope="module")
def pyright(wrong: tuple[Path, dict[int, str]]) -> tuple[set[str], str]:
    """The same, of pyright."""
    path, lines = wrong
    (path.parent / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", "include": [str(path), str(GOOD)]}))
    command = [str(Path(sys.executable).with_name("basedpyright")), "--outputjson", "--level", "error", "--pythonpath", sys.executable]
    said = subprocess.run(
        [*command, "--project", str(path.parent)], capture_output=True, text=True, timeout=240, cwd=path.parent, check=False
    )
    found = json.loads(said.stdout)["generalDiagnostics"]
    blamed = {lines.get(one["range"]["start"]["line"], "") for one in found if one["file"] == str(path)}
    return blamed, "\n".join(f"{one['range']['start']['line'] + 1}: {one['message']}" for one in found if one["file"] == str(GOOD))


@pytest.mark.parametrize("what", WRONG)
def test_mypy_refuses(what: str, mypy: tuple[set[str], str]) -> None:
    assert what in mypy[0]


@pytest.mark.parametrize("what", WRONG)
def test_pyright_refuses(what: str, pyright: tuple[set[str], str]) -> None:
    assert what in pyright[0]


def test_mypy_accepts_good_sinks(mypy: tuple[set[str], str]) -> None:
    assert mypy[1] == ""


def test_pyright_accepts_good_sinks(pyright: tuple[set[str], str]) -> None:
    assert pyright[1] == ""
