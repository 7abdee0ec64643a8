"""What goes wrong around ``mail_server`` can be written down: servers, networks, names, threads, and the end of the process itself."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from penstock import Sink, on
from penstock.errors import ConfigError
from penstock.events import Connected, Deferred, Failed, RcptTo, Route, ServerResponse, Submission
from penstock.testing import MailServer, NothingHappensError
from penstock.verdicts import Defer, Disconnect, Drop, Hold, Reject

MESSAGE = "Subject: hello\n\nHello.\n"
AWAY = ["carol@example.net"]


async def deferred_then_sent(mail_server: MailServer) -> str:
    """Sends, and tries again until it went out; why it was put off the first time."""
    remote = mail_server.remote("mx.example.net")
    await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.run_until_idle()
    assert remote.messages == []
    remote.restore()
    for name in ("example.net", "mx.example.net"):
        mail_server.dns.restore(name)
    await mail_server.run_until_empty(days=1)
    assert len(remote.messages) == 1
    return mail_server.told(Deferred)[0].text


@pytest.mark.parametrize("where", ["BANNER", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"])
@pytest.mark.parametrize("how", ["drop", "silence"])
async def test_a_server_that_breaks_off_or_falls_silent_costs_one_try(mail_server: MailServer, how: str, where: str) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    getattr(remote, how)(where)
    assert await deferred_then_sent(mail_server)


@pytest.mark.parametrize("fault", ["servfail", "timeout"])
async def test_names_that_cannot_be_looked_up_now_are_looked_up_later(mail_server: MailServer, fault: str) -> None:
    mail_server.remote("mx.example.net", domains=["example.net"])
    getattr(mail_server.dns, fault)("example.net")
    assert "example.net failed" in await deferred_then_sent(mail_server)


async def test_a_domain_that_does_not_exist_bounces(mail_server: MailServer) -> None:
    await mail_server.send(MESSAGE, "bob@example.com", ["carol@nowhere.example"])
    await mail_server.run_until_idle()
    assert [report.status for report in mail_server.told(Failed)] == ["5.1.2"]
    assert len(mail_server.mailbox("bob@example.com")) == 1


async def test_a_refused_connection_is_tried_again(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.refuse()
    assert "refused" in await deferred_then_sent(mail_server)


async def test_a_far_server_gets_its_mail_later(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.far(2.0)
    before = mail_server.now
    await mail_server.send(MESSAGE, recipients="bob@example.net")
    await mail_server.run_until_idle()
    assert len(remote.messages) == 1
    # Connection, banner, EHLO, MAIL and what is pipelined with it, and the content: there and back each.
    assert (mail_server.now - before).total_seconds() >= 16


async def test_a_route_that_is_held_waits_until_it_is_released(mail_server: MailServer) -> None:
    class HoldsNet(Sink[None]):
        @on(Route)
        async def hold(self, event: Route) -> Hold | None:
            return Hold("for the night") if event.destination == "example.net" else None

    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    mail_server.bind(HoldsNet())
    await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.advance(hours=12)
    [held] = mail_server.queue
    assert (held.held, remote.messages) == ("for the night", [])
    assert await mail_server.release(held.id)
    await mail_server.run_until_idle()
    assert len(remote.messages) == 1


async def test_what_was_acknowledged_survives_a_crash(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.slow(30, "CONTENT")
    sent = await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.advance(seconds=10)
    client = await mail_server.client()
    first = await mail_server.running()
    await mail_server.crash()
    assert await mail_server.running() is not first
    assert await client.until_closed() == b""
    assert [queued.id for queued in mail_server.queue] == [sent.id]
    remote.restore()
    await mail_server.run_until_empty(days=1)
    assert remote.messages[-1].recipients == ("carol@example.net",)


async def test_after_a_crash_a_sink_given_as_a_class_is_a_new_object(mail_server: MailServer) -> None:
    lives: list[Sink[None]] = []

    class Notes(Sink[None]):
        async def start(self) -> None:
            lives.append(self)

        @on(Connected)
        async def greet(self, event: Connected) -> None: ...

    mail_server.bind(Notes)
    await mail_server.start()
    await mail_server.crash()
    assert len({id(life) for life in lives}) == 2


async def test_no_virtual_time_passes_while_a_thread_works(mail_server: MailServer) -> None:
    class Slow(Sink[None]):
        @on(Submission)
        def work(self, event: Submission) -> None:
            time.sleep(0.05)
            event.message.header.add("X-Worked", "yes")

    mail_server.bind(Slow(), timeout=1.0)
    began = mail_server.now
    await mail_server.send(MESSAGE)
    await mail_server.run_until_idle()
    assert mail_server.mailbox("bob@example.com")[0].message["X-Worked"] == "yes"
    assert mail_server.now - began < timedelta(seconds=1)


async def test_a_handler_that_sleeps_meets_its_deadline_at_once(mail_server: MailServer) -> None:
    class Sleeps(Sink[None]):
        @on(RcptTo)
        async def sleep(self, event: RcptTo) -> None:
            await asyncio.sleep(3600)

    mail_server.bind(Sleeps())
    sent = await mail_server.send(MESSAGE)
    assert (sent.accepted, sent.refused["bob@example.com"].code) == (False, 451)
    assert [line.event for line in mail_server.log.errors] == ["sink failed"]


async def test_sinks_meet_the_client_as_on_the_wire(mail_server: MailServer) -> None:
    class Judge(Sink[None]):
        @on(Connected)
        async def greet(self, event: Connected) -> Disconnect | None:
            return Disconnect(421, "4.7.0", "Not you") if event.session.client_ip == "203.0.113.9" else None

        @on(RcptTo)
        async def judge(self, event: RcptTo) -> Reject | None:
            return Reject(550, "5.1.1", "Nobody") if event.recipient.address.local == "nobody" else None

    mail_server.bind(Judge())
    assert (await mail_server.client("203.0.113.9")).banner.code == 421
    sent = await mail_server.send(MESSAGE, recipients=["nobody@example.com", "bob@example.com"])
    assert sent.accepted
    assert str(sent.refused["nobody@example.com"]) == "550 5.1.1 Nobody"
    stranger = await mail_server.send(MESSAGE, recipients=AWAY, ip="203.0.113.1")
    assert stranger.reply.is_permanent, "only 192.0.2.0/24 may relay"


async def test_the_configuration_is_the_real_one(mail_server: MailServer) -> None:
    mail_server.configure('[domain."example.org"]\nkind = "local"\nrecipients = ["bob"]\n')
    sent = await mail_server.send(MESSAGE, recipients=["bob@example.org", "eve@example.org"])
    assert sent.refused["eve@example.org"].is_permanent
    await mail_server.run_until_idle()
    assert len(mail_server.mailbox("bob@example.org")) == 1


async def test_a_wrong_configuration_says_what_is_wrong(mail_server: MailServer) -> None:
    mail_server.configure({"server": {"hostnam": "x"}})
    with pytest.raises(ConfigError, match="hostnam"):
        await mail_server.start()


async def test_what_never_becomes_empty_says_what_is_left(mail_server: MailServer) -> None:
    class Puts(Sink[None]):
        @on(Submission)
        async def off(self, event: Submission) -> Defer:
            return Defer(after=timedelta(hours=1))

    mail_server.bind(Puts())
    sent = await mail_server.send(MESSAGE)
    with pytest.raises(NothingHappensError, match=sent.id):
        await mail_server.run_until_empty(days=1)


async def test_a_trap_for_replies_sees_those_of_a_scripted_server(mail_server: MailServer) -> None:
    class Trap(Sink[None]):
        @on(ServerResponse)
        async def trap(self, event: ServerResponse) -> Defer | None:
            return Defer(after=timedelta(hours=1)) if event.reply.code == 501 else None

    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.reply("MAIL", "501 5.5.4 Syntax", times=1)
    mail_server.bind(Trap())
    await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.advance(minutes=59)
    assert remote.messages == []
    await mail_server.advance(minutes=5)
    assert len(remote.messages) == 1


async def test_a_dropped_message_leaves_nothing(mail_server: MailServer) -> None:
    class Drops(Sink[None]):
        @on(Submission)
        async def drop(self, event: Submission) -> Drop:
            return Drop("as asked")

    mail_server.bind(Drops())
    await mail_server.send(MESSAGE)
    await mail_server.run_until_idle()
    assert (mail_server.mail, mail_server.queue) == ([], [])
