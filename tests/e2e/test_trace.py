"""A running server traces what happens to mail, from the greeting to the delivery; after a kill what was written is still there."""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.remote import BackgroundRemote
from support.script import At, Phase, Script, reply
from support.server import Server
from support.waiting import wait_until

from .relaying import QUICKLY, RECIPIENT, SMART_HOST

SINKS = """
from penstock import Sink, on
from penstock.events import Auth, EndOfData, MessageStart, RcptTo, SessionStart, Submission
from penstock.verdicts import Authenticated, Reject


class Tag(Sink):
    @on(Submission)
    async def tag(self, event: Submission) -> None:
        event.message.header.add("X-Tag", "seen")
        event.message.state["token"] = "hunter2-state"


class Refuse(Sink):
    @on(RcptTo)
    def refuse(self, event: RcptTo) -> Reject:
        return Reject(550, "5.1.1", "No such user")


class Broken(Sink):
    @on(EndOfData)
    async def look(self, event: EndOfData) -> None:
        raise ValueError("oops")


class Otp(Sink):
    @on(Auth, mechanism="X-OTP")
    async def authenticate(self, event: Auth) -> Authenticated:
        await event.challenge(b"hunter2-challenge")
        return Authenticated("alice")


class Hello(Sink):
    @on(SessionStart, MessageStart)
    async def look(self, event: SessionStart | MessageStart) -> None: ...
"""
BINDINGS = """
[auth]
without_tls = true

[[binding]]
name = "refuse"
sink = "traced_sinks:Refuse"
match = { recipient = "nobody@*" }
[[binding]]
name = "switched-off"
sink = "traced_sinks:Refuse"
enabled = false
[[binding]]
name = "broken"
sink = "traced_sinks:Broken"
on_error = "continue"
[[binding]]
name = "tag"
sink = "traced_sinks:Tag"
[[binding]]
name = "otp"
sink = "traced_sinks:Otp"
"""
MAIL = "Subject: hello\r\n\r\nHello.\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the sinks are."""
    (tmp_path / "traced_sinks.py").write_text(SINKS)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """Two workers, traced as by default."""
    with Server(folder, workers=2, more=BINDINGS) as running:
        yield running


def trace(server: Server, *words: str, code: int = 0) -> Any:
    """``penstock trace``: what it says as JSON; None when it ends with another code."""
    command = [sys.executable, "-m", "penstock", "trace", "--config", str(server.config), "--json", *words]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr.decode()
    return json.loads(done.stdout) if code == 0 else None


def send(server: Server, to: str = "alice@example.com") -> str:
    """Sends a message; its id."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        assert client.mail("sender@client.example")[0] == 250
        assert client.rcpt(to)[0] == 250
        return client.data(MAIL)[1].decode().split()[-1]


def is_delivered(server: Server, message: str) -> bool:
    """Whether the log says so."""
    return any(line.get("event") == "delivered" and line.get("message") == message for line in server.log())


def test_a_trace_tells_the_whole_story_of_a_message(server: Server) -> None:
    message = send(server)
    wait_until(lambda: is_delivered(server, message), "it is delivered")
    entries = trace(server, message)
    names = [entry["what"] for entry in entries]
    assert names.index("RcptTo") < names.index("EndOfData") < names.index("accepted") < names.index("Submission") < names.index("delivered")
    by_name = {entry["what"]: {one["binding"]: one for one in entry["asked"]} for entry in entries}
    refuse = by_name["RcptTo"]["refuse"]
    assert refuse["reason"] == "condition"
    assert refuse["conditions"] == [{"name": "recipient", "wanted": "nobody@*", "found": "alice@example.com", "held": False}]
    assert by_name["RcptTo"]["switched-off"]["reason"] == "disabled"
    assert by_name["EndOfData"]["broken"]["error"] == "ValueError: oops"
    tag = by_name["Submission"]["tag"]
    assert tag["edits"] == ["+ header X-Tag: seen", "+ message state of tag: 'token'"]
    assert tag["version"]
    (delivery,) = [entry for entry in entries if entry["what"] == "LocalDelivery"]
    assert delivery["verdict"].startswith("Delivered")


def test_each_try_is_told_with_what_the_remote_server_said(folder: Path) -> None:
    """Put off at the first try and relayed at the second; the session with the remote server is in the story too."""
    script = Script({At(Phase.MAIL, 1, 1): reply("451 4.7.1 Come back later")})
    with BackgroundRemote(script) as remote:
        more = f"{QUICKLY}{SMART_HOST.format(port=remote.port)}[[binding]]\nname = 'hello'\nsink = 'traced_sinks:Hello'\n"
        with Server(folder, more=more) as server:
            message = send(server, RECIPIENT)
            wait_until(lambda: remote.taken, "it is relayed")
            server.wait_for_log(lambda line: line.get("event") == "relayed", "and that is said")
            entries = trace(server, message)
    steps = [entry for entry in entries if entry["kind"] == "step"]
    assert [entry["what"] for entry in steps] == ["accepted", "queued", "deferred", "relayed"]
    assert steps[2]["details"]["reply"] == "451 4.7.1 Come back later"
    assert steps[3]["details"]["to"] == RECIPIENT
    greeted = [entry for entry in entries if entry["what"] == "SessionStart"]
    assert len(greeted) >= 1
    assert greeted[0]["message"] == ""
    assert any(entry["outbound"] == greeted[0]["outbound"] for entry in entries if entry["what"] == "MessageStart")


def test_a_session_is_traced_with_what_was_refused_in_it(server: Server) -> None:
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        client.mail("sender@client.example")
        assert client.rcpt("nobody@example.com")[0] == 550
    # Its line may be written after the reply.
    (rejected,) = wait_until(lambda: [line for line in server.log() if line.get("event") == "rejected"], "the refusal is in the log")
    entries = trace(server, rejected["session"])
    (asked,) = [entry for entry in entries if entry["what"] == "RcptTo"]
    assert (asked["by"], asked["verdict"]) == ("refuse", "Reject 550 5.1.1 No such user")
    assert [entry["details"]["reply"] for entry in entries if entry["what"] == "rejected"] == ["550 5.1.1 No such user"]


def test_no_secret_is_written_down(server: Server, folder: Path) -> None:
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        code, _ = client.docmd("AUTH", "X-OTP aHVudGVyMi1pbml0aWFs")  # hunter2-initial
        assert code == 235
        client.sendmail("sender@client.example", ["alice@example.com"], MAIL)
        client.docmd("XLOGIN", "hunter2-verb")
    listed = trace(server)
    assert len(listed) >= 2
    written = b"".join(path.read_bytes() for path in folder.glob("penstock-data/traces/*/*"))
    assert b"X-OTP" in written
    assert b"token" in written
    assert b"hunter2" not in written
    assert b"aHVudGVy" not in written


def test_what_was_traced_outlives_kill_and_is_read_without_a_server(server: Server) -> None:
    message = send(server)
    wait_until(lambda: is_delivered(server, message), "it is delivered")
    before = [entry["what"] for entry in trace(server, message)]
    server.kill()
    assert [entry["what"] for entry in trace(server, message)] == before
    server.start()
    later = send(server)
    wait_until(lambda: is_delivered(server, later), "the next one is delivered")
    assert [entry["what"] for entry in trace(server, message)] == before
    assert "delivered" in [entry["what"] for entry in trace(server, later)]


def test_tracing_is_switched_while_the_server_runs(server: Server) -> None:
    assert [row["active"] for row in trace(server, "off")] == [False, False]
    dark = send(server)
    wait_until(lambda: is_delivered(server, dark), "it is delivered")
    trace(server, dark, code=67)
    trace(server, "on", "--match", "recipient=bob@*", "--for", "10m")
    assert [(row["ordered"], 590 < row["left"] <= 600) for row in trace(server, "status")] == [(True, True)] * 2
    bob = send(server, "bob@example.com")
    wait_until(lambda: is_delivered(server, bob), "it is delivered")
    assert trace(server, bob)
    assert [(row["active"], row["ordered"]) for row in trace(server, "reset")] == [(True, False)] * 2


def test_nothing_is_traced_and_no_folder_made_where_it_is_off(folder: Path) -> None:
    with Server(folder, more=f"{BINDINGS}\n[trace]\nsample = 0\n") as server:
        message = send(server)
        wait_until(lambda: is_delivered(server, message), "it is delivered")
        trace(server, message, code=67)
        assert not (folder / "penstock-data").exists()


def test_a_reload_takes_up_another_sample_and_entries_name_the_generation(server: Server) -> None:
    server.configure(f"{BINDINGS}\n[trace]\nrate = 0\n")
    subprocess.run(
        [sys.executable, "-m", "penstock", "reload", "--config", str(server.config)], check=True, capture_output=True, timeout=60
    )
    message = send(server)
    wait_until(lambda: is_delivered(server, message), "it is delivered")
    assert {entry["generation"] for entry in trace(server, message) if entry["kind"] == "event"} == {2}
    assert {row["rate"] for row in trace(server, "status")} == {0.0}


def test_a_disk_that_takes_no_traces_stops_no_mail(folder: Path) -> None:
    (folder / "penstock-data").write_text("in the way")
    with Server(folder, more=BINDINGS) as server:
        message = send(server)
        wait_until(lambda: is_delivered(server, message), "it is delivered")
        server.wait_for_log(lambda line: line.get("event") == "traces cannot be written", "the log says so")
