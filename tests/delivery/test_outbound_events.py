"""The events of a session in which we are the client: what sinks see, in which order, and what each of their verdicts does."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from delivery.stand import Stand, actions, hop_settings
from penstock import Match, Reply, Sink, on
from penstock.delivery.settings import Credentials, TlsSettings
from penstock.events import (
    BeforeData,
    Connecting,
    MessageStart,
    PerRecipient,
    ServerResponse,
    SessionEnd,
    SessionStart,
)
from penstock.events.plug import Plug
from penstock.verdicts import Bounce, Defer, Disconnect, Drop, Reroute, Retry, Skip, TreatAs
from support.remote import Remote
from support.script import BASE_EXTENSIONS, At, Close, Face, Phase, Say, Script, reply

QUEUE = "[127.0.0.1]:{}"
ALL = (Connecting, SessionStart, MessageStart, PerRecipient, BeforeData, ServerResponse, SessionEnd)
NO_CHUNKING = tuple(e for e in BASE_EXTENSIONS if e != "CHUNKING")


class Watcher(Sink[None]):
    """Writes down what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    @on(*ALL, blocking=False)
    def see(self, event: Any) -> None:
        name = type(event).__name__
        what = f" {event.verb} {event.reply.code}" if isinstance(event, ServerResponse) else ""
        self.seen.append(name + what)


class At1(Sink[None]):
    """Does at one event what a test wants."""

    def __init__(self, act: Callable[[Any], Any]) -> None:
        super().__init__()
        self.act = act

    async def run(self, event: Any) -> Any:
        found = self.act(event)
        return await found if hasattr(found, "__await__") else found


def at(event: type[Any], act: Callable[[Any], Any], **match: Any) -> Sink[None]:
    """A sink that acts at an event."""

    class Acting(At1):
        @on(event, **({"match": Match(**match)} if match else {}))
        async def act_at(self, event: Any) -> Any:
            return await self.run(event)

    return Acting(act)


def answering(event: type[Any], verdict: Any, **match: Any) -> Sink[None]:
    """A sink that always gives this verdict."""
    return at(event, lambda _: verdict, **match)


async def test_the_events_come_in_the_order_of_the_commands() -> None:
    watcher = Watcher()
    async with Remote(Script(face=Face(extensions=NO_CHUNKING))) as remote, Stand(QUEUE.format(remote.port), watcher) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert watcher.seen == [
        "Connecting",
        "ServerResponse BANNER 220",
        "ServerResponse EHLO 250",
        "SessionStart",
        "MessageStart",
        "ServerResponse MAIL 250",
        "PerRecipient",
        "ServerResponse RCPT 250",
        "BeforeData",
        "ServerResponse DATA 354",
        "ServerResponse CONTENT 250",
        "SessionEnd",
        "ServerResponse QUIT 221",
    ]
    assert remote.faults == []


# The golden examples of the product.


class QueueDepth(Sink[None]):
    """Asks a server that has the verb how much it holds."""

    answer = ""

    @on(SessionStart)
    async def ask(self, event: SessionStart) -> None:
        if "XQDEPTH" in event.remote.extensions:
            reply = await event.send("XQDEPTH")
            event.session.state["depth"] = reply.text

    @on(MessageStart)
    async def read(self, event: MessageStart) -> None:
        self.answer = event.session.state["depth"]


async def test_a_sink_asks_the_server_something_at_the_start_of_the_session() -> None:
    # The scripted remote knows no such verb and says 500, which is as good an answer as any.
    sink = QueueDepth()
    script = Script(face=Face(extensions=(*BASE_EXTENSIONS, "XQDEPTH")))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), sink) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert sink.answer == "What?"
    assert remote.commands[1] == "XQDEPTH"


class Trap501(Sink[None]):
    """Waits an hour after a refused sender."""

    @on(ServerResponse, match=Match(verb="MAIL", code="501"))
    async def trap(self, event: ServerResponse) -> Defer:
        return Defer(after=timedelta(hours=1))


async def test_a_501_to_mail_is_trapped() -> None:
    script = Script({Phase.MAIL: reply("501 5.1.7 Bad sender")})
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), Trap501()) as stand:
        results = await stand.deliver(stand.mail())
    assert actions(results) == {"a": "deferred"}
    assert results[0].after == timedelta(hours=1)
    assert results[0].by == "sink0"
    assert results[0].reply is not None
    assert results[0].reply.code == 501


class HoldMarked(Sink[None]):
    @on(MessageStart)
    async def hold(self, event: MessageStart) -> Defer | None:
        return Defer(after=timedelta(days=1)) if "X-Hold" in event.message.header else None


async def test_a_marked_message_is_not_sent_and_the_next_one_is() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port), HoldMarked()) as stand:
        held = stand.mail(content=b"X-Hold: yes\r\n\r\nbody\r\n")
        free = stand.mail("b@remote.example")
        await stand.deliver(held, free)
        assert actions(stand.handover.results[held.record.id]) == {"a": "deferred"}
        assert actions(stand.handover.results[free.record.id]) == {"b": "relayed"}
    assert remote.copies() == {"b@remote.example": 1}
    assert len(remote.sessions) == 1


# Connecting.


async def test_connecting_chooses_another_address_and_port() -> None:
    async with Remote() as remote:

        def move(event: Connecting) -> None:
            event.address, event.port = "127.0.0.1", remote.port

        async with Stand("[192.0.2.1]:25", at(Connecting, move)) as stand:
            results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "relayed"}
        assert results[0].address == "127.0.0.1"


async def test_connecting_forbids_tls() -> None:
    def plain(event: Connecting) -> None:
        event.tls = "none"

    async with Remote(Script(face=Face(tls=True))) as remote, Stand(QUEUE.format(remote.port), at(Connecting, plain)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert not remote.transactions[0].tls


@pytest.mark.parametrize("event", [Connecting, MessageStart, PerRecipient, BeforeData], ids=lambda e: e.__name__)
@pytest.mark.parametrize(
    ("verdict", "expected"),
    [(Defer(after=timedelta(minutes=5)), "deferred"), (Bounce("5.7.1", "no"), "failed")],
    ids=["defer", "bounce"],
)
async def test_a_message_is_deferred_or_bounced_before_it_is_sent(event: type[Any], verdict: Any, expected: str) -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port), answering(event, verdict)) as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))
        assert actions(results) == {"a": expected, "b": expected}
        assert all(r.by == "sink0" and not r.wide for r in results)
        assert not stand.destination.failures
    assert not remote.copies()
    assert remote.faults == []


@pytest.mark.parametrize("event", [MessageStart, PerRecipient, BeforeData], ids=lambda e: e.__name__)
async def test_a_message_is_dropped_before_it_is_sent(event: type[Any]) -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port), answering(event, Drop("not wanted"))) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "dropped"}
    assert not remote.copies()


@pytest.mark.parametrize("event", [Connecting, SessionStart], ids=lambda e: e.__name__)
async def test_a_session_is_rerouted(event: type[Any]) -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port), answering(event, Reroute("relay.example:26"))) as stand:
        results = await stand.deliver(stand.mail())
    assert actions(results) == {"a": "rerouted"}
    assert results[0].next_hop == "mx:relay.example:26"


@pytest.mark.parametrize("verdict", [Defer(), Disconnect()], ids=["defer", "disconnect"])
async def test_a_session_is_ended_at_its_start(verdict: Any) -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port), answering(SessionStart, verdict)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "deferred"}
        assert not stand.destination.failures
    assert remote.commands[-1] == "QUIT"


async def test_one_recipient_of_two_is_dropped() -> None:
    def judge(event: PerRecipient) -> Drop | None:
        return Drop() if event.recipient.address.local == "a" else None

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(PerRecipient, judge)) as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))
    assert actions(results) == {"a": "dropped", "b": "relayed"}
    assert remote.copies() == {"b@remote.example": 1}


async def test_a_skipped_message_goes_back_and_the_others_go_on() -> None:
    def skip(event: MessageStart) -> Skip | None:
        return Skip() if event.message.id == "m1" else None

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(MessageStart, skip)) as stand:
        left, sent = stand.mail(), stand.mail("b@remote.example")
        stand.destination.put(left)
        await stand.deliver(sent)
        await stand.until(lambda: not stand.destination.sessions, "the session ended")
        assert stand.destination.returned == ["m1", "m1"]
        assert stand.destination.ready == [left]
    assert remote.copies() == {"b@remote.example": 1}


# Edits, which count for this hop alone.


async def test_edited_commands_are_sent() -> None:
    def mail(event: MessageStart) -> None:
        event.command += " X-MARK=1"

    def rcpt(event: PerRecipient) -> None:
        event.command = event.command.replace("a@", "z@")

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(MessageStart, mail), at(PerRecipient, rcpt)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert remote.commands[1].endswith(" X-MARK=1")
    assert remote.copies() == {"z@remote.example": 1}


@pytest.mark.parametrize("event", [MessageStart, BeforeData], ids=lambda e: e.__name__)
async def test_an_edited_header_is_for_this_hop_alone(event: type[Any]) -> None:
    def mark(event: MessageStart) -> None:
        event.message.header.add("X-Hop", "here")

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(event, mark)) as stand:
        work = stand.mail()
        assert actions(await stand.deliver(work)) == {"a": "relayed"}
        assert work.record.header is None
        assert not work.dirty
    assert b"\r\nX-Hop: here\r\n\r\n" in remote.transactions[0].content
    if event is MessageStart:
        assert f"SIZE={len(remote.transactions[0].content)}" in remote.commands[1]


async def test_an_edited_recipient_gets_the_mail_at_its_address_for_this_hop() -> None:
    def move(event: PerRecipient) -> None:
        event.recipient.address = event.recipient.address.with_domain("inner.example")

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(PerRecipient, move)) as stand:
        work = stand.mail()
        assert actions(await stand.deliver(work)) == {"a": "relayed"}
        assert str(work.record.envelope.recipients[0].address) == "a@remote.example"
    assert remote.copies() == {"a@inner.example": 1}


# Replies.


@pytest.mark.parametrize(
    ("phase", "verb"), [(Phase.MAIL, "MAIL"), (Phase.RCPT, "RCPT"), (Phase.DATA, "DATA"), (Phase.END, "CONTENT")], ids=lambda p: str(p)
)
@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Defer(), "deferred"),
        (Bounce(), "failed"),
        (Reroute("relay.example"), "rerouted"),
        (TreatAs(450), "deferred"),
        (TreatAs(550), "failed"),
    ],
    ids=["defer", "bounce", "reroute", "treat-as-4xx", "treat-as-5xx"],
)
async def test_a_refusal_means_what_the_sink_says(phase: Phase, verb: str, verdict: Any, expected: str) -> None:
    script = Script({phase: reply("553 5.5.0 No")}, Face(extensions=NO_CHUNKING))
    sink = answering(ServerResponse, verdict, verb=verb)
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), sink) as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))
        assert actions(results) == {"a": expected, "b": expected}
    assert not remote.copies()
    assert remote.faults == []


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_what_the_server_granted_is_not_sent_when_a_sink_refuses_it(verb: str) -> None:
    sink = answering(ServerResponse, TreatAs(550), verb=verb)
    async with Remote(Script(face=Face(extensions=NO_CHUNKING))) as remote, Stand(QUEUE.format(remote.port), sink) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "failed"}
    assert not remote.copies()


@pytest.mark.parametrize("verdict", [Bounce("5.7.1", "not this one"), TreatAs(550)], ids=["bounce", "treat-as-550"])
async def test_a_recipient_that_the_server_took_is_left_out_again(verdict: Any) -> None:
    def veto(event: ServerResponse) -> Any:
        return verdict if event.recipient and event.recipient.address.local == "b" else None

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(ServerResponse, veto, verb="RCPT")) as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example", "c@remote.example"))
    assert actions(results) == {"a": "relayed", "b": "failed", "c": "relayed"}
    assert remote.copies() == {"a@remote.example": 1, "c@remote.example": 1}
    assert "RSET" in remote.commands
    assert remote.faults == []


@pytest.mark.parametrize("verdict", [Defer(), Bounce(), TreatAs(451), Reroute("relay.example"), Retry()], ids=lambda v: type(v).__name__)
async def test_what_the_server_has_is_never_sent_again(verdict: Any) -> None:
    sink = answering(ServerResponse, verdict, verb="CONTENT")
    async with Remote() as remote, Stand(QUEUE.format(remote.port), sink) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
        assert [line["reason"] for line in stand.log.lines if line["event"] == "verdict not obeyed"] == ["the server has taken the message"]
    assert remote.copies() == {"a@remote.example": 1}


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.EHLO])
async def test_a_refused_command_is_sent_once_more_edited(phase: Phase) -> None:
    script = Script({At(phase, 1): reply("450 4.7.1 Not like this")})
    lines = {Phase.MAIL: "MAIL FROM:<other@client.example>", Phase.RCPT: "RCPT TO:<z@remote.example>", Phase.EHLO: "EHLO other.example"}

    def retry(event: ServerResponse) -> Retry | None:
        return Retry(lines[phase]) if event.reply.is_transient else None

    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), at(ServerResponse, retry, verb=str(phase))) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert lines[phase] in remote.commands
    assert remote.faults == []


async def test_a_command_that_is_refused_again_is_not_sent_a_third_time() -> None:
    script = Script({Phase.RCPT: reply("450 4.7.1 Not like this")})
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), answering(ServerResponse, Retry(), verb="RCPT")) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "deferred"}
    assert [c[:4] for c in remote.commands].count("RCPT") == 2


async def test_a_refused_recipient_is_treated_as_accepted() -> None:
    script = Script({At(Phase.RCPT, 1): reply("450 4.7.1 Busy")})
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), answering(ServerResponse, TreatAs(250), verb="RCPT")) as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))
    # The server decides what comes of it: it takes the message for the one that it knows of.
    assert actions(results) == {"a": "relayed", "b": "relayed"}
    assert remote.copies() == {"b@remote.example": 1}


@pytest.mark.parametrize("verb", ["BANNER", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"])
async def test_a_sink_disconnects_at_any_reply(verb: str) -> None:
    sink = answering(ServerResponse, Disconnect(), verb=verb)
    async with Remote(Script(face=Face(extensions=NO_CHUNKING))) as remote, Stand(QUEUE.format(remote.port), sink) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "relayed" if verb == "CONTENT" else "deferred"}
    assert remote.copies().total() == (verb == "CONTENT")


async def test_a_defer_at_the_banner_is_for_the_message_at_hand() -> None:
    sink = answering(ServerResponse, Defer(after=timedelta(hours=2)), verb="BANNER")
    async with Remote() as remote, Stand(QUEUE.format(remote.port), sink) as stand:
        results = await stand.deliver(stand.mail())
    assert results[0].after == timedelta(hours=2)


# Sinks that talk to the server.


@pytest.mark.parametrize(
    "line",
    ["MAIL FROM:<x@y>", "rset", "QUIT", "DATA", "BDAT 1", "EHLO x", "STARTTLS", "AUTH PLAIN", "", "NOOP\r\nQUIT", "NOOP " + "x" * 600],
)
async def test_a_sink_cannot_send_what_would_change_the_session(line: str) -> None:
    errors: list[type[BaseException]] = []

    async def ask(event: SessionStart) -> None:
        with pytest.raises(ValueError) as caught:
            await event.send(line)
        errors.append(caught.type)

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(SessionStart, ask)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert errors == [ValueError]
    assert remote.faults == []


@pytest.mark.parametrize("event", [MessageStart, PerRecipient, BeforeData, SessionEnd], ids=lambda e: e.__name__)
async def test_a_sink_talks_in_the_middle_of_a_transaction(event: type[Any]) -> None:
    heard: list[Reply] = []

    async def ask(event: Any) -> None:
        heard.append(await event.send("NOOP"))

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(event, ask)) as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))
        assert actions(results) == {"a": "relayed", "b": "relayed"}
    assert {r.code for r in heard} == {250}
    assert len(heard) == (2 if event is PerRecipient else 1)
    assert remote.faults == []


async def test_a_sink_that_gives_up_waiting_takes_no_answer_from_another_command() -> None:
    script = Script({Phase.NOOP: [Say(b"250-slow\r\n", every=0.02), Say(b"250 done\r\n")]})

    async def ask(event: MessageStart) -> None:
        await event.send("NOOP")

    plug = Plug("impatient", at(MessageStart, ask), timeout=0.05, on_error="continue")
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), plug) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert remote.copies() == {"a@remote.example": 1}
    assert remote.faults == []


async def test_a_sink_learns_that_the_server_is_gone() -> None:
    errors: list[BaseException] = []

    async def ask(event: SessionStart) -> None:
        try:
            await event.send("NOOP")
        except ConnectionError as error:
            errors.append(error)

    async with Remote(Script({Phase.NOOP: [Close()]})) as remote, Stand(QUEUE.format(remote.port), at(SessionStart, ask)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "deferred"}
        assert stand.destination.failures
    assert len(errors) == 1


async def test_a_send_after_the_event_is_refused() -> None:
    kept: list[SessionStart] = []

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(SessionStart, lambda e: kept.append(e))) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
        with pytest.raises(ConnectionError, match="over"):
            await kept[0].send("NOOP")


@pytest.mark.parametrize(
    "event", [Connecting, SessionStart, MessageStart, PerRecipient, BeforeData, ServerResponse], ids=lambda e: e.__name__
)
async def test_a_sink_that_fails_defers_the_mail_and_loses_none(event: type[Any]) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("broken")

    async with Remote() as remote, Stand(QUEUE.format(remote.port), at(event, fail)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "deferred"}
    assert not remote.copies()


@pytest.mark.parametrize("mechanism", ["LOGIN", "PLAIN"])
async def test_a_password_is_not_shown_to_sinks(mechanism: str) -> None:
    shown: list[str] = []
    settings = replace(hop_settings(tls=TlsSettings("none")), credentials=Credentials("user", "secret", in_clear=True))
    script = Script(face=Face(accounts={"user": "secret"}, mechanisms=(mechanism,), auth_needed=True))
    sink = at(ServerResponse, lambda e: shown.append(e.command))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), sink, settings=settings) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert f"AUTH {mechanism}" in shown
    assert len(remote.sessions[0].logins) == 1
    secrets = [base64.b64encode(secret).decode() for secret in (b"secret", b"\0user\0secret")]
    assert not any(secret in line for line in shown for secret in secrets)


class SetsAndFails(Sink[None]):
    @on(MessageStart, PerRecipient, Connecting, blocking=False)
    def edit(self, event: Any) -> None:
        if isinstance(event, Connecting):
            event.port = 9
        else:
            event.command += " X-BAD=1"
        raise RuntimeError("broken")


async def test_what_a_failing_sink_has_set_does_not_count() -> None:
    plug = Plug("broken", SetsAndFails(), on_error="continue")
    async with Remote() as remote, Stand(QUEUE.format(remote.port), plug) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert not any("X-BAD" in command for command in remote.commands)
