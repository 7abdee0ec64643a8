"""A real server whose sinks a test rewrites while it runs."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.server import Server

# Says which version it is in the banner, and notes each session in which another version had a part.
SINK = """\
from pathlib import Path

from penstock import Sink, on
from penstock.events import Connected, EndOfData, MailFrom, RcptTo, SessionEnded
from penstock.verdicts import Respond

from words import WORD

MIXED = Path(__file__).parent / "mixed"


class Stamp(Sink):
    @on(Connected)
    async def connected(self, event: Connected) -> Respond:
        event.session.state["word"] = WORD
        return Respond(220, "", f"mx.example.com {WORD}")

    @on(MailFrom, RcptTo, EndOfData)
    async def look(self, event: MailFrom | RcptTo | EndOfData) -> None:
        if event.session.state.get("word") != WORD:
            MIXED.write_text(f"{event.session.state.get('word')} and {WORD}")

    @on(SessionEnded, blocking=False)
    def ended(self, event: SessionEnded) -> None:
        if event.session.state.get("word") != WORD:
            MIXED.write_text(f"{event.session.state.get('word')} and {WORD} at the end")
"""
BINDING = """
[limits]
connections_per_client = 1000

[[binding]]
name = "stamp"
sink = "stamper:Stamp"
"""


def write_word(folder: Path, word: str) -> None:
    """Puts another version of the helper module in place, at once and whole."""
    new = folder / "words.py.new"
    new.write_text(f'WORD = "{word}"\n')
    new.replace(folder / "words.py")


def write_sinks(folder: Path, word: str = "one") -> None:
    """The sink and its helper module."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stamper.py").write_text(SINK)
    write_word(folder, word)


def reload(server: Server, code: int = 0) -> dict[str, Any]:
    """``penstock reload``: what it says as JSON, or ``{"error": ...}``, after a look at its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "reload", "--json"],
        env={**os.environ, "PENSTOCK_CONFIG": str(server.config)}, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == code, (done.returncode, said, server.log_text()[-3000:])
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return {**found, "error": done.stderr.decode()}


def status(server: Server) -> list[dict[str, Any]]:
    """``penstock status``, a row a worker."""
    rows: list[dict[str, Any]] = json.loads(server.command("status", "--json"))
    return rows


def word_of(client: smtplib.SMTP) -> str:
    """The version of the sink that a session has."""
    return str(client.session_word)  # type: ignore[attr-defined]


def client_of(server: Server) -> smtplib.SMTP:
    """A session, with the word of its banner in ``session_word``."""
    client = smtplib.SMTP(timeout=20)
    _, banner = client.connect(*server.address)
    client.session_word = banner.decode().split()[-1]  # type: ignore[attr-defined]
    return client
