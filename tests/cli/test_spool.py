"""``penstock spool``: held mail can be looked at, released, removed, carried away and brought back while the server is stopped."""

from __future__ import annotations

import json
import os
import shutil
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server import Server
from support.waiting import wait_until

from .command import penstock

GUARD = '''
"""Quarantines at both moments, and adds a field to what passes."""
from penstock import Sink, on
from penstock.events import EndOfData, Submission
from penstock.verdicts import Quarantine

class Guard(Sink):
    @on(EndOfData)
    async def early(self, event):
        return Quarantine("looks \\x1b[31mred") if event.message.header.get("Subject") == "early" else None

    @on(Submission)
    async def late(self, event):
        event.message.header.add("X-Guard", "looked")
        return Quarantine("late") if event.message.header.get("Subject") == "late" else None
'''
MORE = '[[binding]]\nname = "guard"\nsink = "guard:Guard"\n'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with two workers, which has held an early and a late message, and is stopped."""
    (tmp_path / "guard.py").write_text(GUARD)
    with Server(tmp_path, workers=2, more=MORE) as running:
        _send(running, "early")
        _send(running, "late")
        running.wait_for_log(lambda line: line["event"] == "quarantined" and "to" in line, "held")
        assert running.stop() == 0
        yield running


def _send(server: Server, subject: str) -> None:
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.sendmail("carol@client.example", ["ann@example.com", "bob@example.com"], f"Subject: {subject}\r\n\r\n.body\r\n")


def _spool(server: Server, *words: str) -> Any:
    done = penstock("spool", *words, "-c", str(server.config))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _held(server: Server) -> dict[str, str]:
    """The ids of held mail, by reason."""
    return {row["reason"]: row["queue_id"] for row in json.loads(_spool(server, "list", "--held", "--json"))}


def _mail(server: Server, name: str = "ann") -> list[bytes]:
    return [path.read_bytes() for path in server.mail.glob(f"example.com/{name}/new/*")]


def test_a_listing_has_the_field_names_of_postqueue(server: Server) -> None:
    """A script for Postfix reads it; people see one line a message, in which nothing steers their terminal."""
    rows = json.loads(_spool(server, "list", "--json"))
    assert [row["queue_name"] for row in rows] == ["hold", "hold"]
    late = next(row for row in rows if row["reason"] == "late")
    assert late["sender"] == "carol@client.example"
    assert late["recipients"] == [{"address": f"{name}@example.com", "delay_reason": "late"} for name in ("ann", "bob")]
    assert late["message_size"] > 20
    assert late["arrival_time"] > 1_600_000_000
    lines = _spool(server, "list").splitlines()
    assert len(lines) == 3
    assert "ann@example.com,bob@example.com" in lines[1]
    assert "\x1b" not in "".join(lines)


def test_one_message_is_shown_and_written_as_it_is_now(server: Server) -> None:
    """With the header field that the sink added before it quarantined; the id may be written small."""
    held = _held(server)
    text = _spool(server, "show", held["late"].lower())
    for words in ("client_ip:     127.0.0.1", "recipients:    ann@example.com, bob@example.com", "X-Guard: looked", "Subject: late"):
        assert words in text
    assert json.loads(_spool(server, "show", held["late"], "--json"))["origin"] == "smtp"
    written = _spool(server, "cat", held["late"])
    assert "X-Guard: looked" in written
    assert written.endswith("\r\n\r\n.body\r\n")


def test_released_mail_is_delivered_after_the_next_start(server: Server) -> None:
    """Where a sink of Submission would hold it again, --skip names its binding."""
    held = _held(server)
    early = next(queue_id for reason, queue_id in held.items() if reason.startswith("looks"))
    assert "it was held: late" in _spool(server, "release", held["late"], "--skip", "guard")
    assert "goes on" in _spool(server, "release", early)
    assert _held(server) == {}
    server.start()
    wait_until(lambda: len(_mail(server)) == len(_mail(server, "bob")) == 2, "both are delivered to both")
    server.stop()
    assert _spool(server, "list") == "the spool is empty\n"
    assert _spool(server, "list", "--held") == "no mail is held\n"


def test_removed_mail_is_gone(server: Server) -> None:
    """The other message stays; and all ids are looked for before one is removed."""
    held = _held(server)
    done = penstock("spool", "remove", held["late"], "0NOSUCHMESSAGE00", "-c", str(server.config))
    assert done.returncode == 67
    assert "there is no message '0NOSUCHMESSAGE00'" in done.stderr
    assert _held(server) == held
    assert _spool(server, "remove", held["late"]) == f"{held['late']} is removed\n"
    assert "late" not in _held(server)
    assert len(_held(server)) == 1


def test_exported_mail_can_be_removed_and_brought_back(server: Server, tmp_path: Path) -> None:
    """Nothing is lost on the way; it is not taken twice, nor half."""
    held, out = _held(server), tmp_path / "out"
    assert _spool(server, "export", str(out)) == f"2 messages in {out}\n"
    assert oct(out.stat().st_mode & 0o777) == "0o700"
    assert penstock("spool", "export", str(out), "-c", str(server.config)).returncode == 64
    again = penstock("spool", "import", str(out), "-c", str(server.config))
    assert (again.returncode, "in the spool already" in again.stderr) == (65, True)
    before = _spool(server, "cat", held["late"])
    _spool(server, "remove", *held.values())
    assert "2 messages taken in" in _spool(server, "import", str(out))
    assert _held(server) == held
    assert _spool(server, "cat", held["late"]) == before


@pytest.mark.parametrize("damage", ["no content", "not JSON", "nothing"])
def test_what_was_not_exported_whole_is_not_imported(server: Server, tmp_path: Path, damage: str) -> None:
    """Before anything is taken."""
    out = tmp_path / "out"
    _spool(server, "export", str(out))
    held = _held(server)
    _spool(server, "remove", *held.values())
    if damage == "no content":
        (out / f"{held['late']}.eml").unlink()
    elif damage == "not JSON":
        (out / f"{held['late']}.json").write_text("{}")
    else:
        shutil.rmtree(out)
    done = penstock("spool", "import", str(out), "-c", str(server.config))
    assert done.returncode == (66 if damage == "nothing" else 65)
    assert len(done.stderr.splitlines()) == 2
    assert _held(server) == {}


def test_a_check_names_damage_and_exits_with_65(server: Server) -> None:
    """And says ok where there is none."""
    assert _spool(server, "check").startswith("ok: 2 spools, ")
    assert json.loads(_spool(server, "check", "--json"))["ok"]
    for segment in server.spool.glob("worker-*/journal/*.segment"):
        octets = bytearray(segment.read_bytes())
        octets[4096 + 45 : 4096 + 54] = b"\xaa" * 9
        segment.write_bytes(octets)
    done = penstock("spool", "check", "-c", str(server.config))
    assert done.returncode == 65
    assert "does not match its checksum" in done.stderr


def test_while_the_server_runs_only_check_works(server: Server, tmp_path: Path) -> None:
    """Whoever wants to look is told to stop it first."""
    server.start()
    for words in (["list"], ["show", "X"], ["cat", "X"], ["export", str(tmp_path / "o")], ["release", "X"], ["remove", "X"]):
        done = penstock("spool", *words, "-c", str(server.config))
        assert done.returncode == 75, words
        first, second = done.stderr.splitlines()
        assert first.startswith("penstock: the server is running: ")
        assert second.startswith("  stop the server first, or ")
    assert penstock("spool", "check", "-c", str(server.config)).returncode == 0
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["release", "X", "--skip", "gaurd"], 64, "there is no binding 'gaurd'"),
        (["show", "X"], 67, "there is no message 'X'"),
        (["release"], 64, "missing argument"),
    ],
)
def test_wrong_words_are_told(server: Server, words: list[str], code: int, what: str) -> None:
    """In two lines, as everywhere."""
    done = penstock("spool", *words, "-c", str(server.config))
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 2)
    assert what in done.stderr


def test_without_a_spool_none_is_made(tmp_path: Path) -> None:
    """A mistyped configuration leaves no folders behind."""
    config = tmp_path / "penstock.toml"
    config.write_text('[server]\nhostname = "mx.example.com"\nspool = "spool"\n[[listener]]\nname = "mx"\naddress = "127.0.0.1:0"\n')
    done = penstock("spool", "list", "-c", str(config))
    assert (done.returncode, "there is no spool" in done.stderr) == (66, True)
    assert not (tmp_path / "spool").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_spool_of_another_user_is_left_alone(server: Server) -> None:
    """What root wrote there the server could not write any more."""
    os.chown(server.spool / "worker-0", 65534, 65534)
    done = penstock("spool", "list", "-c", str(server.config))
    assert done.returncode == 77
    assert "sudo -u nobody penstock spool" in done.stderr


def test_spool_alone_shows_its_verbs() -> None:
    """As the command itself does."""
    done = penstock("spool")
    assert done.returncode == 64
    for verb in ("list", "show", "cat", "check", "export", "import", "release", "remove"):
        assert f"  {verb} " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]
