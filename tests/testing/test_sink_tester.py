"""``sink_tester`` asks a sink as the server would, about every event, and shows what came of it."""

from __future__ import annotations

import asyncio
import inspect
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock import Match, Reply, Sink, on
from penstock.errors import ConfigError, SinkError, SinkTimeout
from penstock.events import (
    Accepted,
    Bounce,
    Categorized,
    Delivered,
    Ehlo,
    EndOfData,
    EndOfHeaders,
    Helo,
    LocalDelivery,
    MailFrom,
    MessageStart,
    RcptTo,
    Resolve,
    Route,
    ServerResponse,
    SessionStart,
    Submission,
    Verb,
)
from penstock.events.catalog import CATALOG
from penstock.events.event import Event
from penstock.sinks.shields_up import ShieldsUp
from penstock.testing import SinkTester, SinkTesters
from penstock.testing.tester import method_name
from penstock.verdicts import Defer, Discard, Disconnect, Reject, Respond, Rewrite, RouteTo, Split, Suppress


def acting(event: type[Event], act: Any, **more: Any) -> Sink[None]:
    """A sink that does one thing at one event."""

    class Acting(Sink[None]):
        @on(event, **more)
        async def act(self, event: Any) -> Any:
            found = act(event)
            return await found if inspect.isawaitable(found) else found

    return Acting()


async def test_the_first_sample_refuses(sink_tester: SinkTesters) -> None:
    verdict = await sink_tester(ShieldsUp()).ehlo("client.example")
    assert verdict == Disconnect(421, "4.3.2", "Please try again later.")


@pytest.mark.parametrize("name", CATALOG)
async def test_every_event_of_the_catalogue_has_a_method(sink_tester: SinkTesters, name: str) -> None:
    event = CATALOG[name]
    seen: list[Event] = []
    mark = {"Verb": {"keyword": "XTEST"}, "Auth": {"mechanism": "X-TEST"}}.get(name, {})
    tester = sink_tester(acting(event, seen.append, **mark))
    arguments = {"Verb": ["XTEST"], "ServerResponse": ["MAIL", 501], "Auth": ["X-TEST"]}.get(name, [])
    await getattr(tester, method_name(event))(*arguments)
    assert [type(one) for one in seen] == [event]
    assert tester.fired == 1
    assert isinstance(tester.event, event)


async def test_any_event_can_be_asked_by_its_class_or_by_an_event_made_by_hand(sink_tester: SinkTesters) -> None:
    tester = sink_tester(acting(RcptTo, lambda event: Reject() if event.recipient.address.domain == "bad.example" else None))
    assert await tester.ask(RcptTo) is None
    tester.set_message(recipients=["x@bad.example"])
    [recipient] = tester.message.recipients
    assert await tester.ask(RcptTo(tester.facts(), recipient)) == Reject()


async def test_edits_are_shown_as_they_will_be_kept(sink_tester: SinkTesters) -> None:
    def edit(event: Submission) -> None:
        event.message.sender = "other@client.example"
        event.message.recipients.add("archive@example.com")
        event.message.header.add("X-Seen", "yes")

    tester = sink_tester(acting(Submission, edit))
    assert await tester.submission(b"Subject: a\n\nbody\n", recipients=["bob@example.com"]) is None
    assert str(tester.message.sender) == "other@client.example"
    assert tester.recipients == ["bob@example.com", "archive@example.com"]
    assert tester.message.header.get("X-Seen") == "yes"
    assert tester.content == b"Subject: a\r\nX-Seen: yes\r\n\r\nbody\r\n"


async def test_what_a_failing_sink_edited_is_undone_and_its_error_is_raised_in_the_test(sink_tester: SinkTesters) -> None:
    def edit(event: Submission) -> None:
        event.message.header.add("X-Seen", "yes")
        raise KeyError("no such thing")

    tester = sink_tester(acting(Submission, edit))
    with pytest.raises(KeyError, match="no such thing"):
        await tester.submission()
    assert "X-Seen" not in tester.message.header
    assert [line.event for line in tester.log.errors] == ["sink failed"]


async def test_with_on_error_the_test_sees_what_the_client_would(sink_tester: SinkTesters) -> None:
    tester = sink_tester(acting(RcptTo, lambda event: 1 / 0))
    tester.bound(on_error="reject")
    assert isinstance(await tester.rcpt_to(), Reject)
    assert tester.recipients == []
    tester.bound(on_error="continue")
    assert await tester.rcpt_to() is None
    assert tester.recipients == ["bob@example.com"]


async def test_a_verdict_that_the_event_does_not_admit_is_the_servers_error(sink_tester: SinkTesters) -> None:
    with pytest.raises(SinkError, match="cannot be answered with"):
        await sink_tester(acting(MailFrom, lambda event: Discard())).mail_from()


async def test_the_deadline_is_the_real_one(sink_tester: SinkTesters) -> None:
    tester = sink_tester(acting(Helo, lambda event: asyncio.sleep(10)))
    tester.bound(timeout=0.01)
    with pytest.raises(SinkTimeout):
        await tester.helo()


async def test_a_plain_def_runs_in_a_thread_and_may_block(sink_tester: SinkTesters) -> None:
    class Slow(Sink[None]):
        @on(RcptTo)
        def wait(self, event: RcptTo) -> Defer:
            time.sleep(0.001)
            return Defer()

    assert await sink_tester(Slow()).rcpt_to() == Defer()


async def test_conditions_hold_or_the_sink_is_not_asked(sink_tester: SinkTesters) -> None:
    tester = sink_tester(acting(RcptTo, lambda event: Reject()))
    tester.bound(match=Match(recipient="*@example.com", client="192.0.2.0/24"))
    assert await tester.rcpt_to("bob@other.example") is None
    assert tester.fired == 0
    assert await tester.rcpt_to("bob@example.com") == Reject()
    tester.set_session("198.51.100.7")
    assert await tester.rcpt_to("bob@example.com") is None


async def test_a_handler_that_could_never_work_is_refused_as_check_does(sink_tester: SinkTesters) -> None:
    class Wrong(Sink[None]):
        @on(RcptTo)
        async def refuse(self, event: RcptTo) -> Respond:
            return Respond()

    with pytest.raises(ConfigError, match="RcptTo cannot be answered with Respond"):
        sink_tester(Wrong())


@dataclass(frozen=True, slots=True)
class CopySettings:
    directory: Path
    suffix: str = ".eml"


class Copy(Sink[CopySettings]):
    life: list[str]

    async def start(self) -> None:
        self.life = ["started"]

    async def stop(self) -> None:
        self.life.append("stopped")

    @on(Submission)
    async def copy(self, event: Submission) -> None:
        await event.message.save(self.settings.directory / f"{event.message.id}{self.settings.suffix}")


async def test_a_class_is_made_with_settings_given_as_python_objects(sink_tester: SinkTesters, tmp_path: Path) -> None:
    tester = sink_tester(Copy, directory=tmp_path)
    await tester.submission(b"Subject: a\r\n\r\n")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"Subject: a\r\n\r\n"]


async def test_a_class_is_made_with_settings_as_they_stand_in_the_configuration(sink_tester: SinkTesters, tmp_path: Path) -> None:
    tester = sink_tester(Copy, {"directory": str(tmp_path), "suffix": ".txt"})
    assert tester.sink.settings == CopySettings(tmp_path, ".txt")
    with pytest.raises(ConfigError, match="folder"):
        sink_tester(Copy, {"folder": str(tmp_path)})
    with pytest.raises(ConfigError, match="folder"):
        sink_tester(Copy, folder=tmp_path)


async def test_a_sink_is_started_at_its_first_event_and_stopped_after_the_test(tmp_path: Path) -> None:
    testers = SinkTesters()
    tester = testers(Copy, directory=tmp_path)
    await tester.submission()
    await tester.submission()
    sink = tester.sink
    assert isinstance(sink, Copy)
    assert sink.life == ["started"]
    await testers.close()
    assert sink.life == ["started", "stopped"]


async def test_a_session_goes_on_with_what_the_sink_agreed_to(sink_tester: SinkTesters) -> None:
    class Visits(Sink[None]):
        @on(Ehlo)
        async def greet(self, event: Ehlo) -> None:
            event.session.state["name"] = event.name
            event.extensions.append("XTEST")

        @on(MailFrom)
        async def sender(self, event: MailFrom) -> None:
            event.message.state["helo"] = event.session.helo

        @on(RcptTo)
        async def recipient(self, event: RcptTo) -> Rewrite | Discard | None:
            if event.recipient.address.local == "nobody":
                return Discard()
            return Rewrite(event.recipient.address.with_domain("new.example"))

        @on(EndOfData)
        async def end(self, event: EndOfData) -> Reject | None:
            event.server.state["seen"] = len(event.message.recipients)
            return Reject() if b"bad" in event.message.content.read() else None

    tester = sink_tester(Visits())
    await tester.ehlo("mail.client.example")
    assert "XTEST" in getattr(tester.event, "offered", ())
    await tester.mail_from("a@client.example")
    assert tester.message_state == {"helo": "mail.client.example"}
    assert await tester.rcpt_to("bob@example.com") == Rewrite(tester.message.recipients[0].address)
    assert await tester.rcpt_to("nobody@example.com") == Discard()
    assert await tester.end_of_data(b"Subject: a\r\n\r\nbad\r\n") == Reject()
    assert tester.recipients == ["bob@new.example"]
    assert tester.session_state == {"name": "mail.client.example"}
    assert tester.server_state == {"seen": 1}


async def test_at_end_of_headers_nothing_but_the_header_is_there(sink_tester: SinkTesters) -> None:
    seen = []
    tester = sink_tester(
        acting(EndOfHeaders, lambda event: seen.append((event.message.header.get("Subject"), event.message.content.read())))
    )
    await tester.end_of_headers(b"Subject: a\r\n\r\nbody\r\n")
    assert seen == [("a", b"Subject: a\r\n\r\n")]
    assert tester.content == b"Subject: a\r\n\r\nbody\r\n"


async def test_forks_and_submitted_messages_are_shown_and_can_be_followed(sink_tester: SinkTesters) -> None:
    async def act(event: Submission) -> None:
        for recipient in event.message.recipients[1:]:
            event.message.fork([recipient])
        notice = event.server.new_message(sender="", recipients=["audit@example.com"], content=b"Subject: seen\n\n")
        await event.server.submit(notice)

    tester = sink_tester(acting(Submission, act))
    await tester.submission(recipients=["a@example.com", "b@example.com"])
    assert tester.recipients == ["a@example.com"]
    assert [[str(r.address) for r in fork.recipients] for fork in tester.forks] == [["b@example.com"]]
    assert [message.content.read() for message in tester.submitted] == [b"Subject: seen\r\n\r\n"]
    tester.follow(tester.submitted[0])
    await tester.submission()
    assert tester.fired == 0, "a sink is not asked about what it submitted"


async def test_a_verb_reads_the_lines_that_the_test_wrote_for_the_client(sink_tester: SinkTesters) -> None:
    async def act(event: Verb) -> Respond:
        line = await event.read_line(Reply(334, "", "Who?"))
        return Respond(250, "2.0.0", f"{event.argument} {line.decode()} {(await event.read_bytes(3)).decode()}")

    tester = sink_tester(acting(Verb, act, keyword="XHELLO"))
    assert await tester.verb("xhello there", lines=["Bob"], octets=b"abc") == Respond(250, "2.0.0", "there Bob abc")
    assert tester.client.prompts == [Reply(334, "", "Who?")]
    with pytest.raises(ConnectionError):
        await tester.verb("XHELLO there")


async def test_directories_answer_item_by_item(sink_tester: SinkTesters) -> None:
    def act(event: Resolve) -> None:
        for item in event.open:
            item.expand(["x@example.com"]) if item.address.local == "list" else item.fail()

    items = await sink_tester(acting(Resolve, act)).resolve("list@example.com", "bob@example.com")
    assert [(item.decision, [str(m) for m in item.members]) for item in items] == [("expanded", ["x@example.com"]), ("failed", [])]


async def test_routes_and_splits_are_returned_though_they_go_on_with_the_next_binding(sink_tester: SinkTesters) -> None:
    routed = RouteTo("relay.example:25")
    tester = sink_tester(acting(Route, lambda event: routed if event.destination == "example.com" else None))
    assert await tester.route("example.com") == routed
    assert await tester.route("other.example") is None
    splitter = sink_tester(acting(Categorized, lambda event: Split((("b@example.com",),))))
    assert isinstance(await splitter.categorized(recipients=["a@example.com", "b@example.com"]), Split)
    assert (splitter.recipients, len(splitter.forks)) == (["a@example.com"], 1)


async def test_a_recipient_is_edited_at_delivery(sink_tester: SinkTesters) -> None:
    def act(event: LocalDelivery) -> Defer:
        event.recipient.properties["tries"] = event.attempt
        return Defer(after=timedelta(minutes=5))

    tester = sink_tester(acting(LocalDelivery, act))
    assert await tester.local_delivery("carol@example.com", attempt=2) == Defer(after=timedelta(minutes=5))
    assert tester.message.recipients[0].properties == {"tries": 2}


async def test_a_report_that_is_about_to_be_sent_can_be_edited_or_suppressed(sink_tester: SinkTesters) -> None:
    def act(event: Bounce) -> Suppress | None:
        event.message.header.add("X-Reason", event.reasons[0])
        return Suppress("quiet") if event.reasons[0] == "quiet" else None

    tester = sink_tester(acting(Bounce, act))
    assert await tester.bounce("No such user") is None
    assert tester.notice.header.get("X-Reason") == "No such user"
    assert b"Final-Recipient: rfc822; bob@example.com" in tester.notice.content.read()
    assert await tester.bounce("quiet") == Suppress("quiet")


async def test_the_remote_server_answers_what_the_test_wrote_down(sink_tester: SinkTesters) -> None:
    class Asks(Sink[None]):
        @on(SessionStart)
        async def ask(self, event: SessionStart) -> None:
            if "XQDEPTH" in event.remote.extensions:
                event.session.state["depth"] = (await event.send("XQDEPTH")).text

        @on(MessageStart)
        async def edit(self, event: MessageStart) -> None:
            event.command += f" XDEPTH={event.session.state['depth']}"

    tester = sink_tester(Asks())
    tester.set_remote(extensions=["XQDEPTH"], replies={"XQDEPTH": "250 2.0.0 17"})
    await tester.session_start()
    assert tester.remote.sent == ["XQDEPTH"]
    assert tester.remote_state == {"depth": "17"}
    await tester.message_start()
    assert getattr(tester.event, "command", "") == "MAIL FROM:<alice@client.example> XDEPTH=17"


async def test_a_reply_is_written_as_code_or_as_line(sink_tester: SinkTesters) -> None:
    seen: list[Any] = []
    tester = sink_tester(acting(ServerResponse, lambda event: seen.append((event.verb, event.command, event.reply))))
    tester.bound(match=Match(verb="MAIL", code="5xx"))
    await tester.server_response("MAIL", "501 5.5.4 Syntax error")
    await tester.server_response("RCPT", 550)
    await tester.server_response("MAIL", 451)
    assert seen == [("MAIL", "MAIL FROM:<alice@client.example>", Reply(501, "5.5.4", "Syntax error"))]


async def test_reports_are_told_before_the_method_returns(sink_tester: SinkTesters) -> None:
    class Told(Sink[None]):
        @on(Delivered, Accepted)
        def note(self, event: Delivered | Accepted) -> None:
            time.sleep(0.01)
            self.log.info("noted", message=event.message.id)

        @on(ServerResponse)
        async def other(self, event: ServerResponse) -> None: ...

    tester = sink_tester(Told())
    await tester.accepted()
    await tester.delivered()
    assert tester.log.events == ["noted", "noted"]
    assert tester.log.named("noted")[0]["message"] == tester.message.id


def test_a_sync_test_can_make_a_tester_too(sink_tester: SinkTesters) -> None:
    assert isinstance(sink_tester(ShieldsUp()), SinkTester)
