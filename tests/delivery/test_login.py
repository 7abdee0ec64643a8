"""Logging in to other servers: which mechanism, what is never said, what a hostile server cannot do, and what the log has of it."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from delivery.stand import QUICK, Stand, actions, hop_settings
from penstock.delivery.login import read_token
from penstock.delivery.settings import Credentials, HopSettings, TlsSettings
from penstock.errors import SaslError
from penstock.wire.sasl.mechanisms import NAMES, ServerSide
from support.remote import Remote
from support.remote_auth import side
from support.script import Close, Face, Never, Phase, Script, Scripted, reply

QUEUE = "[127.0.0.1]:{}"
SECRET = "correct horse, battery"
TOKEN = "ya29.a-token-of-the-test"


def settings(credentials: Credentials, **more: Any) -> HopSettings:
    return hop_settings(credentials=credentials, **more)


def face(*mechanisms: str, accounts: dict[str, str] | None = None, tls: bool = True) -> Face:
    return Face(tls=tls, accounts=accounts or {"user": SECRET}, mechanisms=mechanisms, auth_needed=True)


async def tried(script: Script, credentials: Credentials, **more: Any) -> tuple[Remote, Stand, dict[str, str], list[Any]]:
    """Delivers one message; the remote, the stand, what became of it, and the results."""
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=settings(credentials, **more)) as stand:
        results = await stand.deliver(stand.mail())
        return remote, stand, actions(results), results


PASSWORD = Credentials("user", SECRET)


@pytest.mark.parametrize(
    "mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5"]
)
async def test_each_mechanism_of_passwords_logs_in(mechanism: str) -> None:
    """To a server that offers nothing else."""
    remote, _, done, _ = await tried(Script(face=face(mechanism)), PASSWORD)
    assert done == {"a": "relayed"}
    assert remote.sessions[0].logins[0][:2] == (mechanism, "user")
    assert remote.faults == []


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_each_mechanism_of_tokens_logs_in(mechanism: str) -> None:
    """And says the token to nobody else."""
    remote, _, done, _ = await tried(Script(face=face(mechanism, accounts={"user": TOKEN})), Credentials("user", "", token=TOKEN))
    assert done == {"a": "relayed"}
    assert remote.sessions[0].logins == [(mechanism, "user", TOKEN)]


async def test_external_is_used_where_it_is_named() -> None:
    """It would tell anybody who offers it who we are; so only where the configuration has it."""
    allowed = Credentials("", "", certificate=True, mechanisms=("EXTERNAL",))
    remote, _, done, _ = await tried(Script(face=face("EXTERNAL", "PLAIN")), allowed)
    assert done == {"a": "relayed"}
    assert remote.sessions[0].logins[0][0] == "EXTERNAL"
    remote, _, done, _ = await tried(Script(face=face("EXTERNAL")), PASSWORD)
    assert done == {"a": "deferred"}
    assert remote.sessions[0].logins == []


async def test_the_strongest_that_both_can_is_used() -> None:
    """In the order of the kit, whatever the server's."""
    remote, _, done, _ = await tried(Script(face=face("LOGIN", "PLAIN", "X-OTHER", "SCRAM-SHA-1", "SCRAM-SHA-256")), PASSWORD)
    assert done == {"a": "relayed"}
    assert remote.sessions[0].logins[0][0] == "SCRAM-SHA-256"
    everything = face(*reversed(NAMES))
    remote, _, done, _ = await tried(Script(face=everything), PASSWORD)
    assert done == {"a": "relayed"}
    assert remote.sessions[0].logins[0][0] == "SCRAM-SHA-256-PLUS"


async def test_only_what_is_allowed_is_used() -> None:
    """Also beside a "-PLUS" that is not allowed: the server takes that for no attack."""
    only = replace(PASSWORD, mechanisms=("SCRAM-SHA-256",))
    remote, _, done, _ = await tried(Script(face=face("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN")), only)
    assert done == {"a": "relayed"}
    assert remote.sessions[0].logins[0][0] == "SCRAM-SHA-256"
    remote, stand, done, _ = await tried(Script(face=face("PLAIN", "LOGIN")), only)
    assert done == {"a": "deferred"}
    assert "offers no AUTH that we may use" in stand.destination.failures[0]
    assert remote.sessions[0].logins == []


@pytest.mark.parametrize("mechanism", NAMES)
async def test_nothing_is_said_in_clear_unless_it_is_allowed(mechanism: str) -> None:
    """Neither a password nor a name."""
    credentials = Credentials("user", SECRET, token=TOKEN, certificate=True)
    remote, _, done, results = await tried(Script(face=face(mechanism, tls=False)), credentials)
    assert done == {"a": "deferred"}
    assert results[0].wide
    assert not any(line.upper().startswith("AUTH") for line in remote.sessions[0].commands)


async def test_scram_works_in_clear_where_it_is_allowed() -> None:
    """Without TLS there is no channel, and "-PLUS" is not for us."""
    script = Script(face=face("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", tls=False))
    remote, _, done, _ = await tried(script, replace(PASSWORD, in_clear=True))
    assert done == {"a": "relayed"}
    assert remote.sessions[0].logins[0][0] == "SCRAM-SHA-256"


@pytest.mark.parametrize("mechanism", [name for name in NAMES if name != "EXTERNAL"])
async def test_a_refusal_is_the_queues_and_no_secret_is_anywhere(mechanism: str) -> None:
    """One try, one mechanism, one log line; the message waits."""
    wrong = Credentials("user", "a wrong " + SECRET, token="wrong-" + TOKEN)
    remote, stand, done, results = await tried(Script(face=face(mechanism, "PLAIN")), replace(wrong, mechanisms=(mechanism,)))
    assert done == {"a": "deferred"}
    assert results[0].wide
    assert "535" in stand.destination.failures[0]
    assert len(remote.sessions[0].logins) == 1
    lines = [line for line in stand.log.lines if line["event"] == "login refused"]
    assert [(line["user"], line["mechanism"], line["reply"][:3]) for line in lines] == [("user", mechanism, "535")]
    everything = json.dumps(stand.log.lines, default=str) + repr(results) + repr(stand.destination.failures) + repr(wrong)
    for secret in (SECRET, TOKEN, base64.b64encode(TOKEN.encode()).decode()):
        assert secret not in everything


@pytest.mark.parametrize("what", [SECRET, base64.b64encode(f"\0user\0{SECRET}".encode()).decode()])
async def test_a_server_that_repeats_our_secret_does_not_bring_it_into_the_log(what: str) -> None:
    """Nor into a report to the sender."""
    script = Script({Phase.AUTH: reply(f"535 5.7.8 {what} is wrong")}, face("PLAIN"))
    _, stand, done, results = await tried(script, PASSWORD)
    assert done == {"a": "deferred"}
    assert what not in json.dumps(stand.log.lines, default=str) + repr(results) + repr(stand.destination.failures)
    assert "535 5.7.8" in stand.destination.failures[0]


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("mechanism", "said", "why"),
    [
        ("SCRAM-SHA-256", "235 2.7.0 You are in", "has not proven"),
        ("SCRAM-SHA-256", f"334 {_coded('r=fyko,s=c2FsdA==,i=4096')}", "nonce"),
        ("SCRAM-SHA-256", f"334 {_coded('m=x,r=fyko,s=c2FsdA==,i=4096')}", "cannot log in"),
        ("SCRAM-SHA-256", "334 !!!", "base64"),
        ("SCRAM-SHA-256", "334 " + "A" * 400, "cannot log in"),
        ("PLAIN", f"334 {_coded('Password again?')}", "no challenges"),
    ],
)
async def test_a_server_that_does_not_keep_to_the_mechanism_gets_no_mail(mechanism: str, said: str, why: str) -> None:
    """It may say what it wants: the exchange is cancelled, and the message waits."""
    remote, stand, done, _ = await tried(Script({Phase.AUTH: reply(said)}, face(mechanism)), PASSWORD)
    assert done == {"a": "deferred"}
    assert why in stand.destination.failures[0]
    assert remote.transactions == []
    assert SECRET not in repr(stand.destination.failures)


class AskOn:
    """Asks until the client has enough."""

    def __init__(self) -> None:
        self.asked = 0

    async def take(self, session: Scripted) -> None:
        line = b""
        while line.strip() != b"*":
            self.asked += 1
            await session.say(b"334 VXNlcm5hbWU6\r\n", 334)
            line = await session.wire.line()
        await session.say(b"501 5.0.0 Cancelled\r\n", 501)


@pytest.mark.parametrize("mechanism", ["LOGIN", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256"])
async def test_a_server_that_asks_on_and_on_is_left(mechanism: str) -> None:
    """Each mechanism knows how many questions it has; where any number is allowed there is still an end."""
    asking = AskOn()
    _, stand, done, _ = await tried(Script({Phase.AUTH: [asking]}, face(mechanism)), Credentials("user", SECRET, token=TOKEN))
    assert done == {"a": "deferred"}
    assert "cannot log in" in stand.destination.failures[0]
    assert asking.asked <= 6


@pytest.mark.parametrize("step", [Close(), Never()], ids=["closes", "is silent"])
async def test_a_server_that_goes_away_in_the_middle_is_away(step: Close | Never) -> None:
    """Nothing hangs, and nothing is lost."""
    _, stand, done, _ = await tried(Script({Phase.AUTH: [*reply("334 VXNlcm5hbWU6"), step]}, face("LOGIN")), PASSWORD, timeouts=QUICK)
    assert done == {"a": "deferred"}
    assert stand.destination.failures


async def test_a_token_is_read_anew_for_each_session(tmp_path: Path) -> None:
    """Whatever refreshes it only has to write the file."""
    file = tmp_path / "token"
    file.write_text("old\n")
    credentials = Credentials("user", "", token_file=file)
    script = Script(face=face("XOAUTH2", accounts={"user": TOKEN}))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=settings(credentials)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "deferred"}
        file.write_text(f"{TOKEN}\n")
        stand.destination.resting = False
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert [one for session in remote.sessions for one in session.logins] == [("XOAUTH2", "user", "old"), ("XOAUTH2", "user", TOKEN)]


@pytest.mark.parametrize("content", [None, b"", b"two words", b"line\nfeeds", b"\xff\xfe", b"x" * 9000, b"a\x01b"])
def test_what_is_no_token_is_refused_without_being_shown(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not there, empty, binary, too long."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SaslError, match=str(file)) as refused:
        read_token(file)
    assert not content or content.decode(errors="replace")[:20] not in str(refused.value)


def test_a_pipe_or_a_folder_is_no_token_and_nothing_waits_for_it(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to would hang for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(SaslError, match="cannot be read"):
            read_token(path)


async def test_a_long_token_is_sent_after_an_empty_challenge() -> None:
    """RFC 4954 §4: the line of AUTH has no room for it."""
    long = "t" * 3000
    credentials = Credentials("user", "", token=long)
    remote, _, done, _ = await tried(Script(face=face("OAUTHBEARER", accounts={"user": long})), credentials)
    assert done == {"a": "relayed"}
    assert "AUTH OAUTHBEARER" in remote.sessions[0].commands


async def test_somebody_between_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has another certificate than the client was shown: whoever passes the octets on gets neither password nor session."""

    def another(names: tuple[str, ...], offered: tuple[str, ...], secure: bool) -> ServerSide:
        return side(("other.example",), offered, secure)

    monkeypatch.setattr("support.remote_session.side", another)
    remote, _, done, _ = await tried(Script(face=face("SCRAM-SHA-256-PLUS")), PASSWORD)
    assert done == {"a": "deferred"}
    assert remote.transactions == []


async def test_a_server_whose_better_mechanism_was_taken_out_on_the_way_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5802 §6: we say that we could have bound the channel, and the server, which offered that, refuses."""

    def offered_more(names: tuple[str, ...], offered: tuple[str, ...], secure: bool) -> ServerSide:
        return side(names, (*offered, "SCRAM-SHA-256-PLUS"), secure)

    monkeypatch.setattr("support.remote_session.side", offered_more)
    remote, _, done, _ = await tried(Script(face=face("SCRAM-SHA-256")), PASSWORD)
    assert done == {"a": "deferred"}
    assert remote.transactions == []


async def test_a_certificate_that_holds_is_asked_for_before_anything_is_said() -> None:
    """With "verify" a server that cannot show one is told neither name nor password."""
    remote, _, done, _ = await tried(Script(face=face("PLAIN")), PASSWORD, tls=TlsSettings("verify"))
    assert done == {"a": "deferred"}
    assert all(not session.logins for session in remote.sessions)
