"""``penstock capture`` and ``penstock replay``: what was captured is said again, to today's bindings and to others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from capture.capturing import captured, capturing, whole
from cli.command import penstock
from conversations import runner
from hosts.running import Running
from penstock.capture.format import CapturedSession, Step, encode
from penstock.capture.redact import Redaction
from penstock.events.plug import BUILT_IN, Plug
from penstock.sinks.discard import Discard
from penstock.sinks.recipients import DomainRecipients, LocalRecipients, LocalRecipientsSettings
from penstock.sinks.relay import Relay, RelaySettings
from support.needs import needs, program

CONFIG = """\
[server]
hostname = "mx.example.com"
spool = "spool"
control = "control"
[[listener]]
name = "mx"
address = "127.0.0.1:0"
[domain."example.com"]
deliver = "maildir:mail/{local}"
"""
SINKS = """\
from pathlib import Path
from penstock import Sink, on
from penstock.events import EndOfData, RcptTo, Submission, LocalDelivery
from penstock.verdicts import Defer, Reject

class NoCarol(Sink):
    @on(RcptTo)
    async def check(self, event: RcptTo) -> Reject | None:
        return Reject(550, "5.7.1", "not her") if event.recipient.address.local == "carol" else None

class Stamp(Sink):
    @on(EndOfData)
    async def stamp(self, event: EndOfData) -> None:
        event.message.header.add("X-Stamp", "new")

class Notify(Sink):
    @on(Submission)
    async def tell(self, event: Submission) -> None:
        notice = event.server.new_message(sender="", recipients=["audit@example.com"], content=b"Subject: notice\\r\\n\\r\\nx\\r\\n")
        await event.server.submit(notice)

class Broken(Sink):
    @on(EndOfData)
    async def fail(self, event: EndOfData) -> None:
        raise RuntimeError("bang")

class Slow(Sink):
    @on(EndOfData)
    async def wait(self, event: EndOfData) -> Defer:
        import asyncio
        await asyncio.sleep(20)
        return Defer(451, "4.7.1", "later")

class Writes(Sink):
    @on(EndOfData)
    def write(self, event: EndOfData) -> None:
        (Path(__file__).parent / "written").touch()
"""


def policy() -> list[Plug]:
    """What a server for example.com has bound."""
    return [
        Plug("relay", Relay(RelaySettings(["example.com"])), BUILT_IN),
        Plug("recipients", LocalRecipients(LocalRecipientsSettings({"example.com": DomainRecipients()})), BUILT_IN),
        Plug("discard", Discard()),
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a configuration and sinks to try."""
    (tmp_path / "penstock.toml").write_text(CONFIG)
    (tmp_path / "trial_sinks.py").write_text(SINKS)
    return tmp_path


def bind(home: Path, *sinks: str, name: str = "new.toml", more: str = "") -> Path:
    """A file of bindings."""
    path = home / name
    tables = [f'[[binding]]\nname = "{sink.lower()}"\nsink = "trial_sinks:{sink}"\n{more}' for sink in sinks]
    path.write_text("\n".join(tables))
    return path


def replay(home: Path, file: Path, *arguments: str) -> tuple[int, Any]:
    """Runs it; the exit code, and what it says in JSON."""
    done = penstock("replay", str(file), "-c", str(home / "penstock.toml"), "--json", *arguments, cwd=home)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def found(told: Any, kind: str) -> list[tuple[str, str, str]]:
    """The differences of a kind, of all sessions."""
    return [(d["where"], d["today"], d["candidate"]) for r in told["results"] for d in r["differences"] if d["kind"] == kind]


async def conversation(server: Running, path: Path) -> None:
    """Plays a conversation against a server."""
    reader, writer = await asyncio.open_connection(*server.address)

    async def send(data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()

    async def receive() -> bytes:
        return await asyncio.wait_for(reader.readline(), 5.0)

    await runner.play_async(runner.load(path), send, receive)
    writer.close()
    await server.until(lambda: not server.host.sessions, "the session ended")


@pytest.mark.parametrize("redaction", [Redaction("keep"), Redaction(), Redaction("drop"), Redaction("fill", addresses=True)])
async def test_every_conversation_goes_again_as_it_went(home: Path, redaction: Redaction) -> None:
    """What is taken out changes nothing of what the server answers, as far as it can."""
    file = home / "worker-0.jsonl"
    names = []
    async with capturing(file, *policy(), redaction=redaction) as server:
        for path in runner.files():
            await conversation(server, path)
            names.append(path.stem)
    sessions = captured(file)
    assert len(sessions) == len(names)
    code, told = replay(home, file)
    by_id = dict(zip([session.id for session in sessions], names, strict=True))
    unlike = {by_id[row["session"]]: row["unlike_recording"] for row in told["results"] if row["unlike_recording"]}
    # What was wrong with a local part, or with a body that was left out, is gone with it.
    expected = {"dsn"} if redaction.addresses else {"long-lines", "smuggling"} if redaction.bodies == "drop" else set()
    assert set(unlike) == expected
    assert code == (1 if expected else 0)


async def test_unchanged_bindings_show_no_difference_and_deliver_nothing(home: Path) -> None:
    file = home / "worker-0.jsonl"
    same = bind(home, "Stamp", "Notify", name="same.toml")
    (home / "penstock.toml").write_text(CONFIG + same.read_text())
    async with capturing(file, *policy()) as server:
        for path in runner.files():
            await conversation(server, path)
    code, told = replay(home, file, "--bindings", str(same))
    assert [row["differences"] for row in told["results"] if row["differences"]] == []
    assert (code, told["different"]) == (0, 0)
    assert not (home / "mail").exists()
    assert not (home / "spool").exists()


async def captured_mail(home: Path, *to: str, content: bytes = b"Subject: hello\r\n\r\nHello.\r\n") -> Path:
    """A capture of one message."""
    file = home / "worker-0.jsonl"
    async with capturing(file, *policy()) as server:
        client = await server.client()
        await client.send(content, *to)
        await client.say("QUIT")
        client.close()
    return file


async def test_another_verdict_is_shown_with_its_reply_and_its_binding(home: Path) -> None:
    file = await captured_mail(home, "bob@example.com", "carol@example.com")
    code, told = replay(home, file, "--bindings", str(bind(home, "NoCarol")))
    assert code == 1
    assert found(told, "reply") == [("RCPT TO:<carol@example.com>", "250 2.1.5 Recipient ok", "550 5.7.1 not her")]
    (verdict,) = found(told, "verdict")
    assert verdict[:2] == ("RcptTo <carol@example.com>", "proceed")
    assert verdict[2].endswith("by nocarol")
    (message,) = found(told, "message")
    assert message[0] == "message 1"
    assert message[1].endswith("\nrecipient <carol@example.com>")
    assert "header Received:" in message[2]  # which says for whom it is where it is for one alone


async def test_edits_are_shown_and_what_became_of_the_message(home: Path) -> None:
    file = await captured_mail(home)
    code, told = replay(home, file, "--bindings", str(bind(home, "Stamp")))
    assert code == 1
    assert found(told, "edits") == [("EndOfData <a@client.example>", "none", "+header X-Stamp: new")]
    assert found(told, "message") == [("message 1", "none", "header X-Stamp: new")]


async def test_what_a_sink_submits_is_shown_and_goes_nowhere(home: Path) -> None:
    file = await captured_mail(home)
    code, told = replay(home, file, "--bindings", str(bind(home, "Notify")))
    assert code == 1
    (message,) = found(told, "message")
    assert message[:2] == ("message 1 (sink)", "(none)")
    assert "recipient <audit@example.com>" in message[2]
    assert not (home / "mail").exists()


async def test_a_sink_that_fails_is_shown(home: Path) -> None:
    file = await captured_mail(home)
    code, told = replay(home, file, "--bindings", str(bind(home, "Broken")))
    assert code == 1
    assert found(told, "error") == [("EndOfData <a@client.example>", "none", "broken: RuntimeError: bang")]
    assert found(told, "reply")[0][2].startswith("451 4.3.0")


async def test_a_sink_that_waits_costs_no_time(home: Path) -> None:
    file = await captured_mail(home)
    code, told = replay(home, file, "--bindings", str(bind(home, "Slow")))
    assert code == 1
    assert found(told, "reply")[0][2].startswith("451 4.7.1 later")


@pytest.mark.parametrize("more", ["", 'run_in = "process"\n'])
async def test_a_sink_in_a_process_of_its_own_is_run_there(home: Path, more: str) -> None:
    file = await captured_mail(home, "carol@example.com")
    code, told = replay(home, file, "--bindings", str(bind(home, "NoCarol", more=more)))
    assert code == 1
    assert found(told, "reply")[0][2] == "550 5.7.1 not her"


async def test_sinks_are_really_run_which_is_said_and_can_be_left_out(home: Path) -> None:
    file = await captured_mail(home)
    new = bind(home, "Writes")
    arguments = ("replay", str(file), "-c", str(home / "penstock.toml"), "--bindings", str(new))
    done = penstock(*arguments, "--without", "writes", cwd=home)
    assert done.returncode == 78, done
    assert "there is no binding 'writes'" in done.stderr
    (home / "penstock.toml").write_text(CONFIG + new.read_text())
    done = penstock(*arguments, "--without", "writes", cwd=home)
    assert done.returncode == 0, done
    assert not (home / "written").exists()
    done = penstock(*arguments, cwd=home)
    assert "these sinks are really run, with all that they do: writes" in done.stderr
    assert (home / "written").exists()


async def test_code_of_the_same_name_beside_the_other_file_is_the_others(home: Path) -> None:
    file = await captured_mail(home, "carol@example.com")
    (home / "penstock.toml").write_text(CONFIG + bind(home, "NoCarol").read_text())
    other = home / "other"
    other.mkdir()
    (other / "trial_sinks.py").write_text(SINKS.replace('"not her"', '"not she"'))
    code, told = replay(home, file, "--bindings", str(bind(other, "NoCarol")))
    assert code == 1
    assert found(told, "reply") == [("RCPT TO:<carol@example.com>", "550 5.7.1 not her", "550 5.7.1 not she")]


async def test_a_whole_configuration_may_be_tried(home: Path) -> None:
    file = await captured_mail(home)
    other = home / "other.toml"
    other.write_text(CONFIG.replace("example.com", "other.example"))
    code, told = replay(home, file, "--bindings", str(other))
    assert code == 1
    assert ("RCPT TO:<bob@example.com>", "250 2.1.5 Recipient ok") in [(where, today) for where, today, _ in found(told, "reply")]


async def test_a_user_is_who_the_recording_says(home: Path) -> None:
    """The password is not in it, so AUTH is not said again."""
    file = home / "worker-0.jsonl"
    steps = [
        Step(0.0, "reply", "220 mx.example.com ESMTP Penstock\r\n"),
        Step(0.1, "command", "EHLO c.example\r\n"),
        Step(0.1, "reply", "250 mx.example.com\r\n"),
        Step(0.2, "auth", "AUTH PLAIN\r\n", hidden=True, user="bob"),
        Step(0.2, "reply", "235 \r\n"),
        Step(0.3, "command", "MAIL FROM:<bob@example.com>\r\n"),
        Step(0.3, "reply", "250 2.1.0 Sender ok\r\n"),
        Step(0.4, "command", "RCPT TO:<carol@example.com>\r\n"),
        Step(0.4, "reply", "250 2.1.5 Recipient ok\r\n"),
    ]
    session = CapturedSession(id="s", listener="mx", client_ip="192.0.2.1", started=1e9, ended="lost", seconds=1.0, steps=steps)
    file.write_bytes(encode(session))
    code, told = replay(home, file, "--bindings", str(bind(home, "NoCarol", more='match = { user = "bob" }\n')))
    assert code == 1
    assert found(told, "reply") == [("RCPT TO:<carol@example.com>", "250 2.1.5 Recipient ok", "550 5.7.1 not her")]
    code, told = replay(home, file, "--bindings", str(bind(home, "NoCarol", more='match = { user = "alice" }\n')))
    assert code == 0


@pytest.mark.parametrize(
    ("octets", "code", "said"),
    [(b"", 65, "there is no session in it"), (b"garbage\n\x00\xff\n", 65, "line 2"), (None, 66, "No such file")],
)
def test_a_file_without_a_session_is_an_error(home: Path, octets: bytes | None, code: int, said: str) -> None:
    file = home / "x.jsonl"
    if octets is not None:
        file.write_bytes(octets)
    done = penstock("replay", str(file), "-c", str(home / "penstock.toml"), cwd=home)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_file_that_is_cut_off_is_replayed_as_far_as_it_goes(home: Path) -> None:
    file = await captured_mail(home)
    line = file.read_bytes()
    file.write_bytes(line + line[: len(line) // 2])
    code, told = replay(home, file)
    assert (code, told["sessions"], told["unreadable"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no [[binding]]"), ("[[binding]]\nname = 3", "binding.3"), ("x =", "not TOML"), ('[[binding]]\nname="a"\nsink="no:Such"', "no")],
)
async def test_bindings_that_cannot_be_used_are_an_error(home: Path, text: str, said: str) -> None:
    file = await captured_mail(home)
    (home / "new.toml").write_text(text)
    code, told = replay(home, file, "--bindings", str(home / "new.toml"))
    assert code == 78
    assert said in told


async def test_captures_are_listed_and_shown(home: Path) -> None:
    file = await captured_mail(home)
    (session,) = captured(file)
    listed = penstock("capture", "list", str(home), "--json")
    (row,) = json.loads(listed.stdout)
    assert (row["session"], row["messages"], row["sender"], row["recipients"]) == (session.id, 1, "<a@client.example>", 1)
    shown = penstock("capture", "show", str(file), session.id).stdout
    assert "C: MAIL FROM:<a@client.example>" in shown
    assert "S: 250 2.1.0 Sender ok" in shown
    assert "Hello" not in shown
    assert json.loads(penstock("capture", "show", str(file), "--json").stdout)[0]["id"] == session.id
    assert penstock("capture", "show", str(file), "nobody").returncode == 67
    assert penstock("capture", "list", str(home / "none")).returncode == 66


async def test_what_a_stranger_sent_does_nothing_to_a_terminal(home: Path) -> None:
    file = home / "worker-0.jsonl"
    async with capturing(file, *policy(), redaction=Redaction("keep")) as server:
        await whole(server, content=b"Subject: \x1b[2J\x9b2J\r\n\r\n\x07\r\n")
    shown = penstock("capture", "show", str(file)).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown


def _swaks(address: tuple[str, int], folder: Path) -> list[str]:
    return [
        program("swaks"), "--server", f"{address[0]}:{address[1]}", "--from", "a@client.example", "--to", "bob@example.com,eve@example.com",
        "--attach-type", "text/plain", "--attach", "a.txt", "--pipeline",
    ]  # fmt: skip


def _msmtp(address: tuple[str, int], folder: Path) -> list[str]:
    return [
        program("msmtp"), f"--host={address[0]}", f"--port={address[1]}", "--from=a@client.example", "--tls=off", "--auth=off",
        "bob@example.com",
    ]  # fmt: skip


@pytest.mark.parametrize("client", ["swaks", "msmtp"])
async def test_sessions_of_real_clients_go_again_as_they_went(home: Path, client: str) -> None:
    needs(client)
    file = home / "worker-0.jsonl"
    async with capturing(file, *policy()) as server:
        command = (_swaks if client == "swaks" else _msmtp)(server.address, home)
        mail = b"Subject: from a real client\r\n\r\nHello\r\n.dot\r\n"
        done = await asyncio.to_thread(subprocess.run, command, input=mail, capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done
        await server.until(lambda: not server.host.sessions, "the session ended")
    (session,) = captured(file)
    assert session.messages == 1
    assert replay(home, file)[0] == 0
    code, told = replay(home, file, "--bindings", str(bind(home, "Stamp")))
    assert code == 1
    assert found(told, "reply") == []
