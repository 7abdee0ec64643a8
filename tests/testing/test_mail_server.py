"""``mail_server`` is the whole server in a test: mail goes in, through sinks, out, and back, and days pass in milliseconds."""

from __future__ import annotations

from datetime import timedelta

from penstock import Sink, on
from penstock.events import Deferred, Expired, MessageStart, Relayed, Submission
from penstock.testing import MailServer
from penstock.verdicts import Defer, Quarantine

MESSAGE = "Subject: hello\n\nHello.\n"
AWAY = ["carol@example.net"]


async def test_mail_for_a_local_domain_is_delivered(mail_server: MailServer) -> None:
    sent = await mail_server.send(MESSAGE, "alice@client.example", ["bob@example.com"])
    assert sent.accepted, sent.reply
    await mail_server.run_until_idle()
    [mail] = mail_server.mailbox("bob@example.com")
    assert (mail.sender, mail.id, mail.message["Subject"]) == ("alice@client.example", sent.id, "hello")
    assert mail_server.queue == []


async def test_mail_for_another_domain_is_relayed_to_its_server(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.run_until_idle()
    [received] = remote.messages
    assert received.recipients == ("carol@example.net",)
    assert received.content.endswith(b"\r\n\r\nHello.\r\n")
    assert [report.where for report in mail_server.told(Relayed)]


async def test_a_retry_schedule_over_five_days_ends_with_a_report(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.reply("RCPT", "451 4.3.0 Not now")
    began = mail_server.now
    await mail_server.send(MESSAGE, recipients=["carol@example.net"], sender="bob@example.com")
    await mail_server.run_until_empty()
    tries = [line for line in remote.commands if line.startswith("RCPT")]
    assert len(tries) >= 30
    [expired] = mail_server.told(Expired)
    assert "Not now" in expired.text or "Not now" in str(expired.reply)
    assert timedelta(days=5) <= mail_server.now - began < timedelta(days=5, minutes=6)
    bounces = [mail for mail in mail_server.mailbox("bob@example.com") if b"Action: failed" in mail.content]
    assert len(bounces) == 1
    assert bounces[0].sender == ""


async def test_the_first_tries_come_when_administrators_expect_them(mail_server: MailServer) -> None:
    mail_server.configure({"retry": {"intervals": ["15m", "30m", "1h", "4h"], "jitter": 0.0}})
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.reply("RCPT", 451)
    await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.advance(hours=10)
    began = mail_server.told(Deferred)[0].message
    assert began.id
    # Relative to the first try: 15, 30, 60 minutes, then every 4 hours.
    assert [round(minutes) for minutes in tries(mail_server)] == [0, 15, 45, 105, 345, 585]


def tries(mail_server: MailServer) -> list[float]:
    """When the destination was connected to, in minutes after the first time."""
    times = [when for when, _, _ in mail_server.network.connections]
    return [(when - times[0]) / 60 for when in times]


async def test_a_delay_is_told_to_the_sender_once(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.reply("RCPT", 451)
    await mail_server.send(MESSAGE, "bob@example.com", AWAY)
    await mail_server.advance(hours=3)
    assert mail_server.mailbox("bob@example.com") == []
    await mail_server.advance(hours=5)
    [notice] = mail_server.mailbox("bob@example.com")
    assert b"Action: delayed" in notice.content
    remote.restore()
    await mail_server.run_until_empty()
    assert len(mail_server.mailbox("bob@example.com")) == 1
    assert len(remote.messages) == 1


async def test_a_permanent_refusal_bounces_at_once(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.reply("RCPT", "550 5.1.1 No such user", about="dave@")
    await mail_server.send(MESSAGE, "bob@example.com", ["carol@example.net", "dave@example.net"])
    await mail_server.run_until_idle()
    assert [message.recipients for message in remote.messages] == [("carol@example.net",)]
    [bounce] = mail_server.mailbox("bob@example.com")
    assert b"Final-Recipient: rfc822; dave@example.net" in bounce.content
    assert b"5.1.1" in bounce.content


async def test_a_greylisting_server_takes_the_second_try(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    remote.reply("RCPT", "451 4.7.1 Greylisted", times=1)
    await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.run_until_idle()
    assert remote.messages == []
    [deferred] = mail_server.told(Deferred)
    assert deferred.status == "4.7.1"
    [waiting] = mail_server.queue
    assert waiting.deferrals == 1
    await mail_server.advance(minutes=20)
    assert len(remote.messages) == 1


async def test_a_dead_server_is_passed_over_for_the_next_one(mail_server: MailServer) -> None:
    first = mail_server.remote("mx1.example.net")
    second = mail_server.remote("mx2.example.net")
    mail_server.dns.mx("example.net", "mx1.example.net", 10)
    mail_server.dns.mx("example.net", "mx2.example.net", 20)
    first.vanish()
    await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.run_until_idle()
    assert (first.sessions, len(second.messages)) == (0, 1)
    assert [host for _, host, _ in mail_server.network.connections] == [first.address, second.address]


class OnlyOldMail(Sink[None]):
    """Puts mail off until it is a day old."""

    @on(MessageStart)
    async def hold(self, event: MessageStart) -> Defer | None:
        return Defer(after=timedelta(days=1)) if event.server.now - event.message.received < timedelta(days=1) else None


async def test_a_sink_that_defers_for_a_day_is_obeyed(mail_server: MailServer) -> None:
    remote = mail_server.remote("mx.example.net", domains=["example.net"])
    mail_server.bind(OnlyOldMail())
    await mail_server.send(MESSAGE, recipients=AWAY)
    await mail_server.advance(hours=23)
    assert remote.messages == []
    await mail_server.advance(hours=2)
    assert len(remote.messages) == 1


async def test_what_a_sink_holds_waits_until_it_is_released(mail_server: MailServer) -> None:
    class Judge(Sink[None]):
        @on(Submission)
        async def judge(self, event: Submission) -> Quarantine | None:
            return Quarantine("looks odd") if event.message.header.get("Subject") == "odd" else None

    mail_server.bind(Judge())
    await mail_server.send("Subject: odd\n\n")
    await mail_server.advance(days=3)
    [held] = mail_server.queue
    assert held.held == "looks odd"
    assert mail_server.mail == []
    assert await mail_server.release(held.id)
    await mail_server.run_until_idle()
    assert len(mail_server.mailbox("bob@example.com")) == 1
