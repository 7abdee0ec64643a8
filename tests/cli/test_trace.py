"""``penstock trace`` without a server: it reads the files, and says why there is nothing in them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import run
from penstock.observe.trace_entries import Asked, Entry, Looked
from penstock.observe.traces import TraceSettings, TraceStore

CONFIG = """
[server]
hostname = "mx.example.com"
workers = 1
[[listener]]
name = "mx"
address = "127.0.0.1:0"
[domain."example.com"]
[trace]
folder = "traces"
"""
NOT_ASKED = Asked("idle", "look", "sinks:Idle", "", 100, [Looked("listener", "submission", "mx", False)], "condition")
EDITED = Asked("tag", "tag", "sinks:Tag", "1a2b3c", 200, ms=1.5, edits=["+ header X-Tag: seen", "- recipient <bob@example.com>"])
FAILED = Asked("broken", "look", "sinks:Broken", "", 300, ms=0.25, error="ValueError: oops")
REFUSED = Asked("refuse", "look", "sinks:Refuse", "", 400, verdict="Reject 550 5.1.1 No such user", ms=0.5)
LATER = Asked("last", "look", "sinks:Last", "", 500, reason="earlier verdict")
STORY = (
    Entry(1_700_000_000.125, "Ehlo", session="S1", about="client.example", generation=3),
    Entry(
        1_700_000_001.0, "RcptTo", message="M1", session="S1", about="<bob@example.com>", generation=3,
        asked=[NOT_ASKED, EDITED, FAILED, REFUSED, LATER], more=7, verdict="Reject 550 5.1.1 No such user", by="refuse",
    ),
    Entry(1_700_000_002.0, "deferred", "step", "M1", details={"to": "bob@example.com", "reply": "451 4.7.1 later \x1b[31m"}),
)  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a trace of one message."""
    path = tmp_path / "penstock.toml"
    path.write_text(CONFIG)
    store = TraceStore(TraceSettings(tmp_path / "traces" / "worker-0"))
    for entry in STORY:
        store.put(entry)
    store.close()
    monkeypatch.setenv("PENSTOCK_CONFIG", str(path))
    monkeypatch.setenv("TZ", "UTC")
    return path


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What the command writes to standard output."""
    assert run(["trace", *words]) == code
    return capsys.readouterr().out


def test_a_story_tells_who_was_asked_who_was_not_and_why(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "M1")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[:3] == ["Message M1", "came in session S1", "bindings of generation 3"]
    text = " ".join(out.split())
    assert "RcptTo <bob@example.com>" in text
    assert "100 idle not asked: a condition does not hold no listener submission, found mx" in text
    assert "200 tag asked, said nothing 1.5 ms, version 1a2b3c + header X-Tag: seen - recipient <bob@example.com>" in text
    assert "300 broken failed: ValueError: oops 0.25 ms" in text
    assert "400 refuse Reject 550 5.1.1 No such user 0.5 ms" in text
    assert "500 last not asked: an earlier binding has answered and 7 more that were not asked" in text
    assert "=> Reject 550 5.1.1 No such user, by refuse" in text
    assert 'deferred to=bob@example.com reply="451 4.7.1 later' in text


def test_nothing_of_what_strangers_said_steers_the_terminal_and_no_colour_goes_into_a_pipe(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "\x1b" not in shown(capsys, "M1")


def test_an_id_is_found_in_small_letters_too(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "m1") == shown(capsys, "M1")


def test_a_session_tells_of_its_messages(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "S1")
    assert out.startswith("Session S1\nbrought M1\n")
    assert "Ehlo" in out
    assert "deferred" in out


def test_programs_get_every_field_by_its_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries: list[dict[str, Any]] = json.loads(shown(capsys, "M1", "--json"))
    assert [entry["what"] for entry in entries] == ["Ehlo", "RcptTo", "deferred"]
    idle = entries[1]["asked"][0]
    assert idle["reason"] == "condition"
    assert idle["conditions"] == [{"name": "listener", "wanted": "submission", "found": "mx", "held": False}]
    assert idle["edits"] == []
    assert entries[2]["worker"] == "worker-0"


def test_without_an_id_the_last_ones_are_listed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, session, message = shown(capsys).splitlines()
    assert header.split() == ["id", "kind", "began", "entries", "about", "ended"]
    assert session.startswith("S1")
    assert message.startswith("M1")
    assert "deferred bob@example.com 451 4.7.1 later" in message
    (row,) = json.loads(shown(capsys, "--last", "1", "--json"))
    assert (row["id"], row["entries"], row["began"]) == ("M1", 2, 1_700_000_001.0)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("sample = 0", "[trace] says 'sample = 0'"),
        ("sample = '5%'", "[trace] takes 5% of sessions"),
        ("sample = 0\nmatch = { recipient = '*@example.net' }", "[trace] has a 'match'"),
        ("", "above 10 sessions a second not all are traced"),
    ],
)
def test_where_there_is_no_trace_the_likely_reason_is_told(
    config: Path, capsys: pytest.CaptureFixture[str], table: str, reason: str
) -> None:
    config.write_text(f"{CONFIG}{table}\n")
    assert run(["trace", "NOPE"]) == 67
    told = capsys.readouterr().err
    assert "there is no trace of 'NOPE'" in told
    assert reason in told


def test_an_empty_folder_is_no_error(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(CONFIG.replace('"traces"', '"elsewhere"'))
    assert shown(capsys).startswith("nothing was traced yet")
    assert shown(capsys, "--json").strip() == "[]"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("on",), 69, "no server is running"),
        (("status",), 69, "no server is running"),
        (("off", "--match", "recipient=x@y.example"), 64, "--match goes with 'on'"),
        (("on", "--match", "recipent=x@y.example"), 78, "did you mean 'recipient'?"),
        (("on", "--match", "size=big"), 64, "'size' is not understood"),
        (("on", "--for", "soon"), 64, "is not a duration"),
    ],
)
def test_what_cannot_be_ordered_is_told(
    config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, told: str
) -> None:
    assert run(["trace", *words]) == code
    assert told in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_who_may_not_read_the_files_is_told_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "traces" / "worker-0").chmod(0)
    assert run(["trace", "M1"]) == 77
    assert "you may not read the traces" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("sample = '101%'", "is not a percentage"),
        ("match = { recipient = '@@' , code = '9' }", "is not understood"),
        ("match = { tls = true, code = '550', header = { Subject = '*' } }", "no event"),
        ("size = 1000", "no room for traces"),
        ("entry = 10", "more room"),
        ("entries = 1", "would keep nothing"),
        ("age = 0", "would keep nothing"),
        ("smaple = 1", "did you mean 'sample'?"),
    ],
)
def test_a_table_that_could_keep_nothing_is_an_error(config: Path, capsys: pytest.CaptureFixture[str], table: str, what: str) -> None:
    config.write_text(f"{CONFIG}{table}\n")
    assert run(["trace"]) == 78
    assert what in capsys.readouterr().err


def test_a_terminal_gets_colours_unless_it_wants_none(config: Path) -> None:
    def on_a_terminal(**more: str) -> bytes:
        ours, theirs = pty.openpty()
        env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        subprocess.run([sys.executable, "-m", "penstock", "trace", "M1"], stdout=theirs, env={**env, **more}, timeout=60, check=True)
        os.close(theirs)
        octets = os.read(ours, 100_000)
        os.close(ours)
        return octets

    assert b"\x1b[" in on_a_terminal()
    assert b"\x1b[" not in on_a_terminal(NO_COLOR="1")
