"""What MAIL asks of the treatment of a message, through a server: who may ask for it, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from hosts.running import Client, Running
from penstock import Sink, on
from penstock.events import LocalDelivery, Submission
from penstock.hosts.smtp.trust import Trust
from penstock.mail.message import decode_record
from penstock.verdicts import Delivered
from penstock.wire.smtp.extension import STANDARD
from penstock.wire.smtp.extension_message import MESSAGES, SUBMISSION
from penstock.wire.smtp.limits import Limits

HOUR = 3600


class Box(Sink):
    """Takes all mail, and notes when sinks of transport first saw it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    @on(Submission, blocking=False)
    def came(self, event: Submission) -> None:
        self.seen.append(str(event.message.sender))

    @on(LocalDelivery, blocking=False)
    def take(self, event: LocalDelivery) -> Delivered:
        return Delivered()


class Treating(Running):
    """A server that offers everything, also what is for users alone."""

    def __init__(self, *sinks: Sink, trusted: bool = False, **limits: Any) -> None:
        super().__init__(*sinks, limits=Limits(future_release=24 * HOUR, **limits), is_local={"example.com"}.__contains__)
        wire = replace(self.settings.wire, extensions=(*STANDARD, *MESSAGES, *SUBMISSION))
        own = (ip_network("127.0.0.0/8"),) if trusted else ()
        self.settings = replace(self.settings, wire=wire, trust=Trust(own=own))


async def message(client: Client, *words: str, content: str = "Subject: x\r\n\r\nx") -> str:
    """A message with parameters of MAIL; the reply to its content, or the first refusal."""
    for line in (f"MAIL FROM:<a@b.example> {' '.join(words)}", "RCPT TO:<bob@example.com>", "DATA"):
        reply = await client.say(line)
        if reply[0] not in "23":
            return reply
    client.writer.write(content.encode() + b"\r\n.\r\n")
    return await client.reply()


async def test_mail_is_held_until_its_time() -> None:
    """RFC 4865: it is durable, and nobody sees it; then it goes on as if it had come now."""
    box = Box()
    async with Treating(box) as server:
        client = await server.client()
        await client.say("EHLO x")
        assert (await message(client, f"HOLDFOR={HOUR}")).startswith("250")
        until = datetime.now(UTC) + timedelta(hours=2)
        assert (await message(client, f"HOLDUNTIL={until:%Y-%m-%dT%H:%M:%SZ}")).startswith("250")
        assert (await message(client)).startswith("250")
        await server.until(lambda: len(box.seen) == 1, "the one that is not held went on")
        held = {round((decode_record(entry.record).release - server.node.now()) / HOUR): entry.due for entry in server.kept()}
        assert sorted(held) == [1, 2]
        server.node.ahead = HOUR + 60
        server.transport.scheduler.soon(0.0)
        await server.until(lambda: len(box.seen) == 2, "the first is released")
        assert len(server.kept()) == 1


@pytest.mark.parametrize(
    "words",
    ["HOLDFOR=86401", "HOLDFOR=", "HOLDFOR=-1", "HOLDUNTIL=2999-01-01T00:00:00Z", "HOLDUNTIL=2030-13-01T00:00:00Z", "HOLDUNTIL=tomorrow",
     "HOLDUNTIL=2030-01-01T00:00:00+01:00", "HOLDFOR=60 HOLDUNTIL=2020-01-01T00:00:00Z"],
)  # fmt: skip
async def test_what_cannot_be_held_so_is_refused(words: str) -> None:
    """RFC 4865 §4.2: 501."""
    async with Treating() as server:
        client = await server.client()
        await client.say("EHLO x")
        assert (await client.say(f"MAIL FROM:<a@b.example> {words}")).startswith("501 5.5.4")


async def test_the_greeting_says_how_long_and_until_when() -> None:
    """RFC 4865 §3."""
    async with Treating() as server:
        client = await server.client()
        line = next(line for line in (await client.say("EHLO x")).split("\n") if "FUTURERELEASE" in line)
        _, seconds, until = line[4:].split(" ")
        assert seconds == "86400"
        assert abs(datetime.fromisoformat(until).timestamp() - server.node.now() - 86400) < 60


@pytest.mark.parametrize(("trusted", "priority", "reply", "kept"), [
    (False, 4, "250 2.3.6", 0), (False, -4, "250 2.3.6", 0), (False, 0, "250 2.1.0", 0), (True, 4, "250 2.1.0", 4),
])  # fmt: skip
async def test_a_priority_is_for_those_whom_we_trust(trusted: bool, priority: int, reply: str, kept: int) -> None:
    """RFC 6710 §4.2."""
    seen: list[int | None] = []

    class Looks(Sink):
        @on(Submission, blocking=False)
        def look(self, event: Submission) -> None:
            seen.append(event.message.parameters.priority)

    async with Treating(Looks(), trusted=trusted) as server:
        client = await server.client()
        await client.say("EHLO x")
        assert (await client.say(f"MAIL FROM:<a@b.example> MT-PRIORITY={priority}")).startswith(reply)
        await client.say("RSET")
        await message(client, f"MT-PRIORITY={priority}")
        await server.until(lambda: seen, "it was submitted")
        assert seen == [kept]


async def test_solicitations_that_are_not_wanted_are_refused() -> None:
    """RFC 3865 §2.3 and §2.5: whether MAIL says so, or the header."""
    unwanted = frozenset({"org.example:adv", "com.example:spam"})
    async with Treating(Box(), no_soliciting=unwanted) as server:
        client = await server.client()
        assert "250-NO-SOLICITING com.example:spam,org.example:adv" in await client.say("EHLO x")
        assert (await message(client, "SOLICIT=net.example:X,org.example:ADV")).startswith("550 5.7.1")
        assert (await message(client, content="Solicitation: Org.Example:ADV , x:y\r\n\r\nBuy!")).startswith("550 5.7.1")
        assert (await message(client, "SOLICIT=net.example:X", content="Solicitation: net.example:X\r\n\r\nBuy!")).startswith("250")


async def test_a_time_that_nobody_could_keep_is_refused() -> None:
    """RFC 2852 §4."""
    async with Treating(deliver_by=60) as server:
        client = await server.client()
        assert "250-DELIVERBY 60" in await client.say("EHLO x")
        assert (await client.say("MAIL FROM:<a@b.example> BY=59;R")).startswith("554 5.4.7")
        assert (await client.say("MAIL FROM:<a@b.example> BY=59;N", "RSET", "MAIL FROM:<a@b.example> BY=60;R")).startswith("250")


async def test_what_is_switched_off_is_neither_offered_nor_taken() -> None:
    async with Treating() as server:
        wire = replace(server.settings.wire, without=frozenset({"CHUNKING", "DSN", "DELIVERBY"}))
        server.settings = replace(server.settings, wire=wire)
        client = await server.client()
        offered = await client.say("EHLO x")
        assert not {"CHUNKING", "DSN", "DELIVERBY"} & {line[4:].split(" ")[0] for line in offered.split("\n")}
        assert (await client.say("MAIL FROM:<a@b.example> RET=HDRS")).startswith("555")
        assert (await client.say("MAIL FROM:<a@b.example> BY=60;N")).startswith("555")
