"""Couriers with servers that nobody scripted: Postfix, and our own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from delivery.stand import MAIL, Stand, actions, hop_settings
from hosts.running import Running
from penstock import Match, Sink, on
from penstock.delivery.settings import TlsSettings
from penstock.events import MessageStart, ServerResponse, SessionStart, Verb
from penstock.verdicts import Defer, Respond
from support.certificates import certificate
from support.needs import needs
from support.postfix import Postfix, receiving
from transport.sinks import Mailbox


class QueueDepth(Sink[None]):
    """Publishes a verb that says how much is queued, and asks other servers for the same: both sides of one sink."""

    heard = ""

    @on(Verb, keyword="XQDEPTH", advertise="XQDEPTH")
    async def answer(self, event: Verb) -> Respond:
        return Respond(250, "2.0.0", f"{await event.server.queue.depth()} messages queued")

    @on(SessionStart)
    async def ask(self, event: SessionStart) -> None:
        if "XQDEPTH" in event.remote.extensions:
            reply = await event.send("XQDEPTH")
            event.session.state["depth"] = self.heard = reply.text


class Trap501(Sink[None]):
    """Defers what a server refuses with 501."""

    @on(ServerResponse, match=Match(verb="MAIL", code="501"))
    async def trap(self, event: ServerResponse) -> Defer:
        return Defer()


async def test_two_of_our_servers_talk_of_their_queues() -> None:
    mailbox, depth = Mailbox(), QueueDepth()
    async with Running(mailbox, QueueDepth()) as server, Stand(f"[127.0.0.1]:{server.address[1]}", depth) as stand:
        assert actions(await stand.deliver(stand.mail("bob@example.com"))) == {"bob": "relayed"}
        await server.until(lambda: mailbox.mail, "the mail is there")
    assert depth.heard == "0 messages queued"
    assert mailbox.mail[0][2].endswith(MAIL)


@pytest.mark.parametrize("chunking", [True, False], ids=["bdat", "data"])
@pytest.mark.parametrize("secure", [True, False], ids=["tls", "clear"])
async def test_postfix_takes_what_we_send(chunking: bool, secure: bool) -> None:
    needs("postfix")
    own = certificate("remote.example") if secure else None
    tls = TlsSettings("verify", own.certificate, "remote.example") if own else TlsSettings("none")
    settings = replace(hop_settings(tls=tls), chunking=chunking)
    big = MAIL + b"".join(b".%060d\r\n" % n for n in range(20_000))
    with Postfix(receiving("remote.example", certificate=own)) as postfix:
        async with Stand(f"[127.0.0.1]:{postfix.port}", QueueDepth(), settings=settings) as stand:
            works = [stand.mail("a@remote.example", "b@remote.example", content=content) for content in (MAIL, big)]
            await stand.deliver(*works)
            for work in works:
                assert actions(stand.handover.results[work.record.id]) == {"a": "relayed", "b": "relayed"}
            folder = postfix.folder / "mail"
            await stand.until(lambda: len(list(folder.rglob("new/*"))) == 4, "Postfix delivered", 20.0)
            kept = sorted((path.read_bytes() for path in folder.rglob("new/*")), key=len)
    # Postfix writes line ends as Unix has them, and gives a header what it lacks.
    sent = [content.replace(b"\r\n", b"\n") for content in (MAIL, MAIL, big, big)]
    assert [found.partition(b"\n\n")[2] for found in kept] == [content.partition(b"\n\n")[2] for content in sent]


async def test_a_501_of_postfix_is_trapped() -> None:
    needs("postfix")

    class Spoil(Sink[None]):
        @on(MessageStart)
        async def spoil(self, event: MessageStart) -> None:
            event.command = "MAIL FROM:<not an address"

    with Postfix(receiving("remote.example")) as postfix:
        async with Stand(f"[127.0.0.1]:{postfix.port}", Spoil(), Trap501()) as stand:
            results = await stand.deliver(stand.mail("a@remote.example"))
            assert actions(results) == {"a": "deferred"}
            assert results[0].by == "sink1"
            assert results[0].reply is not None
            assert results[0].reply.code == 501


async def test_postfix_says_something_else_of_each_recipient() -> None:
    needs("postfix")
    with Postfix(receiving("remote.example")) as postfix:
        async with Stand(f"[127.0.0.1]:{postfix.port}") as stand:
            results = await stand.deliver(stand.mail("a@remote.example", "unknown@remote.example", "busy@remote.example"))
            assert actions(results) == {"a": "relayed", "unknown": "failed", "busy": "deferred"}
            assert {r.status for r in results} == {"2.0.0", "5.1.1", "4.2.0"}
