"""The golden examples about outbound mail, in a real server: what each is for happens at the remote, in the queue and in the reports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.relaying import literal, outcome, outcomes, reports, send, settings, told
from support.needs import needs, needs_root
from support.postfix import Postfix, receiving
from support.remote import BackgroundRemote, Remote
from support.script import At, Face, Phase, Script, reply
from support.server import Server
from support.waiting import wait_until

ALICE = "alice@remote.example"
MAIL = b"From: sender@client.example\r\nSubject: golden\r\n\r\nbody\r\n"
BINDING = """
[[binding]]
name = "{name}"
sink = "support.outbound_sinks:{sink}"
settings = {{ {settings} }}
"""
HOUR, DAY = 3600, 86400


def binding(sink: str, values: str = "") -> str:
    """TOML for one of the sinks."""
    return BINDING.format(name=sink.lower(), sink=sink, settings=values)


@contextmanager
def sending(folder: Path, remote: Remote | Postfix, more: str, expire: str = "1 minute") -> Iterator[Server]:
    """A server whose mail for remote.example goes to a remote."""
    with Server(folder, more=settings(literal(remote.address), expire=expire) + more) as server:
        yield server


def about(server: Server, event: str) -> list[dict[str, Any]]:
    """The log lines of one kind."""
    return [line for line in server.log() if line["event"] == event]


def check_put_off(server: Server, recipient: str, seconds: float, by: str) -> None:
    """The recipient waits for so long because of a sink, is in the queue, and nobody is told."""
    line = outcome(server, recipient, "deferred", "failed", "relayed")
    assert (line["event"], line["by"]) == ("deferred", by)
    assert line["until"] == pytest.approx(time.time() + seconds, abs=60)
    (entry,) = [e for e in server.queue() if recipient in str(e["recipients"])]
    assert entry["queue_name"]
    assert not about(server, "reported")


def test_two_servers_speak_a_verb_of_their_own(tmp_path: Path) -> None:
    """One offers XQDEPTH in EHLO, the other finds it there, asks, and remembers the answer for the session."""
    dead = Remote()  # bound, and not listening: what goes there waits
    waiting = settings(literal(dead.address)) + binding("QueueDepth")
    with Server(tmp_path / "holder", more=waiting) as holder:
        for number in range(3):
            send(holder, [f"r{number}@remote.example"], MAIL)
        wait_until(lambda: len(holder.queue()) == 3, "three messages wait")
        more = settings() + binding("QueueDepth") + f'[route."example.com"]\nnext_hop = "{literal(holder.address)}"\n'
        asking = Server(tmp_path / "asker", more=more + '[delivery]\nidle = "100ms"\n')
        asking.config.write_text(asking.config.read_text().replace('kind = "local"', 'kind = "relay"'))
        with asking:
            send(asking, ["alice@example.com"], MAIL)
            outcome(asking, "alice@example.com", "relayed")
            line = asking.wait_for_log(lambda line: line["event"] == "remote depth", "the answer is known at the end")
        assert (line["depth"], line["messages"]) == ("3 messages queued", 1)


def test_a_server_without_the_verb_is_not_asked(tmp_path: Path) -> None:
    more = binding("QueueDepth") + '[delivery]\nidle = "100ms"\n'
    with BackgroundRemote() as remote, sending(tmp_path, remote, more) as server:
        send(server, [ALICE], MAIL)
        outcome(server, ALICE, "relayed")
        line = server.wait_for_log(lambda line: line["event"] == "remote depth", "the session ended")
    assert line["depth"] is None
    assert "XQDEPTH" not in remote.commands


def test_a_501_is_trapped_and_the_mail_put_off(tmp_path: Path) -> None:
    script = Script({Phase.MAIL: reply("501 5.1.7 Bad sender address")})
    with BackgroundRemote(script) as remote, sending(tmp_path, remote, binding("Trap501")) as server:
        send(server, [ALICE, "bob@remote.example"], MAIL)
        check_put_off(server, ALICE, HOUR, "trap501")
        check_put_off(server, "bob@remote.example", HOUR, "trap501")
        (line,) = about(server, "sender refused")
        assert line["reply"].startswith("501 5.1.7")


def test_other_refusals_are_not_trapped(tmp_path: Path) -> None:
    script = Script({Phase.MAIL: reply("550 5.7.1 Not from you")})
    with BackgroundRemote(script) as remote, sending(tmp_path, remote, binding("Trap501")) as server:
        send(server, [ALICE], MAIL)
        outcome(server, ALICE, "failed")
        assert told(reports(tmp_path / "reports", 1)) == {ALICE: ("failed", "5.7.1")}
        assert not about(server, "sender refused")


@pytest.mark.root
def test_a_501_of_a_real_postfix_is_trapped_and_what_it_takes_goes_through(tmp_path: Path) -> None:
    needs("postfix")
    needs_root("Postfix changes users")
    restriction = "smtpd_delay_reject = no\nsmtpd_sender_restrictions = check_sender_access inline:{{ bad@ = 501 5.1.7 Bad sender }}\n"
    with Postfix(receiving("remote.example") + restriction) as postfix, sending(tmp_path, postfix, binding("Trap501")) as server:
        send(server, [ALICE], MAIL, sender="bad@client.example")
        check_put_off(server, ALICE, HOUR, "trap501")
        assert "501 5.1.7" in about(server, "sender refused")[0]["reply"]
        send(server, ["bob@remote.example"], MAIL)
        outcome(server, "bob@remote.example", "relayed")
        assert outcomes(server)[ALICE] == ["deferred"]


def test_what_asks_to_be_held_is_not_sent_and_the_rest_is(tmp_path: Path) -> None:
    with BackgroundRemote() as remote, sending(tmp_path, remote, binding("Hold")) as server:
        send(server, [ALICE], b"X-Hold: yes\r\n" + MAIL)
        check_put_off(server, ALICE, DAY, "hold")
        send(server, ["bob@remote.example"], MAIL)
        outcome(server, "bob@remote.example", "relayed")
        assert remote.copies() == {"bob@remote.example": 1}
        assert not any(ALICE in command for command in remote.commands)


def test_a_recipient_that_is_refused_goes_elsewhere(tmp_path: Path) -> None:
    """One of three is rerouted; the others stay, and each has one copy."""
    script = Script({At(Phase.RCPT, 2): reply("550 5.1.1 No such user")})
    everybody = [f"{name}@remote.example" for name in "abc"]
    with BackgroundRemote(script) as first, BackgroundRemote() as second:
        more = binding("Elsewhere", f'next_hop = "{literal(second.address)}"')
        with sending(tmp_path, first, more) as server:
            send(server, everybody, MAIL)
            for address in everybody:
                outcome(server, address, "relayed")
            assert about(server, "rerouted")[0]["to"] == everybody[1]
            wait_until(lambda: not server.queue(), "the queue is empty")
            assert not about(server, "failed")
        assert first.copies() == {everybody[0]: 1, everybody[2]: 1}
        assert second.copies() == {everybody[1]: 1}
        assert second.taken()[0].content.endswith(MAIL)


@pytest.mark.parametrize(("code", "event"), [(450, "deferred"), (550, "failed")])
def test_a_refusal_is_treated_as_another(tmp_path: Path, code: int, event: str) -> None:
    script = Script({Phase.MAIL: reply("550 5.7.9 Not from you")})
    with BackgroundRemote(script) as remote, sending(tmp_path, remote, binding("Treat", f"code = {code}")) as server:
        send(server, [ALICE], MAIL)
        line = outcome(server, ALICE, "deferred", "failed")
        assert (line["event"], line["status"]) == (event, f"{code // 100}.7.1")


def test_an_acceptance_that_a_sink_pretends_goes_on_to_what_the_remote_says_next(tmp_path: Path) -> None:
    """MAIL is refused and treated as 250: RCPT is sent, and its refusal counts; nothing is taken for delivered that is not."""
    script = Script({Phase.MAIL: reply("550 5.7.9 Not from you")})
    with BackgroundRemote(script) as remote, sending(tmp_path, remote, binding("Treat", "code = 250")) as server:
        send(server, [ALICE], MAIL)
        line = outcome(server, ALICE, "deferred", "failed", "relayed")
        assert line["event"] != "relayed"
        assert any(command.startswith("RCPT") for command in remote.commands)
        assert not remote.copies()


def test_a_recipient_is_dropped_without_a_report_and_the_others_are_sent(tmp_path: Path) -> None:
    with BackgroundRemote() as remote, sending(tmp_path, remote, binding("Forget")) as server:
        send(server, [ALICE, "nobody@remote.example"], MAIL)
        outcome(server, ALICE, "relayed")
        line = server.wait_for_log(lambda line: line["event"] == "dropped", "dropped")
        assert (line["to"], line["by"], line["reason"]) == ("nobody@remote.example", "forget", "nobody wants it")
        wait_until(lambda: not server.queue(), "the queue is empty")
        assert not about(server, "reported")
        assert remote.copies() == {ALICE: 1}
        assert not any("nobody" in command for command in remote.commands)


LOGIN = 'user = "us"\npassword = "{}"\n'
DOOR = Face(accounts={"us": "secret"}, auth_needed=True)


def test_the_password_of_a_route_is_used_in_tls(tmp_path: Path) -> None:
    face = Face(accounts=DOOR.accounts, auth_needed=True, tls=True)
    with BackgroundRemote(Script(face=face)) as remote:
        with Server(tmp_path, more=settings(literal(remote.address), route=LOGIN.format("secret"))) as server:
            send(server, [ALICE], MAIL)
            outcome(server, ALICE, "relayed")
            assert "secret" not in server.log_text()
        assert remote.sessions[0].logins == [("PLAIN", "us", "secret")]
        assert remote.taken()[0].tls


def test_the_password_is_not_sent_in_the_clear_unless_that_is_allowed(tmp_path: Path) -> None:
    with BackgroundRemote(Script(face=DOOR)) as remote:
        more = settings(literal(remote.address), route=LOGIN.format("secret"), expire="2s")
        with Server(tmp_path / "strict", more=more) as server:
            send(server, [ALICE], MAIL)
            outcome(server, ALICE, "failed", "expired")
        assert not any(session.logins for session in remote.sessions)
        assert not any(command.startswith("AUTH") for command in remote.commands)
        allowed = settings(literal(remote.address), route=LOGIN.format("secret") + "auth_without_tls = true")
        with Server(tmp_path / "lax", more=allowed) as server:
            send(server, [ALICE], MAIL)
            outcome(server, ALICE, "relayed")


def test_a_wrong_password_keeps_the_mail_and_tells_in_the_end(tmp_path: Path) -> None:
    with BackgroundRemote(Script(face=DOOR)) as remote:
        more = settings(literal(remote.address), route=LOGIN.format("mistaken-7") + "auth_without_tls = true", expire="2s")
        with Server(tmp_path, more=more) as server:
            send(server, [ALICE], MAIL)
            outcome(server, ALICE, "failed", "expired")
            assert told(reports(tmp_path / "reports", 1))[ALICE][0] == "failed"
            assert "535" in server.log_text()
            assert "mistaken-7" not in server.log_text()
        assert not remote.copies()
