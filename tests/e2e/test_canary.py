"""In a real server: a canary that fails is taken back, a shadow is compared, and sessions are captured from one reload to the next."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server import Server
from support.waiting import wait_until

from .reloading import reload

SINKS = """\
from penstock import Sink, on
from penstock.events import MailFrom
from penstock.verdicts import Reject


class Old(Sink):
    @on(MailFrom, blocking=False)
    def check(self, event: MailFrom) -> None:
        return None


class New(Sink):
    @on(MailFrom, blocking=False)
    def check(self, event: MailFrom) -> None:
        raise RuntimeError("not ready yet")


class Strict(Sink):
    @on(MailFrom, blocking=False)
    def check(self, event: MailFrom) -> Reject | None:
        return Reject(550, "5.7.1", "no") if event.sender.local == "spam" else None
"""
BINDINGS = """
[[binding]]
name = "old"
sink = "trial_sinks:Old"

[[binding]]
name = "new"
sink = "trial_sinks:New"
on_error = "continue"
breaker = { failures = 0 }
canary = { percent = "50%", replaces = "old", after = 20 }

[[binding]]
name = "strict"
sink = "trial_sinks:Strict"
mode = "shadow"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One worker with a canary and a shadow."""
    (tmp_path / "trial_sinks.py").write_text(SINKS)
    with Server(tmp_path, more=BINDINGS) as running:
        yield running


def command(server: Server, *arguments: str) -> Any:
    """A command that answers in JSON; what it says, whatever its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        env={**os.environ, "PENSTOCK_CONFIG": str(server.config)}, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout)


def mail(server: Server, sender: str, count: int = 1) -> None:
    """So many transactions, none of which any of these sinks may refuse."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        for _ in range(count):
            assert client.mail(sender)[0] == 250
            client.rset()


def row(server: Server, name: str) -> dict[str, Any]:
    """What is listed of a binding."""
    rows = [one for one in command(server, "bindings", "--json") if one["binding"] == name]
    assert rows, name
    return dict(rows[0])


def test_a_canary_that_fails_is_taken_back_and_says_why(server: Server) -> None:
    mail(server, "a@client.example", 100)
    line = server.wait_for_log(lambda line: line["event"] == "canary rolled back", "the canary is taken back")
    assert (line["binding"], line["replaces"]) == ("new", "old")
    assert line["reason"].startswith("100.0 % of its calls failed")
    assert "rolled back" in json.dumps(row(server, "new")) or "100.0 %" in json.dumps(row(server, "new"))
    before = row(server, "old")["matched"]
    mail(server, "a@client.example", 30)
    assert row(server, "old")["matched"] == before + 30
    reload(server)
    mail(server, "a@client.example", 30)
    assert row(server, "old")["matched"] == before + 60


def test_a_shadow_refuses_nobody_and_its_differences_are_counted(server: Server) -> None:
    mail(server, "spam@client.example", 3)
    mail(server, "a@client.example", 2)
    server.wait_for_log(lambda line: line["event"] == "shadow differs" and line["binding"] == "strict", "the difference is said")
    wait_until(lambda: (row(server, "strict").get("agreed"), row(server, "strict").get("differed")) == (2, 3), "all are counted")


def test_sessions_are_captured_from_one_reload_to_the_next_and_can_be_replayed(server: Server, tmp_path: Path) -> None:
    mail(server, "before@client.example")
    config = server.config.read_text()
    server.config.write_text(f'{config}\n[capture]\nenabled = true\nfolder = "captures"\nbodies = "keep"\n')
    reload(server)
    mail(server, "during@client.example")
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.sendmail("during@client.example", ["alice@example.com"], "Subject: x\r\n\r\nHello.\r\n")
    file = tmp_path / "captures" / "worker-0.jsonl"
    wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") == 2, "two sessions are captured")
    server.config.write_text(config)
    reload(server)
    mail(server, "after@client.example")
    rows = command(server, "capture", "list", str(file), "--json")
    assert [one["sender"] for one in rows] == ["<during@client.example>"] * 2
    told = command(server, "replay", str(file), "--json")
    assert (told["sessions"], told["changed"]) == (2, 0)
    trial = tmp_path / "trial.toml"
    trial.write_text('[[binding]]\nname = "old"\nsink = "trial_sinks:Old"\n')
    told = command(server, "replay", str(file), "--bindings", str(trial), "--json")
    assert told["different"] == 0 or all(d["kind"] == "error" for r in told["results"] for d in r["differences"])
