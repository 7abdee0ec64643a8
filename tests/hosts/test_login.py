"""AUTH with the mechanisms that ship (RFC 4954), through a real connection, with users in a sink of the test's own."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace
from typing import Any

import pytest

from penstock import Match, Sink, on
from penstock.events import Authenticated, Credentials, MailFrom
from penstock.hosts.smtp.guessing import GuessLimits
from penstock.hosts.smtp.login import AuthServing, shown_user
from penstock.verdicts import Authenticated as Known
from penstock.verdicts import Defer, Keys, PlainPassword, Reject
from penstock.wire.sasl import mechanisms
from penstock.wire.sasl.mechanisms import Login

from .running import Client, Running

USERS = {"alice": "wonderland", "bob@example.com": "builder"}
QUICK = GuessLimits(delay=0.0, longest_delay=0.0)
ALL = ("SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN", "CRAM-MD5")
Answer = Known | Keys | PlainPassword | Reject | Defer | None


class Store(Sink):
    """Users in a dictionary."""

    def __init__(self, users: dict[str, str] | None = None) -> None:
        super().__init__()
        self.users = USERS if users is None else users
        self.asked: list[tuple[str, str]] = []

    @on(Credentials)
    async def check(self, event: Credentials) -> Known | Keys | PlainPassword | Reject | None:
        self.asked.append((event.kind, event.user))
        if event.kind == "token":
            return Known("alice") if event.token == "good-token" else None
        known = self.users.get(event.user)
        if known is None:
            return None
        if event.kind == "keys":
            return Keys.of(event.user, known, event.mechanism, 4096)
        if event.kind == "secret":
            return PlainPassword(event.user, known)
        return Known(event.user) if event.password == known else Reject(535, "5.7.8", "Authentication credentials invalid")


class Seen(Sink):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []
        self.mail: list[tuple[str, str]] = []

    @on(Authenticated, blocking=False)
    def authenticated(self, event: Authenticated) -> None:
        self.told.append((event.user, event.mechanism))

    @on(MailFrom, blocking=False, match=Match(user="alice", authenticated=True))
    def sender(self, event: MailFrom) -> None:
        self.mail.append((event.session.user, event.parameters.other.get("AUTH", "none")))


class Serving(Running):
    """A server with AUTH in clear."""

    def __init__(self, *sinks: Sink[Any], guesses: GuessLimits = QUICK, required: bool = False, names: tuple[str, ...] = ALL) -> None:
        super().__init__(*sinks)
        self.settings = replace(
            self.settings,
            wire=replace(self.settings.wire, mechanisms=(*names, *self.bindings.mechanisms)),
            auth=AuthServing(names, required, True, guesses, b"pepper"),
        )

    async def greeted(self) -> Client:
        client = await self.client()
        await client.say("EHLO client.example")
        return client


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(user: str, password: str, other: str = "") -> str:
    return "AUTH PLAIN " + b64(f"{other}\0{user}\0{password}")


async def log_in(client: Client, name: str, user: str, password: str) -> str:
    """Logs in as the client's side of the mechanism does; the last reply."""
    machine = mechanisms.client(name, Login(user, password, password))
    initial = machine.initial()
    reply = await client.say(f"AUTH {name}" + ("" if initial is None else f" {b64(initial) or '='}"))
    while reply.startswith("334"):
        reply = await client.say(b64(machine.respond(base64.b64decode(reply[4:]))))
    if reply.startswith("235"):
        machine.finish()
    return reply


@pytest.mark.parametrize("name", ALL)
async def test_every_mechanism_lets_in_who_knows_the_secret(name: str) -> None:
    seen = Seen()
    async with Serving(Store(), seen) as running:
        client = await running.greeted()
        secret = "good-token" if name in ("XOAUTH2", "OAUTHBEARER") else "wonderland"
        assert await log_in(client, name, "alice", secret) == "235 2.7.0 Authentication successful"
        assert (await client.say("MAIL FROM:<alice@example.com>")).startswith("250 ")
        await running.until(lambda: seen.told == [("alice", name)] and seen.mail == [("alice", "none")], "the report and the condition")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("user", ["alice", "nobody"])
async def test_a_wrong_secret_and_an_unknown_user_are_refused_in_the_same_words(name: str, user: str) -> None:
    async with Serving(Store()) as running:
        client = await running.greeted()
        before = await log_in(client, name, user, "wrong-one")
        assert before == "535 5.7.8 Authentication credentials invalid"
        assert (await client.say(plain("alice", "wonderland"))).startswith("235 ")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH LOGIN", b64("alice"), "*"], "501 5.7.0"),
        (["AUTH PLAIN", "%%%"], "501 5.5.2"),
        (["AUTH PLAIN a"], "501 5.5.2"),
        (["AUTH PLAIN ="], "501 5.5.2"),
        (["AUTH PLAIN " + b64("no parts")], "501 5.5.2"),
        (["AUTH PLAIN " + b64("\0alice\0")], "501 5.5.2"),
        (["AUTH PLAIN " + b64(b"\0alice\0\xff\xfe")], "501 5.5.2"),
        (["AUTH SCRAM-SHA-256 " + b64("p=tls-unique,,n=alice,r=x")], "501 5.5.2"),
        (["AUTH EXTERNAL ="], "504 5.5.4"),
        (["AUTH X-UNKNOWN"], "504 5.5.4"),
        (["AUTH PLAIN", "A" * 13000], "500 5.5.6"),
        (["AUTH PLAIN " + "A" * 13000], "500 5.5.2"),
        (["MAIL FROM:<a@b.example>", plain("alice", "wonderland")], "503 5.5.1"),
        ([plain("alice", "wonderland"), plain("alice", "wonderland")], "503 5.5.1"),
        (["HELO client.example", plain("alice", "wonderland")], "502 5.5.1"),
        ([plain("alice", "wonderland", "bob@example.com")], "535 5.7.8"),
    ],
)
async def test_what_is_not_allowed_gets_its_reply_and_leaves_the_session_alive(lines: list[str], code: str) -> None:
    async with Serving(Store()) as running:
        client = await running.greeted()
        assert (await client.say(*lines)).startswith(code)
        assert (await client.say("RSET")).startswith("250 ")


async def test_an_auth_line_may_have_12288_octets_and_no_other_line_may() -> None:
    """RFC 4954 §4."""
    async with Serving(Store()) as running:
        client = await running.greeted()
        token = "t" * 8000
        response = b64(f"n,,\x01auth=Bearer {token}\x01\x01")
        assert 10_000 < len(response) < 12_200
        assert (await client.say(f"auth oauthbearer {response}")).startswith("334 ")
        assert (await client.say(b64("\x01"))).startswith("535 5.7.8")
        assert (await client.say("NOOP " + "x" * 3000)).startswith("500 5.5.2")
        assert (await client.say("AUTHENTIC " + "x" * 3000)).startswith("500 5.5.2")


async def test_what_needs_tls_is_neither_offered_nor_taken_in_clear() -> None:
    async with Serving(Store(), names=("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "PLAIN")) as running:
        client = await running.client()
        assert "250 AUTH SCRAM-SHA-256 PLAIN" in await client.say("EHLO client.example")
        assert (await client.say("AUTH SCRAM-SHA-256-PLUS")).startswith("504 ")
        assert (await client.say("AUTH EXTERNAL =")).startswith("504 ")


async def test_who_may_act_as_himself_may_say_so() -> None:
    async with Serving(Store()) as running:
        assert (await (await running.greeted()).say(plain("alice", "wonderland", "alice"))).startswith("235 ")


async def test_mail_needs_a_login_where_it_is_required() -> None:
    async with Serving(Store(), required=True) as running:
        client = await running.greeted()
        assert await client.say("MAIL FROM:<a@b.example>") == "530 5.7.0 Authentication required"
        assert (await client.say("NOOP", "RSET", plain("alice", "wonderland"))).startswith("235 ")
        assert (await client.say("MAIL FROM:<a@b.example>")).startswith("250 ")


@pytest.mark.parametrize(
    ("logged_in", "said", "kept"),
    [(True, "alice", "alice"), (True, "bob", "<>"), (True, "<>", "<>"), (True, "e+3Dmc2@example.com", "<>")],
)
async def test_whose_mail_it_is_counts_only_from_that_user(logged_in: bool, said: str, kept: str) -> None:
    """RFC 4954 §5."""
    seen = Seen()
    async with Serving(Store(), seen) as running:
        client = await running.greeted()
        assert (await client.say(plain("alice", "wonderland"))).startswith("235 ")
        assert (await client.say(f"MAIL FROM:<a@b.example> AUTH={said}")).startswith("250 ")
        await running.until(lambda: seen.mail == [("alice", kept)], "what the sink saw")


async def test_a_parameter_auth_that_is_no_xtext_is_refused() -> None:
    async with Serving(Store()) as running:
        client = await running.greeted()
        assert (await client.say("MAIL FROM:<a@b.example> AUTH=a+zz")).startswith("501 5.5.4")
        assert (await client.say("MAIL FROM:<a@b.example> AUTH=alice")).startswith("250 ")


async def test_the_first_store_that_knows_decides() -> None:
    first, second = Store({"alice": "other"}), Store()
    async with Serving(first, second) as running:
        client = await running.greeted()
        assert (await client.say(plain("alice", "wonderland"))).startswith("535 ")
        assert second.asked == []
        assert (await client.say(plain("bob@example.com", "builder"))).startswith("235 ")
        assert [user for _, user in second.asked] == ["bob@example.com"]


class Broken(Sink):
    """Fails, or puts off, or answers something else."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    @on(Credentials)
    async def check(self, event: Credentials) -> Known | PlainPassword | Defer | None:
        if self.how == "raises":
            raise RuntimeError(f"the database with {event.password} is gone")
        return PlainPassword("alice", "wonderland") if self.how == "misfit" else Defer(454, "4.7.0", "Temporary authentication failure")


@pytest.mark.parametrize("how", ["raises", "defers", "misfit"])
async def test_a_store_that_is_down_puts_the_login_off(how: str) -> None:
    async with Serving(Broken(how)) as running:
        client = await running.greeted()
        assert await client.say(plain("alice", "wonderland")) == "454 4.7.0 Temporary authentication failure"
        assert (await client.say("NOOP")).startswith("250 ")


async def test_without_any_store_nobody_gets_in() -> None:
    async with Serving() as running:
        assert (await (await running.greeted()).say(plain("alice", "wonderland"))).startswith("535 ")


async def test_failures_wait_longer_each_time_and_nobody_else_does() -> None:
    async with Serving(Store(), guesses=GuessLimits(delay=0.1, longest_delay=0.4)) as running:
        guesser, other = await running.greeted(), await running.greeted()
        took = []
        for _ in range(3):
            began = time.monotonic()
            guess = asyncio.create_task(guesser.say(plain("alice", "wrong")))
            await running.until(lambda: running.host.guesses.waiting == 1, "the guesser waits")
            assert (await other.say("NOOP")).startswith("250 ")
            assert not guess.done()
            assert (await guess).startswith("535 ")
            took.append(time.monotonic() - began)
        assert [round(seconds, 1) for seconds in took] == [0.1, 0.2, 0.4]
        assert (await other.say(plain("alice", "wonderland"))).startswith("235 ")


async def test_a_session_of_failures_ends() -> None:
    async with Serving(Store(), guesses=replace(QUICK, session=2)) as running:
        client = await running.greeted()
        assert (await client.say(plain("alice", "wrong"))).startswith("535 ")
        assert await client.say(plain("alice", "wrong")) == "421 4.7.0 Too many failed logins, closing the connection"
        assert await client.is_closed()


async def test_an_address_that_failed_too_often_is_not_heard() -> None:
    store = Store()
    async with Serving(store, guesses=replace(QUICK, client=2)) as running:
        first = await running.greeted()
        await first.say(plain("alice", "wrong"), plain("bob@example.com", "wrong"))
        store.asked.clear()
        assert (await (await running.greeted()).say(plain("alice", "wonderland"))).startswith("421 4.7.0")
        assert store.asked == []


async def test_a_user_who_was_guessed_at_too_often_is_refused_but_not_from_home() -> None:
    async with Serving(Store(), guesses=replace(QUICK, user=2)) as running:
        guesses = running.host.guesses
        for _ in range(2):
            guesses.failed("203.0.113.9", "Alice", running.settings.auth.guesses)
        client = await running.greeted()
        assert await client.say(plain("alice", "wonderland")) == "454 4.7.0 Too many failed logins, please try again later"
        assert (await client.say(plain("bob@example.com", "builder"))).startswith("235 ")
        guesses.succeeded("127.0.0.1", "alice")
        assert (await (await running.greeted()).say(plain("alice", "wonderland"))).startswith("235 ")


async def test_more_than_may_wait_are_ended_at_once() -> None:
    async with Serving(Store(), guesses=GuessLimits(delay=30.0, longest_delay=30.0, waiting=1)) as running:
        first, second = await running.greeted(), await running.greeted()
        first.writer.write(plain("alice", "wrong").encode() + b"\r\n")
        await running.until(lambda: running.host.guesses.waiting == 1, "the first waits")
        assert (await second.say(plain("alice", "wrong"))).startswith("421 4.7.0")
        first.reset()
        await running.until(lambda: running.host.guesses.waiting == 0, "who went away does not wait")


def test_a_name_in_the_log_ends_no_field_and_no_line() -> None:
    assert shown_user("alice@example.com") == "alice@example.com"
    assert shown_user('x client=192.0.2.1 y="z"\r\n\x1b[0m') == r"x\x20client\x3d192.0.2.1\x20y\x3d\x22z\x22\r\n\x1b[0m"
    assert len(shown_user("a" * 5000)) == 128
