"""``penstock bindings``: what the list says, what is changed with it, and that no secret is ever shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.server import Server

from .command import penstock

SINKS = """\
from dataclasses import dataclass, field
from penstock import Secret, Sink, on
from penstock.events import RcptTo, Submission
from penstock.verdicts import Reject

@dataclass(frozen=True)
class S:
    key: Secret = Secret("")
    hidden: str = field(default="", repr=False)
    plain: str = ""

class Mine(Sink[S]):
    @on(Submission)
    async def note(self, event: Submission) -> None: ...

class NoBob(Sink):
    @on(RcptTo)
    async def check(self, event: RcptTo) -> Reject | None:
        return Reject(550, "5.1.1", "No Bob here") if event.recipient.address.local == "bob" else None
"""
BINDING = (
    '[[binding]]\nname = "mine"\nsink = "sinks_of_cli_test:Mine"\nsettings = { key = "opensesame", hidden = "hush", plain = "seen" }\n'
)


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "sinks_of_cli_test.py").write_text(SINKS)
    path = tmp_path / "penstock.toml"
    path.write_text('[server]\nhostname = "mx.example.com"\nworkers = 1\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n' + BINDING)
    return str(path)


def test_without_a_server_the_list_says_that_it_is_of_the_files(config: str) -> None:
    done = penstock("bindings", "-c", config)
    assert "no server answers" in done.stderr
    assert "penstock.toml" in next(line for line in done.stdout.splitlines() if "mine" in line)
    rows = json.loads(penstock("bindings", "-c", config, "--sink", "sinks_of_cli", "--json").stdout)
    assert [(row["binding"], row["state"], "asked" in row) for row in rows] == [("mine", "active", False)]


def test_changes_show_in_the_list_with_who_made_them(config: str) -> None:
    done = penstock("bindings", "set", "mine", "priority=7", "match.sender=*@a.example", "expires=2020-01-01", "-c", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert "it holds from the next start" in done.stdout
    row = next(row for row in json.loads(penstock("bindings", "-c", config, "--json").stdout) if row["binding"] == "mine")
    assert (row["priority"], row["match"], row["state"], bool(row["changed_by"])) == (7, "sender=*@a.example", "expired", True)
    history = json.loads(penstock("bindings", "history", "-c", config, "--json").stdout)
    assert [(deed["op"], deed["keys"]) for deed in history] == [("set", "expires, match.sender, priority")]
    warned = penstock("check", "-c", config).stderr
    assert "binding.mine.priority: live change of" in warned
    assert "binding.mine.expires: that was 2020-01-01" in warned


def test_no_secret_is_ever_shown(config: str) -> None:
    for arguments in (["show", "mine"], ["show", "mine", "--json"], ["--json"], ["history"]):
        done = penstock("bindings", *arguments, "-c", config)
        assert done.returncode == 0
        assert "opensesame" not in done.stdout + done.stderr
        assert "hush" not in done.stdout + done.stderr
    shown = json.loads(penstock("bindings", "show", "mine", "-c", config, "--json").stdout)
    assert shown["settings"] == {"key": "***", "hidden": "***", "plain": "seen"}


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["set", "mine"], 64, "nothing is to be set"),
        (["set", "mine", "priority"], 64, "is not KEY=VALUE"),
        (["set", "mine", "priority=high"], 78, "binding.mine.priority: expected 'int'"),
        (["set", "nobody", "priority=1"], 78, "there is no binding 'nobody'"),
        (["add", "x"], 64, "needs a name and a sink"),
        (["add", "x", "priority=1"], 64, "is no sink"),
        (["add", "x", "nowhere:X"], 78, "cannot be imported"),
        (["reset"], 64, "what is to be reset?"),
        (["disable", "relay"], 64, "the server's own"),
        (["show", "mime"], 67, "there is no binding 'mime'"),
    ],
)
def test_what_cannot_be_is_told_with_the_right_exit_code(config: str, arguments: list[str], code: int, what: str) -> None:
    done = penstock("bindings", *arguments, "-c", config)
    assert (done.returncode, what in done.stderr) == (code, True), done.stderr


def test_the_tables_of_a_file_are_added_together(config: str, tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text(
        '[[binding]]\nname = "a"\nsink = "sinks_of_cli_test:NoBob"\nexpires = 2030-01-01\n'
        '[[binding]]\nname = "b"\nsink = "sinks_of_cli_test:NoBob"\nmatch = { recipient = "*@x.example" }\n'
    )
    for changed in (True, False):
        done = penstock("bindings", "add", "--file", str(tmp_path / "more.toml"), "-c", config, "--json")
        assert [row["changed"] for row in json.loads(done.stdout)["changes"]] == [changed] * 2


def _at(server: Server) -> str:
    host, port = server.address
    return f"{host}:{port}"


def test_a_running_server_takes_changes_up_and_its_workers_are_counted_together(tmp_path: Path) -> None:
    (tmp_path / "sinks_of_cli_test.py").write_text(SINKS)
    with Server(tmp_path, workers=2) as server:
        config = str(tmp_path / "penstock.toml")
        done = penstock("bindings", "add", "nobob", "sinks_of_cli_test:NoBob", "priority=1", "-c", config)
        assert (done.returncode, "in force in 2 workers" in done.stdout) == (0, True), done.stdout + done.stderr
        refused = penstock("send", "--server", _at(server), "--to", "bob@example.com")
        assert "No Bob here" in refused.stdout + refused.stderr
        (row,) = json.loads(penstock("bindings", "-c", config, "--sink", "sinks_of_cli", "--json").stdout)
        assert (row["asked"], row["verdicts"], row["workers"], row["state"]) == (1, 1, 2, "active")
        assert penstock("bindings", "disable", "nobob", "-c", config).returncode == 0
        (row,) = json.loads(penstock("bindings", "-c", config, "--sink", "sinks_of_cli", "--json").stdout)
        assert (row["state"], row["order"]) == ("disabled", "-")
        taken = penstock("send", "--server", _at(server), "--to", "bob@example.com")
        assert taken.returncode == 0
    (tmp_path / "spool" / "bindings.json").write_text("{")
    with Server(tmp_path, workers=1) as server:
        assert penstock("send", "--server", _at(server), "--to", "bob@example.com").returncode == 0
    assert list((tmp_path / "spool").glob("bindings.json.broken-*"))
