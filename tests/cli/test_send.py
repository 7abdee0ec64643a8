"""``penstock send`` against a real server: what it prints, what it exits with, and what arrives."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from support.server import Server
from support.waiting import wait_until

from .command import penstock

MOODS = '''
"""Refuses by the name of the recipient, or by the subject."""
from penstock import Sink, on
from penstock.events import EndOfData, MailFrom, RcptTo
from penstock.verdicts import Defer, Reject

class Moods(Sink):
    @on(MailFrom)
    async def sender(self, event):
        return Reject(550, "5.7.1", "Not you") if event.sender.local == "spammer" else None

    @on(RcptTo)
    async def recipient(self, event):
        return {"later": Defer(450, "4.2.0", "Not now"), "policy": Reject(550, "5.7.1", "No")}.get(event.recipient.address.local)

    @on(EndOfData)
    async def content(self, event):
        return Reject(554, "5.6.0", "Bad words") if event.message.header.get("Subject") == "bad" else None
'''
MORE = '[[binding]]\nname = "moods"\nsink = "moods:Moods"\n[domain."few.example"]\ndeliver = "discard:"\nrecipients = ["ann"]\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that refuses some."""
    folder = tmp_path_factory.mktemp("send")
    (folder / "moods.py").write_text(MOODS)
    with Server(folder, more=MORE) as running:
        yield running


@pytest.fixture
def at(server: Server) -> str:
    """Its address, as --server takes it."""
    return "{}:{}".format(*server.address)


def _arrived(server: Server, local: str) -> bytes:
    paths = wait_until(lambda: list(server.mail.glob(f"example.com/{local}/new/*")), f"mail for {local}")
    return paths[0].read_bytes()


def test_the_reply_holds_the_queue_id_and_the_message_arrives(server: Server, at: str) -> None:
    """With nothing but --to (and where the server is) a message is on its way."""
    done = penstock("send", "--server", at, "--to", "plain@example.com")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("250 2.0.0 Ok: queued as ")
    raw = _arrived(server, "plain")
    message = message_from_bytes(raw)
    assert message["Return-Path"] == "<you@client.example>"
    assert message["Received"].startswith("from client.example")
    assert done.stdout.split()[-1] in message["Received"]


def test_the_options_write_the_message(server: Server, at: str) -> None:
    """Subject, text beyond ASCII, and further fields."""
    options = ["--subject", "Grüße", "--body", "één\n.dot", "--header", "X-Colour: blue", "--from", "", "--helo", "[192.0.2.1]"]
    assert penstock("send", "--server", at, "--to", "options@example.com", *options).returncode == 0
    message = message_from_bytes(_arrived(server, "options"))
    assert message["X-Colour"] == "blue"
    assert message["Return-Path"] == "<>"
    assert message.get_payload(decode=True).decode().splitlines() == ["één", ".dot"]


@pytest.mark.parametrize("name", ["-", "file.eml"])
def test_a_file_goes_out_as_it_is(server: Server, at: str, tmp_path: Path, name: str) -> None:
    """Nothing is added, but for line ends and a last one where it is missing."""
    raw = b"Subject: as it is\nX-Odd:    spaced\n\n.one\r\n..two\nthree \xff"
    local = f"file{len(name)}"
    (tmp_path / "file.eml").write_bytes(raw)
    done = penstock("send", "--server", at, "--to", f"{local}@example.com", "--file", name, stdin=raw, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert _arrived(server, local).endswith(b"\r\nSubject: as it is\r\nX-Odd:    spaced\r\n\r\n.one\r\n..two\r\nthree \xff\r\n")


def test_text_may_come_from_standard_input(server: Server, at: str) -> None:
    """``--body -`` reads it."""
    assert penstock("send", "--server", at, "--to", "stdin@example.com", "--body", "-", stdin=b"from a pipe").returncode == 0
    assert _arrived(server, "stdin").endswith(b"\r\n\r\nfrom a pipe\r\n")


def test_addresses_beyond_ascii_use_smtputf8(at: str) -> None:
    """The parameter is there, and the server takes it."""
    done = penstock("send", "--server", at, "--to", "jürgen@example.com", "-v")
    assert done.returncode == 0
    assert "C: MAIL FROM:<you@client.example> BODY=8BITMIME SMTPUTF8" in done.stderr


def test_verbose_shows_the_dialogue_beside_the_result(at: str) -> None:
    """The dialogue is on standard error, so the result can still be piped."""
    done = penstock("send", "--server", at, "--to", "verbose@example.com", "-v")
    assert done.stdout.count("\n") == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("S: 220 mx.example.com")
    assert "C: RCPT TO:<verbose@example.com>" in lines
    assert lines[-1] == "S: 221 2.0.0 Bye"


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--to", "later@example.com"], 75, "later@example.com: 450 4.2.0 Not now"),
        (["--to", "policy@example.com"], 69, "policy@example.com: 550 5.7.1 No"),
        (["--to", "bob@few.example"], 67, "bob@few.example: 550 5.1.1 No such user here"),
        (["--to", "x@elsewhere.example"], 69, "x@elsewhere.example: 550 5.7.1 Relaying denied"),
        (["--to", "a@example.com", "--from", "spammer@client.example"], 69, "the sender: 550 5.7.1 Not you"),
        (["--to", "a@example.com", "--subject", "bad"], 69, "the message: 554 5.6.0 Bad words"),
    ],
)
def test_a_refusal_shows_the_reply_and_has_its_exit_code(at: str, arguments: list[str], code: int, what: str) -> None:
    """Later is 75, an unknown user 67, any other refusal 69."""
    done = penstock("send", "--server", at, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    first, second = done.stderr.splitlines()
    assert first == f"penstock: the server refused {what}"
    assert second.startswith("  ")


def test_who_is_not_refused_gets_the_message(server: Server, at: str) -> None:
    """One bad recipient of two: the other is served, both are in the JSON, and the exit code tells of the refusal."""
    done = penstock("send", "--server", at, "--to", "good@example.com", "--to", "later@example.com", "--json")
    assert done.returncode == 75
    result = json.loads(done.stdout)
    assert [(r["address"], r["code"]) for r in result["recipients"]] == [("good@example.com", 250), ("later@example.com", 450)]
    assert result["queue_id"].encode() in _arrived(server, "good")


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--to", "alice"], 64, "--to: there is no @"),
        (["--to", "<>"], 64, "--to: a recipient cannot be the null path"),
        (["--to", "a@example.com", "--from", "a b@x"], 64, "--from: "),
        (["--to", "a@example.com", "--header", "colourless"], 64, "--header: there is no colon"),
        (["--to", "a@example.com", "--header", "X: a\nY: b"], 64, "--header: the value of X holds a line end"),
        (["--to", "a@example.com", "--subject", "a\nb"], 64, "--subject: "),
        (["--to", "a@example.com", "--server", "host:port"], 64, "--server: 'host:port' is not understood"),
        (["--to", "a@example.com", "--server", "127.0.0.1:99999"], 64, "--server: "),
        (["--to", "a@example.com", "--helo", "two words"], 64, "--helo: "),
        (["--to", "a@example.com", "--file", "x", "--subject", "y"], 64, "--file is a whole message"),
        (["--to", "a@example.com", "--file", "/nowhere/x.eml"], 66, "--file: /nowhere/x.eml cannot be read"),
        (["--to", "a@example.com", "--file", "-"], 65, "--file: standard input does not begin with a header field"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_a_server_is_asked(arguments: list[str], code: int, what: str) -> None:
    """Usage is 64, a file that is not there 66, a file that is no message 65."""
    done = penstock("send", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"penstock: {what}")


@contextmanager
def _speaking(*said: bytes) -> Iterator[str]:
    """A server that says each of these after whatever it is sent, and then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for number, line in enumerate(said):
                    if number:
                        connection.recv(65536)
                    connection.sendall(line)
                if not said:
                    connection.recv(65536)  # until the client has had enough

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield "{}:{}".format(*listening.getsockname())
        thread.join(10)


def test_no_server_is_69_and_says_how_to_start_one() -> None:
    """At the default address the hint is make run; elsewhere it is not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = penstock("send", "--to", "a@example.com", "--server", f"127.0.0.1:{port}")
    assert done.returncode == 69
    assert done.stderr.splitlines()[0] == f"penstock: no server answers at 127.0.0.1:{port}"


def test_a_host_that_is_not_there_is_69() -> None:
    """A name that cannot exist (RFC 2606)."""
    done = penstock("send", "--to", "a@example.com", "--server", "nowhere.invalid:25")
    assert done.returncode == 69
    assert "'nowhere.invalid' cannot be found" in done.stderr


def test_a_server_that_says_later_is_75() -> None:
    """A 4xx banner."""
    with _speaking(b"421 4.3.2 Busy\r\n") as at:
        done = penstock("send", "--to", "a@example.com", "--server", at)
    assert done.returncode == 75
    assert "the server refused the connection: 421 4.3.2 Busy" in done.stderr


def test_a_server_that_hangs_up_is_75() -> None:
    """The message may or may not have arrived: only later can tell."""
    with _speaking(b"220 hello\r\n", b"250 hello\r\n", b"250 ok\r\n") as at:
        done = penstock("send", "--to", "a@example.com", "--server", at)
    assert done.returncode == 75
    assert f"the server at {at} closed the connection" in done.stderr


def test_a_silent_server_is_69_after_the_timeout() -> None:
    """It does not hang for ever."""
    with _speaking() as at:
        done = penstock("send", "--to", "a@example.com", "--server", at, "--timeout", "0.3")
    assert done.returncode == 69
    assert "did not answer within 0.3 s" in done.stderr


def test_an_old_server_is_greeted_with_helo() -> None:
    """EHLO refused is no error, and what needs an extension is told."""
    with _speaking(b"220 old\r\n", b"500 what?\r\n", b"250 old\r\n") as at:
        done = penstock("send", "--to", "jürgen@example.com", "--server", at)
    assert done.returncode == 65
    assert "does not take addresses beyond ASCII" in done.stderr
