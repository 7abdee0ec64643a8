"""What a client meets: every inbound event reaches the sinks, and every verdict does what it says."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from hosts.running import Running, until
from penstock import Sink, on
from penstock.events import (
    Accepted,
    Connected,
    Data,
    Ehlo,
    EndOfData,
    EndOfHeaders,
    Event,
    Helo,
    LocalDelivery,
    MailFrom,
    RcptTo,
    Rejected,
    SessionEnded,
    Verb,
)
from penstock.events.plug import Plug
from penstock.hosts.smtp.session import shown
from penstock.verdicts import Defer, Delay, Delivered, Discard, Disconnect, Quarantine, Reject, Respond, Rewrite, Verdict


class Mailbox(Sink[None]):
    """Delivers everything into a list."""

    def __init__(self) -> None:
        super().__init__()
        self.mail: list[tuple[str, str, bytes]] = []

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Delivered:
        message = event.message
        self.mail.append((str(message.sender), str(event.recipient.address), message.content.read()))
        return Delivered("list")


class Answers(Sink[None]):
    """Gives the verdicts that a test prepared, by event, and notes what it was told."""

    def __init__(self, **verdicts: Verdict | None) -> None:
        super().__init__()
        self.verdicts = verdicts
        self.told: list[str] = []
        self.events: list[Event] = []

    @on(Connected, Helo, Ehlo, MailFrom, RcptTo, Data, EndOfHeaders, EndOfData)
    async def answer(self, event: Any) -> Any:
        self.told.append(type(event).__name__)
        await asyncio.sleep(0)
        return self.verdicts.get(type(event).__name__)

    @on(Accepted, Rejected, SessionEnded, blocking=False)
    def note(self, event: Any) -> None:
        self.told.append(type(event).__name__)
        self.events.append(event)


async def test_a_message_meets_every_event_in_order_and_is_delivered() -> None:
    """Connected to SessionEnded, once each."""
    sink, box = Answers(), Mailbox()
    async with Running(sink, box) as server:
        client = await server.client()
        assert client.banner == "220 mx.example.com ESMTP Penstock"
        assert (await client.send()).startswith("250 2.0.0 Ok: queued as ")
        assert await client.say("QUIT") == "221 2.0.0 Bye"
        await until(lambda: "SessionEnded" in sink.told, "SessionEnded")
    order = ["Connected", "Ehlo", "MailFrom", "RcptTo", "Data", "EndOfHeaders", "EndOfData", "Accepted", "SessionEnded"]
    assert sink.told == order
    assert sink.events[-1].reason == "quit"
    sender, recipient, content = box.mail[0]
    assert (sender, recipient) == ("a@client.example", "bob@example.com")
    assert content.endswith(b"\r\nSubject: hello\r\n\r\nHello.\r\n")
    assert content.startswith(b"Received: from client.example ([127.0.0.1])\r\n\tby mx.example.com with ESMTP id ")
    assert b"\r\n\tfor <bob@example.com>;\r\n\t" in content


REFUSALS = [
    ("MailFrom", "MAIL FROM:<a@b.example>", []),
    ("RcptTo", "RCPT TO:<bob@example.com>", ["MAIL FROM:<a@b.example>"]),
    ("Data", "DATA", ["MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>"]),
]


@pytest.mark.parametrize(("event", "command", "before"), REFUSALS)
async def test_a_refusal_reaches_the_client_and_the_report(event: str, command: str, before: list[str]) -> None:
    """Reject gives the sink's reply, the session goes on, and Rejected says who it was."""
    sink = Answers(**{event: Reject(553, "5.7.9", "Not today")})
    async with Running(sink) as server:
        client = await server.client()
        await client.say("EHLO x", *before)
        assert await client.say(command) == "553 5.7.9 Not today"
        assert await client.say("RSET") == "250 2.0.0 Ok"
        report = sink.events[-1]
        assert (report.command.partition(" ")[0], report.reply.code, report.by) == (command.partition(" ")[0], 553, "sink0")
        client.close()


async def test_a_refused_mail_opens_no_transaction() -> None:
    """Nothing takes effect before the sinks agreed."""
    async with Running(Answers(MailFrom=Reject())) as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>")
        assert (await client.say("RCPT TO:<bob@example.com>")).startswith("503")
        client.close()


@pytest.mark.parametrize("event", ["Ehlo", "MailFrom", "RcptTo", "Data", "EndOfHeaders", "EndOfData"])
async def test_disconnect_says_goodbye_and_closes(event: str) -> None:
    """Disconnect sends its reply and ends the session, wherever it is given."""
    async with Running(Answers(**{event: Disconnect(421, "4.3.2", "Please try again later.")})) as server:
        client = await server.client()
        content = b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nA: b\r\n\r\nbody\r\n.\r\n"
        client.writer.write(content)
        replies = (await asyncio.wait_for(client.reader.read(), 5.0)).decode()
        assert replies.endswith("421 4.3.2 Please try again later.\r\n")
        assert not server.kept()


async def test_connected_may_turn_away_greet_otherwise_or_delay() -> None:
    """The three verdicts of Connected."""
    async with Running(Answers(Connected=Disconnect(554, "5.7.1", "No"))) as server:
        client = await server.client()
        assert client.banner == "554 5.7.1 No"
        assert await client.is_closed()
    async with Running(Answers(Connected=Respond(220, "", "mx.example.com welcomes you"))) as server:
        assert (await server.client()).banner == "220 mx.example.com welcomes you"
    async with Running(Answers(Connected=Delay(timedelta(milliseconds=1)))) as server:
        assert (await server.client()).banner.startswith("220 mx.example.com ESMTP")


@pytest.mark.parametrize("event", ["EndOfHeaders", "EndOfData"])
@pytest.mark.parametrize("size", [10, 3000])
async def test_content_that_a_sink_refuses_is_not_kept(event: str, size: int) -> None:
    """The reply comes after the content, whether that stayed in memory or went to disk."""
    async with Running(Answers(**{event: Reject(554, "5.6.0", "Bad content")}), in_memory=1000) as server:
        client = await server.client()
        assert await client.send(b"Subject: x\r\n\r\n" + b"y" * 70 * 1 + b"\r\n" + (b"z" * 70 + b"\r\n") * size) == "554 5.6.0 Bad content"
        assert not server.kept()
        assert (await client.say("MAIL FROM:<a@b.example>")).startswith("250")
        client.close()


async def test_content_without_an_empty_line_meets_end_of_headers_too() -> None:
    """A message that is all header is one whose header is complete at its end."""
    sink = Answers()
    async with Running(sink, Mailbox()) as server:
        client = await server.client()
        assert (await client.send(b"Subject: only\r\n")).startswith("250")
        client.close()
    assert sink.told.count("EndOfHeaders") == 1
    assert sink.told.index("EndOfHeaders") < sink.told.index("EndOfData")


async def test_discard_says_yes_and_keeps_nothing() -> None:
    """Of the message, or of one recipient."""
    box = Mailbox()
    async with Running(Answers(EndOfData=Discard("spam")), box) as server:
        client = await server.client()
        assert (await client.send()).startswith("250 2.0.0 Ok: queued as ")
        client.close()
    async with Running(Answers(RcptTo=Discard()), box) as server:
        client = await server.client()
        assert (await client.send()).startswith("250 2.0.0 Ok: queued as ")
        client.close()
    assert not box.mail


async def test_quarantine_accepts_and_holds() -> None:
    """The message is in the spool, held, and not delivered."""
    box = Mailbox()
    async with Running(Answers(EndOfData=Quarantine("looks odd")), box) as server:
        client = await server.client()
        assert (await client.send()).startswith("250")
        (entry,) = server.kept()
        assert entry.held == "looks odd"
        client.close()
    assert not box.mail


async def test_rewrite_changes_the_address_and_the_next_sink_sees_it() -> None:
    """A recipient that one sink rewrites is the next one's recipient."""

    class Second(Sink[None]):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        @on(RcptTo, blocking=False)
        def look(self, event: RcptTo) -> None:
            self.seen.append(str(event.recipient.address))

    second, box = Second(), Mailbox()
    async with Running(Answers(RcptTo=Rewrite("carol@new.example")), second, box) as server:
        client = await server.client()
        await client.send()
        await until(lambda: box.mail, "delivery")
        client.close()
    assert second.seen == ["carol@new.example"]
    assert box.mail[0][1] == "carol@new.example"


async def test_a_failing_sink_defers_and_the_client_learns_nothing_of_why() -> None:
    """The exception's text stays in the log."""

    class Broken(Sink[None]):
        @on(RcptTo)
        async def fail(self, event: RcptTo) -> None:
            raise RuntimeError("database password is hunter2")

    async with Running(Broken()) as server:
        client = await server.client()
        reply = await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>")
        assert reply == "451 4.3.0 Temporary failure, please try again later"
        client.close()


async def test_the_same_recipient_twice_is_one_recipient() -> None:
    """Both commands are answered with yes; one copy is delivered."""
    box = Mailbox()
    async with Running(box) as server:
        client = await server.client()
        await client.send(b"A: b\r\n\r\n", "bob@example.com", "bob@EXAMPLE.com")
        await until(lambda: box.mail, "delivery")
        client.close()
    assert len(box.mail) == 1


async def test_helo_clients_are_received_with_smtp() -> None:
    """RFC 5321 §4.4: the protocol of a HELO session is SMTP."""
    box = Mailbox()
    async with Running(box) as server:
        client = await server.client()
        assert await client.say("HELO old.example") == "250 mx.example.com"
        await client.say("MAIL FROM:<>", "RCPT TO:<bob@example.com>", "DATA")
        client.writer.write(b"hi\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        await until(lambda: box.mail, "delivery")
        client.close()
    assert b"with SMTP id " in box.mail[0][2]


async def test_a_message_with_too_many_received_fields_is_a_loop() -> None:
    """50 hops are too many, 49 are not."""
    async with Running(Mailbox(), in_memory=2000) as server:
        client = await server.client()
        assert (await client.send(b"Received: x\r\n" * 50 + b"\r\n")) == "554 5.4.6 Too many hops, the message is looping"
        assert (await client.send(b"Received: x\r\n" * 49 + b"\r\nReceived: in the body\r\n")).startswith("250")
        assert (await client.send(b"Received: x\r\n" * 50 + b"\r\n" + b"z" * 70 * 1 + b"\r\n" * 400000)).startswith("554 5.4.6")
        client.close()


class Depth(Sink[None]):
    """A verb of our own, with a dialogue."""

    @on(Verb, keyword="XDEPTH", advertise="XDEPTH")
    async def depth(self, event: Verb) -> Respond:
        return Respond(250, "2.0.0", f"{await event.server.queue.depth()} messages queued")

    @on(Verb, keyword="XTALK")
    async def talk(self, event: Verb) -> Respond | Reject:
        from penstock import Reply

        name = await event.read_line(Reply(334, "", "Name:"))
        block = await event.read_bytes(5)
        event.session.state["name"] = name
        return Respond(250, "2.0.0", f"{event.argument} {name.decode()} {block.decode()}")

    @on(Verb, keyword="NOOP", blocking=False)
    def noop(self, event: Verb) -> Respond | None:
        return Respond(250, "2.0.0", "Nothing, done well") if event.argument else None


async def test_new_verbs_are_offered_asked_and_answered() -> None:
    """EHLO offers the verb, and its sink answers; a known verb can be answered too, or left alone."""
    async with Running(Depth()) as server:
        client = await server.client()
        assert "250 XDEPTH" in (await client.say("EHLO x")).splitlines()[-1]
        assert await client.say("xdepth") == "250 2.0.0 0 messages queued"
        assert await client.say("NOOP well") == "250 2.0.0 Nothing, done well"
        assert await client.say("NOOP") == "250 2.0.0 Ok"
        assert await client.say("XTALK to") == "334 Name:"
        client.writer.write(b"alice\r\n12345NOOP\r\n")
        assert await client.reply() == "250 2.0.0 to alice 12345"
        assert await client.reply() == "250 2.0.0 Ok"
        assert (await client.say("XUNKNOWN")).startswith("500")
        client.close()


async def test_a_client_that_vanishes_within_a_dialogue_leaves_nothing_behind() -> None:
    """The handler gets a ConnectionError, and the session ends."""
    async with Running(Depth()) as server:
        client = await server.client()
        assert await client.say("EHLO x", "XTALK to") == "334 Name:"
        client.reset()
        await until(lambda: server.host.sessions == 0, "the session is gone")


async def test_ehlo_lines_can_be_edited() -> None:
    """What a sink takes out is neither offered nor accepted."""

    class NoChunking(Sink[None]):
        @on(Ehlo, blocking=False)
        def edit(self, event: Ehlo) -> None:
            event.extensions.remove("CHUNKING")
            event.extensions.append("X-HELLO")

    async with Running(NoChunking()) as server:
        client = await server.client()
        lines = (await client.say("EHLO x")).splitlines()
        assert "250 X-HELLO" in lines
        assert not any("CHUNKING" in line for line in lines)
        await client.say("MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>")
        assert (await client.say("BDAT 2 LAST\r\nhi")).startswith("502")
        client.close()


async def test_chunked_content_arrives_like_any_other() -> None:
    """BDAT in pieces gives the same message."""
    box = Mailbox()
    async with Running(box) as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>")
        client.writer.write(b"BDAT 6\r\nA: b\r\nBDAT 7 LAST\r\n\r\n.hi\r\n")
        assert (await client.reply()).startswith("250")
        assert "queued as" in await client.reply()
        await until(lambda: box.mail, "delivery")
        client.close()
    assert box.mail[0][2].endswith(b"\r\nA: b\r\n\r\n.hi\r\n")


async def test_state_of_a_session_lasts_and_is_private() -> None:
    """Each sink has its own state, and a shared one by name."""

    class Counter(Sink[None]):
        @on(RcptTo)
        async def count(self, event: RcptTo) -> Reject | None:
            event.session.state["n"] = event.session.state.get("n", 0) + 1
            event.session.shared("all")["n"] = event.session.shared("all").get("n", 0) + 1
            if event.session.shared("all")["n"] == 5:
                return Reject(550, "5.5.3", f"{event.session.state['n']} of {event.session.shared('all')['n']}")
            return None

    async with Running(Counter(), Counter()) as server:
        client = await server.client()
        rcpt = "RCPT TO:<bob@example.com>"
        assert await client.say("EHLO x", "MAIL FROM:<a@b.example>", rcpt, rcpt, rcpt) == "550 5.5.3 3 of 5"
        client.close()


async def test_defer_at_end_of_data_keeps_nothing() -> None:
    """The client keeps the message and comes again."""
    async with Running(Answers(EndOfData=Defer(451, "4.7.1", "Later"))) as server:
        client = await server.client()
        assert await client.send() == "451 4.7.1 Later"
        assert not server.kept()
        client.close()


async def test_an_error_of_our_own_ends_the_session_with_421_and_not_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client learns nothing of it, and the next client is served."""

    def fail(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    async with Running(Mailbox()) as server:
        monkeypatch.setattr("penstock.hosts.smtp.transaction.received_field", fail)
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<bob@example.com>")
        assert await client.say("DATA") == "421 4.3.0 Internal error, closing the connection"
        assert await client.is_closed()
        monkeypatch.undo()
        assert "queued as" in await (await server.client()).send()


async def test_a_line_of_a_dialogue_that_is_too_long_ends_the_dialogue_not_the_session() -> None:
    """The machine answers, once, and the session goes on."""
    async with Running(Depth()) as server:
        client = await server.client()
        assert await client.say("EHLO x", "XTALK to") == "334 Name:"
        assert (await client.say("x" * 20_000)).startswith("500")
        assert await client.say("NOOP") == "250 2.0.0 Ok"
        client.close()


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        ("AUTH PLAIN AGFsaWNlAHNlY3JldA==", "AUTH ..."),
        ("AGFsaWNlAHNlY3JldA==", "..."),
        ("XSECRET hunter2", "..."),
        ("hunter and more", "..."),
        ("HUNTER", "..."),
        ("GET /?password=x HTTP/1.1", "GET ..."),
        ("xclient LOGIN=alice", "XCLIENT ..."),
        ("MAIL FROM:<broken", "MAIL FROM:<broken"),
        ("", ""),
    ],
)
def test_a_refused_command_is_shown_without_what_may_be_a_secret(command: str, seen: str) -> None:
    """In log and report; a password typed into the wrong place stays there."""
    assert shown(command) == seen
    assert shown("XSECRET hunter2", {"XSECRET"}) == "XSECRET ..."


async def test_a_header_that_does_not_end_is_refused_where_a_sink_waits_for_it() -> None:
    """A sink never sees, or edits, half a header."""
    sink = Answers()
    async with Running(sink) as server:
        client = await server.client()
        reply = await client.send(b"X: y\r\n" + b" folded\r\n" * 200_000 + b"\r\nbody\r\n")
        assert reply == "552 5.3.4 Header section too large"
        client.close()
    assert "EndOfHeaders" not in sink.told


async def test_header_edits_at_end_of_headers_reach_the_message_whole() -> None:
    """Whether the body came at once or in pieces, in memory or through a file."""

    class Edit(Sink[None]):
        @on(EndOfHeaders, blocking=False)
        def edit(self, event: EndOfHeaders) -> None:
            event.message.header.add("X-Seen", "yes")

    box = Mailbox()
    async with Running(Edit(), box, in_memory=1000) as server:
        client = await server.client()
        body = (b"z" * 70 + b"\r\n") * 10_000
        assert "queued as" in await client.send(b"A: b\r\n\r\n" + body)
        await until(lambda: box.mail, "delivery")
        client.close()
    assert box.mail[0][2].endswith(b"A: b\r\nX-Seen: yes\r\n\r\n" + body)


async def test_content_cannot_be_replaced_before_it_is_here() -> None:
    """At EndOfHeaders the sink is told so, and the message is as it was."""

    class Replace(Sink[None]):
        @on(EndOfHeaders, blocking=False)
        def replace(self, event: EndOfHeaders) -> None:
            event.message.replace_content(b"X: 1\r\n\r\nnew\r\n")

    box = Mailbox()
    async with Running(Plug("replace", Replace(), on_error="continue"), box) as server:
        client = await server.client()
        assert "queued as" in await client.send(b"A: b\r\n\r\nold\r\n")
        await until(lambda: box.mail, "delivery")
        client.close()
    assert box.mail[0][2].endswith(b"\r\nA: b\r\n\r\nold\r\n")


async def test_a_refused_ehlo_changes_no_name() -> None:
    """Nothing takes effect before the sinks agreed."""
    sink = Answers(Ehlo=Reject(550, "5.7.1", "No"))
    async with Running(sink) as server:
        client = await server.client()
        await client.say("HELO first.example")
        await client.say("EHLO second.example")
        (connection,) = server.host._connections
        assert connection._session is not None
        assert connection._session.work.helo == "first.example"
        client.close()
