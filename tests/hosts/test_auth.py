"""AUTH with mechanisms that sinks bring (RFC 4954), through a real connection."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pytest

from penstock import Match, Sink, on
from penstock.errors import ConfigError, RemoteProtocolError
from penstock.events import Auth, Authenticated, MailFrom
from penstock.events.binding import Bindings
from penstock.events.plug import Plug
from penstock.verdicts import Authenticated as Known
from penstock.verdicts import Defer, Disconnect, Reject

from .running import Client, Running


@dataclass(frozen=True, slots=True)
class OneTimeCodeSettings:
    codes: dict[str, str]


class OneTimeCode(Sink[OneTimeCodeSettings]):
    """The golden example: asks for a user and a code."""

    @on(Auth, mechanism="X-OTP")
    async def authenticate(self, event: Auth) -> Known | Reject:
        user = (await event.challenge(b"User:")).decode()
        code = (await event.challenge(b"Code:")).decode()
        if self.settings.codes.get(user) != code:
            return Reject(535, "5.7.8", "Authentication credentials invalid")
        return Known(user)


class Seen(Sink):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []
        self.senders: list[str] = []

    @on(Authenticated, blocking=False)
    def authenticated(self, event: Authenticated) -> None:
        self.told.append((event.user, event.mechanism))

    @on(MailFrom, blocking=False, match=Match(user="alice", authenticated=True))
    def mail(self, event: MailFrom) -> None:
        self.senders.append(event.session.user)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def otp() -> OneTimeCode:
    return OneTimeCode(OneTimeCodeSettings({"alice": "123456"}))


async def greeted(running: Running) -> Client:
    client = await running.client()
    assert "250 AUTH X-OTP" in await client.say("EHLO client.example")
    return client


async def test_a_sink_authenticates_a_client_by_two_challenges() -> None:
    seen = Seen()
    async with Running(otp(), seen) as running:
        client = await greeted(running)
        assert await client.say("AUTH X-OTP") == f"334 {b64('User:')}"
        assert await client.say(b64("alice")) == f"334 {b64('Code:')}"
        assert await client.say(b64("123456")) == "235 2.7.0 Authentication successful"
        assert await client.say("MAIL FROM:<alice@example.com>") == "250 2.1.0 Sender ok"
        await running.until(lambda: seen.told == [("alice", "X-OTP")] and seen.senders == ["alice"], "the report and the condition")


async def test_the_initial_response_answers_the_first_challenge() -> None:
    async with Running(otp()) as running:
        client = await greeted(running)
        assert await client.say(f"AUTH x-otp {b64('alice')}") == f"334 {b64('Code:')}"
        assert (await client.say(b64("123456"))).startswith("235 ")


async def test_a_wrong_code_is_refused_and_the_client_may_try_again() -> None:
    async with Running(otp()) as running:
        client = await greeted(running)
        assert await client.say("AUTH X-OTP", b64("alice"), b64("000000")) == "535 5.7.8 Authentication credentials invalid"
        assert (await client.say("AUTH X-OTP", b64("alice"), b64("123456"))).startswith("235 ")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["AUTH X-OTP", "*"], "501 5.7.0"),
        (["AUTH X-OTP", "%%%"], "501 5.5.2"),
        (["AUTH X-OTP a"], "501 5.5.2"),
        (["AUTH X-OTP " + "A" * 13000], "500 5.5.2"),
        (["AUTH X-OTP", "A" * 13000], "500 5.5.6"),
        (["AUTH"], "501 5.5.4"),
        (["AUTH PLAIN"], "504 5.5.4"),
        (["MAIL FROM:<a@b.example>", "AUTH X-OTP"], "503 5.5.1"),
        (["HELO client.example", "AUTH X-OTP"], "502 5.5.1"),
    ],
)
async def test_what_is_not_allowed_gets_its_reply_and_leaves_the_session_alive(lines: list[str], code: str) -> None:
    async with Running(otp()) as running:
        client = await greeted(running)
        assert (await client.say(*lines)).startswith(code)
        assert (await client.say("RSET")).startswith("250 ")
        assert running.bindings.all[0].counters.errors == 0


async def test_a_second_auth_is_refused() -> None:
    async with Running(otp()) as running:
        client = await greeted(running)
        await client.say("AUTH X-OTP", b64("alice"), b64("123456"))
        assert (await client.say("AUTH X-OTP")).startswith("503 5.5.1")


async def test_without_a_sink_there_is_no_auth() -> None:
    async with Running() as running:
        client = await running.client()
        assert "AUTH" not in await client.say("EHLO client.example")
        assert (await client.say("AUTH X-OTP")).startswith("502 ")


class Whatever(Sink):
    """Answers as it is told to."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    @on(Auth, mechanism="X-ANY")
    async def authenticate(self, event: Auth) -> Known | Reject | Defer | Disconnect | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (None, "535 5.7.8"),
        (Defer(454, "4.7.0", "Temporary authentication failure"), "454 4.7.0"),
        (Disconnect(421, "4.7.0", "Go away"), "421 4.7.0"),
        (RuntimeError("secret detail"), "451 4.3.0"),
        (RemoteProtocolError("x", 501, "5.5.2", "Nonsense"), "501 5.5.2 Nonsense"),
    ],
)
async def test_every_answer_of_a_sink_becomes_its_reply(answer: Any, reply: str) -> None:
    async with Running(Whatever(answer)) as running:
        client = await running.client()
        await client.say("EHLO client.example")
        said = await client.say("AUTH X-ANY")
        assert said.startswith(reply)
        assert "secret" not in said


async def test_a_client_that_goes_away_is_no_fault_of_the_sink() -> None:
    async with Running(otp()) as running:
        for _ in range(3):
            client = await greeted(running)
            await client.say("AUTH X-OTP")
            client.reset()
        await running.until(lambda: running.host.sessions == 0, "the end of the sessions")
        assert running.bindings.all[0].counters.errors == 0


async def test_a_long_challenge_is_not_cut() -> None:
    class Long(Sink):
        @on(Auth, mechanism="X-LONG")
        async def authenticate(self, event: Auth) -> Known:
            await event.challenge(b"x" * 8192)
            return Known("somebody")

    async with Running(Long()) as running:
        client = await running.client()
        await client.say("EHLO client.example")
        assert base64.b64decode((await client.say("AUTH X-LONG")).removeprefix("334 ")) == b"x" * 8192
        assert (await client.say("")).startswith("235 ")


def test_a_user_must_be_printable() -> None:
    for user in ("", "a\nb", "x" * 256):
        with pytest.raises(ValueError, match="user"):
            Known(user)


def test_auth_needs_a_mechanism_that_is_one() -> None:
    with pytest.raises(ValueError, match="mechanism"):
        on(Auth)
    with pytest.raises(ValueError, match="RFC 4422"):
        on(Auth, mechanism="TOO LONG OR WITH SPACES")
    with pytest.raises(ConfigError, match="recipient"):
        Bindings([Plug("otp", otp(), match=Match(recipient="a@example.com"))])
