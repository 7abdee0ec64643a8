"""What is written down of real sessions: everything that matters, no secret, and never more than may be."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from capture.capturing import captured, capturing, steps, whole
from hosts.running import Running
from penstock import Match, Sink, on
from penstock.capture.redact import Redaction
from penstock.capture.settings import CaptureSettings
from penstock.capture.tap import Listener
from penstock.capture.writer import KEY_FILE, Capture
from penstock.errors import ConfigError
from penstock.events import Auth, Connected, Verb
from penstock.mail.reply import Reply
from penstock.observe.log import get_log
from penstock.verdicts import Authenticated, Disconnect, Reject, Respond

PASSWORD = "correct horse battery staple"
ENCODED = base64.b64encode(PASSWORD.encode()).decode()
PLAIN = base64.b64encode(f"\0bob\0{PASSWORD}".encode()).decode()


class Login(Sink):
    """Two mechanisms: one with an initial response, one that asks twice."""

    @on(Auth, mechanism="PLAIN")
    async def plain(self, event: Auth) -> Authenticated | Reject:
        user, _, password = (await event.challenge()).decode().strip("\0").partition("\0")
        return Authenticated(user) if password == PASSWORD else Reject(535, "5.7.8", f"{password} is wrong")

    @on(Auth, mechanism="LOGIN")
    async def login(self, event: Auth) -> Authenticated | Reject:
        user = (await event.challenge(b"Username:")).decode()
        password = (await event.challenge(b"Password:")).decode()
        return Authenticated(user) if password == PASSWORD else Reject(535, "5.7.8", "wrong")


class Talker(Sink):
    """A verb that asks for a code, and repeats it."""

    @on(Verb, keyword="XCODE")
    async def code(self, event: Verb) -> Respond:
        line = (await event.read_line(Reply(350, "", "Your code, please"))).decode()
        return Respond(250, "2.0.0", f"You said {line}, {event.argument}")


def text_of(path: Path) -> str:
    """The whole file, and all octets in it as text, so that nothing hides in an escape."""
    raw = path.read_text()
    return raw + "".join(step["octets"] for line in raw.splitlines() for step in json.loads(line)["steps"] if "octets" in step)


async def test_a_session_is_written_down_with_what_both_said(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, redaction=Redaction("keep")) as server:
        await whole(server, "NOOP", content=b"Subject: hello\r\n\r\nHello.\r\n..dot\r\n")
    (session,) = captured(path)
    assert (session.listener, session.hostname, session.client_ip) == ("mx", "mx.example.com", "127.0.0.1")
    assert (session.ended, session.messages, session.rejections) == ("quit", 1, 0)
    assert abs(session.started - time.time()) < 60
    assert steps(session, "command") == [
        "EHLO client.example\r\n",
        "MAIL FROM:<a@client.example>\r\n",
        "RCPT TO:<bob@example.com>\r\n",
        "DATA\r\n",
        "NOOP\r\n",
        "QUIT\r\n",
    ]
    assert steps(session, "content") == ["Subject: hello\r\n\r\nHello.\r\n..dot\r\n.\r\n"]
    replies = steps(session, "reply")
    assert replies[0] == "220 mx.example.com ESMTP Penstock\r\n"
    assert replies[-1].startswith("221 ")
    assert [step.at for step in session.steps] == sorted(step.at for step in session.steps)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("answers", [False, True])
async def test_no_password_is_ever_written(tmp_path: Path, answers: bool) -> None:
    """With or without an initial response, right or wrong, cancelled, or typed where no password belongs."""
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, Login(), redaction=Redaction("keep", answers=answers)) as server:
        tries: list[tuple[str, ...]] = [
            (f"AUTH PLAIN {PLAIN}",),
            ("AUTH PLAIN", PLAIN),
            ("AUTH LOGIN", base64.b64encode(b"bob").decode(), ENCODED),
            ("AUTH LOGIN", base64.b64encode(b"bob").decode(), base64.b64encode(PASSWORD[:-1].encode()).decode()),
            (f"AUTH PLAIN {base64.b64encode(f'{chr(0)}bob{chr(0)}{PASSWORD}!'.encode()).decode()}",),
            (f"AUTH PLAIN {PLAIN} {PLAIN}",),
            (f"AUTH {PLAIN}",),
            (f"AUTH CRAM-MD5 {PLAIN}",),
            (PLAIN,),
            (PASSWORD,),
            (f"{PASSWORD.replace(' ', '')}",),
            ("AUTH LOGIN", PASSWORD),
            ("AUTH LOGIN", PASSWORD * 1000),
            (PASSWORD * 1000,),
        ]
        for lines in tries:
            client = await server.client()
            await client.say("EHLO client.example")
            for line in lines:
                client.writer.write(line.encode() + b"\r\n")
                await client.reply()
            await client.say("QUIT")
            client.close()
        gone = await server.client()
        await gone.say("EHLO client.example", "AUTH LOGIN")
        gone.writer.write(ENCODED.encode())
        await gone.writer.drain()
        gone.close()
        pipelined = await server.client()
        pipelined.writer.write(f"EHLO c.example\r\nAUTH LOGIN\r\nYm9i\r\n{ENCODED}\r\n{PASSWORD}\r\nQUIT\r\n".encode())
        await pipelined.reader.read()
        pipelined.close()
        echoed = await server.client()
        wrong = base64.b64encode(f"{chr(0)}bob{chr(0)}{PASSWORD}!".encode()).decode()
        echoed.writer.write(f"EHLO c.example\r\nAUTH PLAIN {wrong}\r\nNOOP\r\nAUTH PLAIN {wrong}\r\nBOGUS\r\nQUIT\r\n".encode())
        await echoed.reader.read()
        echoed.close()
        bare = await server.client()
        bare.writer.write(f"EHLO c.example\r\nAUTH PLAIN {PLAIN}\nNOOP\r\n{PASSWORD}\n{PASSWORD}\r\nQUIT\r\n".encode())
        await bare.reader.read()
        bare.close()
    assert len(captured(path)) == len(tries) + 4
    text = text_of(path)
    for secret in (PASSWORD, PASSWORD[:-1], PASSWORD.replace(" ", ""), ENCODED, PLAIN, ENCODED[:-4], PLAIN[:-4], "battery"):
        assert secret not in text


async def test_whom_the_server_believed_the_client_to_be_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, Login()) as server:
        client = await server.client()
        await client.say("EHLO c.example", f"AUTH PLAIN {PLAIN}", "NOOP", "QUIT")
        client.close()
    (session,) = captured(path)
    (auth,) = [step for step in session.steps if step.kind == "auth"]
    assert (auth.octets, auth.hidden, auth.user) == ("AUTH PLAIN\r\n", True, "bob")


@pytest.mark.parametrize("answers", [False, True])
async def test_what_a_client_answers_to_a_sink_is_kept_on_request_alone(tmp_path: Path, answers: bool) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, Talker(), redaction=Redaction(answers=answers)) as server:
        client = await server.client()
        await client.say("EHLO c.example")
        assert await client.say("XCODE hidden") == "350 Your code, please"
        assert "You said 4711" in await client.say("4711")
        await client.say("QUIT")
        client.close()
    text = text_of(path)
    assert ("4711" in text) is answers
    assert ("hidden" in text.replace('"hidden"', "")) is answers


async def test_addresses_are_replaced_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, redaction=Redaction("fill", addresses=True)) as server:
        await whole(
            server, "VRFY carol@example.com", content=b"From: carol@example.com\r\nTo: bob@example.com\r\n\r\ncarol@example.com\r\n"
        )
    text = text_of(path)
    assert "bob@" not in text
    assert "carol@" not in text
    assert "@example.com" in text
    key = tmp_path / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    first = steps(captured(path)[0], "command")[2]
    async with capturing(path, redaction=Redaction("fill", addresses=True)) as server:
        await whole(server)
    assert steps(captured(path)[1], "command")[2] == first


async def test_chunks_are_captured_with_their_commands(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, redaction=Redaction("keep")) as server:
        client = await server.client()
        await client.say("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>")
        client.writer.write(b"BDAT 16\r\nSubject: x\r\n\r\nhi")
        assert (await client.reply()).startswith("250")
        await client.say("NOOP")
        client.writer.write(b"BDAT 3\r\nyou")
        await client.reply()
        client.writer.write(b"BDAT 2 LAST\r\n\r\n")
        assert "queued" in await client.reply()
        await client.say("QUIT")
        client.close()
    (session,) = captured(path)
    assert steps(session, "content", "command")[3:-1] == [
        "BDAT 16\r\nSubject: x\r\n\r\nhi",
        "NOOP\r\n",
        "BDAT 3\r\nyouBDAT 2 LAST\r\n\r\n",
    ]


async def test_what_follows_another_command_between_chunks_is_still_body(tmp_path: Path) -> None:
    """Else a line of the body that looks like a field would be kept."""
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path) as server:
        client = await server.client()
        await client.say("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>")
        client.writer.write(b"BDAT 14\r\nSubject: x\r\n\r\n")
        await client.reply()
        await client.say("NOOP")
        client.writer.write(b"BDAT 15 LAST\r\nSecret: words\r\n")
        await client.reply()
        await client.say("QUIT")
        client.close()
    assert "Secret" not in text_of(path)


async def test_of_a_large_message_only_the_beginning_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    body = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 100_000
    async with capturing(path, redaction=Redaction("keep"), content=100_000) as server:
        await whole(server, content=body)
    (session,) = captured(path)
    (content,) = [step for step in session.steps if step.kind == "content"]
    assert len(content.octets) <= 100_003
    assert len(content.octets) - 3 + content.missing == len(body)
    assert path.stat().st_size < 300_000


async def test_a_long_session_is_cut_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, session=20_000) as server:
        client = await server.client()
        for _ in range(900):
            await client.say("NOOP")
        await client.say("QUIT")
        client.close()
    (session,) = captured(path)
    assert session.cut
    assert path.stat().st_size < 200_000


async def test_a_full_file_takes_nothing_more_and_the_mail_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, size=3000) as server:
        for _ in range(6):
            await whole(server)
    assert 0 < path.stat().st_size <= 3000
    assert 0 < len(captured(path)) < 6


async def test_a_file_that_cannot_be_written_hurts_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with capturing(tmp_path / "file" / "worker-0.jsonl") as server:
        await whole(server)
        await whole(server)


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "worker-0.jsonl").symlink_to(tmp_path / "victim")
    async with capturing(tmp_path / "worker-0.jsonl") as server:
        await whole(server)
    assert (tmp_path / "victim").read_text() == "mine"


async def test_beyond_the_memory_that_it_may_have_no_session_is_begun(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, under_way=200) as server:
        first = await server.client()
        await first.say("EHLO c.example")
        await whole(server)
        await first.say("QUIT")
        first.close()
        await server.until(lambda: not server.host.sessions, "the sessions ended")
        await whole(server)
    assert len(captured(path)) == 2


async def test_after_its_time_nothing_is_captured(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, until=time.time() - 1) as server:
        await whole(server)
    assert captured(path) == []


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        (Match(client="127.0.0.0/8"), True),
        (Match(client="192.0.2.0/24"), False),
        (Match(listener="mx"), True),
        (Match(helo="client.example"), True),
        (Match(helo="other.example"), False),
        (Match(sender="*@client.example"), True),
        (Match(sender="*@other.example"), False),
        (Match(recipient="bob@*"), True),
        (Match(recipient="carol@*"), False),
        (Match(recipient="bob@*", client="127.0.0.1"), True),
        (Match(when=lambda event: 1 // 0 > 0), False),
    ],
)
async def test_conditions_choose_sessions(tmp_path: Path, match: Match, wanted: bool) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path, match=match) as server:
        await whole(server)
    assert bool(captured(path)) is wanted


async def test_a_refused_recipient_is_enough_for_a_condition(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"

    class No(Sink):
        @on(Connected)
        async def no(self, event: Connected) -> Disconnect | None:
            return None

    async with capturing(path, No(), match=Match(recipient="carol@*")) as server:
        client = await server.client()
        await client.say("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<carol@example.com>", "QUIT")
        client.close()
    assert len(captured(path)) == 1


async def test_conditions_that_no_session_can_meet_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="code"):
        Capture(CaptureSettings(tmp_path / "x", match=Match(code="5xx")), get_log())


async def test_a_client_that_vanishes_is_captured_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path) as server:
        client = await server.client()
        await client.say("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>", "DATA")
        client.writer.write(b"Subject: x\r\n\r\nhal")
        await client.writer.drain()
        client.reset()
        await server.until(lambda: not server.host.sessions, "the session ended")
    (session,) = captured(path)
    assert session.ended == "lost"


async def test_an_error_of_its_own_ends_the_capture_and_not_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("bang")

    monkeypatch.setattr(Listener, "_commanded", broken)
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path) as server:
        await whole(server)
    (session,) = captured(path)
    assert session.cut == "error: RuntimeError: bang"


async def test_without_a_tap_nothing_is_listened_to() -> None:
    async with Running() as server:
        assert server.host.tap is None
        client = await whole(server)
        assert client.banner.startswith("220")


def test_several_workers_share_one_key(tmp_path: Path) -> None:
    from penstock.capture.writer import pseudonym_key

    keys = {pseudonym_key(tmp_path) for _ in range(3)}
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


async def test_many_sessions_at_once_each_have_their_line(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.jsonl"
    async with capturing(path) as server:
        await asyncio.gather(*(whole(server, f"NOOP {n}") for n in range(30)))
    notes = sorted(line for session in captured(path) for line in steps(session, "command") if line.startswith("NOOP"))
    assert notes == sorted(f"NOOP {n}\r\n" for n in range(30))
