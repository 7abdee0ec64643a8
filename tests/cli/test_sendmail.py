"""``penstock sendmail``: programs hand in mail as they always have, and exit code 0 means that it is on stable storage."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from admin.live import Live
from penstock.mail.message import decode_record
from penstock.storage.base import Query
from support.server import Server
from support.waiting import wait_until

from .command import penstock

LETTER = b"To: Ann <ann@far.example>, bob@far.example\nCc: carol@far.example\nBcc: dave@far.example\nSubject: hi\n\nHello.\n"


async def _sent(live: Live, *words: str, stdin: bytes = LETTER) -> tuple[list[str], str, str]:
    """Recipients, sender and content of the one message that was handed in."""
    await live.run("sendmail", *words, stdin=stdin)
    (entry,) = live.spool.select(Query()).entries
    record = decode_record(entry.record)
    return [str(r.address) for r in record.envelope.recipients], str(record.envelope.sender), live.spool.content(entry).read().decode()


async def test_a_message_is_taken_with_what_is_missing_added(tmp_path: Path) -> None:
    """From, Date and Message-ID; line ends become CRLF; an envelope line of an mbox is no header field."""
    async with Live(tmp_path) as live:
        recipients, sender, content = await _sent(live, "-F", "Root, the", "ann@far.example", stdin=b"From x Mon Nov\nSubject: a\n\nb\n")
        assert recipients == ["ann@far.example"]
        assert sender.endswith("@mx.example.com")
        header, _, body = content.partition("\r\n\r\n")
        assert body == "b\r\n"
        assert re.search(r'^From: "Root, the" <\S+@mx\.example\.com>\r$', header, re.MULTILINE)
        assert re.search(r"^Date: \w{3}, ", header, re.MULTILINE)
        assert re.search(r"^Message-ID: <\S+@mx\.example\.com>$", header, re.MULTILINE)
        assert "Mon Nov" not in header.replace("Date", "").split("Subject")[1]


async def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    """Folding and odd spacing included, for a signature may cover it."""
    header = b"From:  me@client.example\nDATE: today\nmessage-id: <x@y>\nX-Odd:   a\n\tb\n"
    async with Live(tmp_path) as live:
        _, _, content = await _sent(live, "ann@far.example", stdin=header + b"\nbody\n")
        assert content.endswith((header + b"\nbody\n").replace(b"\n", b"\r\n").decode())


async def test_recipients_are_taken_from_the_header(tmp_path: Path) -> None:
    """With those of the command line; and Bcc is removed."""
    async with Live(tmp_path) as live:
        recipients, sender, content = await _sent(live, "-t", "-f", "me@client.example", "eve@far.example")
        assert sorted(recipients) == [f"{name}@far.example" for name in ("ann", "bob", "carol", "dave", "eve")]
        assert sender == "me@client.example"
        assert "dave" not in content


async def test_a_resent_message_goes_to_whom_it_is_resent(tmp_path: Path) -> None:
    """Not again to its first recipients (RFC 5322 §3.6.6)."""
    async with Live(tmp_path) as live:
        recipients, _, _ = await _sent(live, "-t", stdin=b"Resent-To: new@far.example\n" + LETTER)
        assert recipients == ["new@far.example"]


@pytest.mark.parametrize(("option", "whole"), [((), False), (("-i",), True), (("-oi",), True), (("-t", "-i"), True)])
async def test_a_dot_ends_the_message_unless_it_is_told_not_to(tmp_path: Path, option: tuple[str, ...], whole: bool) -> None:
    """-i, as most programs give it."""
    async with Live(tmp_path) as live:
        _, _, content = await _sent(live, *option, "--", "ann@far.example", stdin=b"To: x@far.example\n\none\n.\ntwo\n")
        assert content.endswith("one\r\n.\r\ntwo\r\n" if whole else "one\r\n")


async def test_options_of_other_servers_are_taken_and_ignored(tmp_path: Path) -> None:
    """A name without a domain gets the host's; <> is the null path; DSN parameters go along."""
    async with Live(tmp_path) as live:
        words = (
            "-oem",
            "-odb",
            "-G",
            "-v",
            "-L",
            "tag",
            "-h",
            "3",
            "-B8BITMIME",
            "-N",
            "never",
            "-R",
            "hdrs",
            "-V",
            "id 1",
            "-r",
            "<>",
            "root",
        )
        recipients, sender, _ = await _sent(live, *words)
        assert (recipients, sender) == (["root@mx.example.com"], "")


async def test_a_message_without_header_becomes_one(tmp_path: Path) -> None:
    """echo hello | sendmail ann"""
    async with Live(tmp_path) as live:
        _, _, content = await _sent(live, "ann@far.example", stdin=b"hello\n")
        assert content.endswith("\r\n\r\nhello\r\n")


@pytest.mark.parametrize(
    ("words", "stdin", "code", "what"),
    [
        (("-t",), b"Subject: x\n\ny\n", 65, "no recipient"),
        ((), b"Subject: x\n\ny\n", 65, "no recipient"),
        (("-Y", "ann@far.example"), b"x\n", 64, "-Y"),
        (("-bd",), b"", 64, "-bd"),
        (("-N", "sometimes", "ann@far.example"), b"x\n", 64, "sometimes"),
        (("a b@@far.example",), b"x\n", 65, "@"),
    ],
)
async def test_what_is_wrong_is_told_by_the_exit_code(tmp_path: Path, words: tuple[str, ...], stdin: bytes, code: int, what: str) -> None:
    """And nothing is handed in."""
    async with Live(tmp_path) as live:
        _, err = await live.run("sendmail", *words, stdin=stdin, code=code)
        assert what in err
        assert live.spool.count() == 0


def test_without_a_server_the_message_is_to_be_tried_again(tmp_path: Path) -> None:
    """75, which programs know."""
    Live(tmp_path)
    for config in (tmp_path / "penstock.toml", tmp_path / "nothing.toml"):
        done = penstock("sendmail", "-C", str(config), "ann@far.example", stdin=b"x\n")
        assert done.returncode == 75, done.stderr
        assert done.stderr.count("\n") == 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A whole server with two workers."""
    with Server(tmp_path, workers=2) as running:
        yield running


def test_the_links_do_what_their_names_say(server: Server, tmp_path: Path) -> None:
    """A program calls /usr/sbin/sendmail; the message is delivered, and the queue is empty again."""
    script = tmp_path / "bin" / "penstock"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom penstock.cli import main\nmain()\n")
    script.chmod(0o755)
    for name in ("sendmail", "mailq", "newaliases"):
        (script.parent / name).symlink_to(script)
    env = {**os.environ, "PENSTOCK_CONFIG": str(server.config)}

    def run(name: str, *words: str, stdin: bytes = b"") -> str:
        command = [str(script.parent / name), *words]
        return subprocess.run(command, input=stdin, capture_output=True, env=env, timeout=60, check=True).stdout.decode()

    assert run("sendmail", "-t", "-i", stdin=b"To: ann@example.com\nSubject: linked\n\nHello.\n") == ""
    (mail,) = wait_until(lambda: [path.read_text() for path in server.mail.glob("example.com/ann/new/*")], "ann has it")
    assert "Subject: linked" in mail
    assert "(Penstock, from userid " in mail
    assert run("mailq") == "Mail queue is empty\n"
    assert run("newaliases") == ""


def test_smtp_on_standard_input_reaches_the_listener(server: Server) -> None:
    """-bs, as some mail programs like it best; the port is asked for where the system chose it."""
    dialogue = b"EHLO client.example\r\nMAIL FROM:<x@client.example>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n"
    done = penstock("sendmail", "-C", str(server.config), "-bs", stdin=dialogue + b"Subject: x\r\n\r\ny\r\n.\r\nQUIT\r\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("220 mx.example.com")
    assert "queued as" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("221")
