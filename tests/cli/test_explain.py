"""``penstock explain``: who would be asked, who would not, and the condition that decides it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import run
from penstock.events.catalog import CATALOG

SINKS = """
from penstock import Match, Sink, on
from penstock.events import (
    Auth, Ehlo, EndOfData, LocalDelivery, MailFrom, RcptTo, ServerResponse, Submission, Verb
)
from penstock.verdicts import Reject


class Never(Sink):
    @on(MailFrom, RcptTo, EndOfData)
    async def handle(self, event: MailFrom | RcptTo | EndOfData) -> Reject:
        raise AssertionError("explain runs no handler")


class Rcpt(Sink):
    @on(RcptTo)
    async def handle(self, event: RcptTo) -> None: ...


class Content(Sink):
    @on(EndOfData)
    async def handle(self, event: EndOfData) -> None: ...


class Replies(Sink):
    @on(ServerResponse, match=Match(verb="MAIL", code="501"))
    async def handle(self, event: ServerResponse) -> None: ...


class Own(Sink):
    @on(Verb, keyword="XOWN")
    async def verb(self, event: Verb) -> None: ...

    @on(Auth, mechanism="X-OWN")
    async def auth(self, event: Auth) -> None: ...

    @on(Submission, match=Match(when=lambda event: 1 / 0))
    async def submitted(self, event: Submission) -> None: ...
"""
HEAD = """
[server]
hostname = "mx.example.com"
spool = "spool"
control = "run"
[[listener]]
name = "mx"
address = "127.0.0.1:0"
[domain."example.com"]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration without a server; tests append bindings."""
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / f"explained_{tmp_path.name}.py").write_text(SINKS)
    path = tmp_path / "penstock.toml"
    path.write_text(HEAD)
    monkeypatch.setenv("PENSTOCK_CONFIG", str(path))
    return path


def bind(config: Path, sink: str, more: str = "") -> None:
    """Appends a binding of the name "it"."""
    with config.open("a") as file:
        file.write(f'[[binding]]\nname = "it"\nsink = "explained_{config.parent.name}:{sink}"\n{more}\n')


def explained(config: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What is said of the binding "it", by event."""
    assert run(["explain", "--config", str(config), "--json", *words]) == 0
    rows = json.loads(capsys.readouterr().out)
    return {f"{row['event']} {row['about']}".strip(): row for row in rows if row["binding"] == "it"}


def test_a_condition_that_does_not_hold_is_named_with_what_was_found(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind(config, "Never", 'match = { sender = "*@example.net", client = "192.0.2.0/24" }')
    found = explained(config, capsys, "--from", "a@example.org", "--to", "bob@example.com", "--client", "192.0.2.1")
    one = found["RcptTo <bob@example.com>"]
    assert (one["asked"], one["why"]) == ("no", "sender does not hold")
    by_name = {tried["name"]: tried for tried in one["conditions"]}
    assert by_name["sender"] == {"name": "sender", "wanted": "*@example.net", "found": "a@example.org", "holds": "no"}
    assert by_name["client"]["holds"] == "yes"


def test_each_recipient_is_judged_for_itself(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind(config, "Rcpt", 'match = { recipient = "bob@example.com" }')
    found = explained(config, capsys, "--to", "bob@example.com", "--to", "ann@example.com")
    assert (found["RcptTo <bob@example.com>"]["asked"], found["RcptTo <ann@example.com>"]["asked"]) == ("yes", "no")


def test_what_was_not_given_is_open_and_not_false(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind(config, "Never", 'match = { helo = "*.example", size = "> 1 KiB" }')
    one = explained(config, capsys)["EndOfData"]
    assert one["asked"] == "open"
    assert one["why"] == "it depends on: helo, size"
    assert explained(config, capsys, "--helo", "mail.example", "--size", "5000")["EndOfData"]["asked"] == "yes"
    assert explained(config, capsys, "--helo", "elsewhere.test")["EndOfData"]["asked"] == "no"


def test_a_field_that_was_not_given_may_be_there_but_not_in_a_whole_message(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind(config, "Content", 'match = { header = { Subject = "*invoice*" } }')
    letter = config.parent / "letter.eml"
    letter.write_bytes(b"From: a@example.net\r\n\r\nSubject: invoice\r\n")
    assert explained(config, capsys)["EndOfData"]["asked"] == "open"
    assert explained(config, capsys, "--header", "From: a@example.net")["EndOfData"]["asked"] == "open"
    assert explained(config, capsys, "--header", "Subject: Invoice 7")["EndOfData"]["asked"] == "yes"
    assert explained(config, capsys, "--message", str(letter))["EndOfData"]["asked"] == "no"


def test_a_predicate_is_named_and_never_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind(config, "Own")
    found = explained(config, capsys)
    assert (found["Submission"]["asked"], found["Submission"]["why"]) == ("open", "it depends on: when")
    assert found["Verb XOWN"]["asked"] == "yes"
    assert found["Auth X-OWN"]["asked"] == "yes"


def test_replies_of_remote_servers_can_be_supposed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind(config, "Replies")
    words = ["--to", "bob@example.net", "--event", "ServerResponse", "--verb", "mail"]
    assert explained(config, capsys, *words, "--code", "501")["ServerResponse <bob@example.net>"]["asked"] == "yes"
    assert explained(config, capsys, *words, "--code", "550 5.1.1")["ServerResponse <bob@example.net>"]["asked"] == "no"


@pytest.mark.parametrize(
    ("more", "asked", "why"),
    [
        ("enabled = false", "no", "it is disabled"),
        ('expires = "2020-01-01"', "no", "it is expired"),
        ('sample = "10%"', "open", "it is asked about a sample of 10%"),
        ('canary = "5%"', "open", "it is a canary, asked about 5% of the messages"),
        ('mode = "shadow"', "yes", "about a copy: it is a shadow, and only compared"),
    ],
)
def test_what_holds_a_binding_back_is_said(more: str, asked: str, why: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind(config, "Never", more)
    one = explained(config, capsys, "--to", "bob@example.com")["EndOfData"]
    assert (one["asked"], one["why"]) == (asked, why)


@pytest.mark.parametrize("event", CATALOG)
def test_every_event_can_be_supposed(event: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keyword = {"Verb": ', keyword="XTRY"', "Auth": ', mechanism="X-TRY"'}.get(event, "")
    module = f"supposed_{event.lower()}"
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / f"{module}.py").write_text(
        f"from penstock import Sink, on\nfrom penstock.events import {event}\n\n\n"
        f"class It(Sink):\n    @on({event}{keyword})\n    async def handle(self, event: {event}) -> None: ...\n"
    )
    path = tmp_path / "penstock.toml"
    path.write_text(f'{HEAD}[[binding]]\nname = "it"\nsink = "{module}:It"\n')
    assert run(["explain", "--config", str(path), "--json", "--event", event.lower(), "--to", "bob@example.com"]) == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if row["binding"] == "it"]
    assert rows
    assert all(row["asked"] == "yes" for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--event", "RcptoT"], "did you mean RcptTo"),
        (["--from", "nobody"], "is no address"),
        (["--listener", "mix"], "there is no listener 'mix'"),
        (["--code", "abc"], "is no reply code"),
        (["--message", "/nowhere.eml"], "cannot be read"),
    ],
)
def test_what_cannot_be_supposed_is_told(words: list[str], said: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "--config", str(config), *words]) in (64, 66)
    assert said in capsys.readouterr().err


def test_people_see_the_order_and_the_reason(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind(config, "Never", 'match = { sender = "*@example.net" }')
    assert run(["explain", "--config", str(config), "--from", "a@example.org", "--to", "bob@example.com"]) == 0
    text = capsys.readouterr().out
    assert "RcptTo <bob@example.com>" in text
    assert "no  24575  it" in text
    assert "sender *@example.net, found a@example.org" in text
    assert text.index("MailFrom") < text.index("RcptTo <bob@example.com>") < text.index("EndOfData")
