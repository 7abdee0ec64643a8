"""What a sink can do on the loop it can do in a process: the same views, the same edits, the same answers of the server."""

from __future__ import annotations

import asyncio
import gc
import os
from datetime import timedelta
from pathlib import Path

import pytest

from events.harness import addresses, content_of, message_work, session_work
from events.making import NoWire
from isolation.running import alive, at_end, eventually, isolated, titled
from isolation.sinks import Deeds, DeedSettings, Inner, Keeper, Misdeeds, NeverStarts
from penstock.errors import SinkError
from penstock.events.catalog import (
    Auth,
    Categorized,
    Ehlo,
    EndOfData,
    MailFrom,
    MessageStart,
    RcptTo,
    Resolve,
    Route,
    SessionEnded,
    SessionStart,
    Submission,
    Verb,
)
from penstock.events.chain import Chain
from penstock.events.dispatch import Outcome
from penstock.events.plug import ProcessSettings
from penstock.events.work import Dialogue
from penstock.mail.reply import Reply
from penstock.verdicts import Authenticated, Defer, Reject, Respond


class Client(Dialogue):
    """A client that answers."""

    def __init__(self, *responses: bytes) -> None:
        self.prompts: list[object] = []
        self.responses = list(responses)

    async def line(self, prompt: Reply | None) -> bytes:
        self.prompts.append(prompt)
        return b"a line"

    async def block(self, size: int) -> bytes:
        return b"x" * size

    async def response(self, challenge: bytes) -> bytes:
        self.prompts.append(challenge)
        return self.responses.pop(0)


async def test_edits_of_an_event_count_when_the_handler_returns() -> None:
    async with isolated(Deeds) as harness:
        greeting = harness.make(Ehlo)
        assert isinstance(greeting, Ehlo)
        assert await harness.ask(greeting) is None
        assert greeting.offered == ["PIPELINING", "XMORE"]
        rcpt = harness.make(RcptTo)
        assert isinstance(rcpt, RcptTo)
        assert await harness.ask(rcpt) is None
        assert str(rcpt.work.address) == "bob@inner.example"
        assert rcpt.work.properties == {"seen": [1, {"two": b"3"}]}
        start = harness.make(MessageStart)
        assert isinstance(start, MessageStart)
        assert await harness.ask(start) is None
        start.restore()
        assert start.command == "MAIL FROM:<alice@example.com> RET=HDRS"
        assert harness.errors == ""


async def test_verdicts_that_edit_are_obeyed() -> None:
    async with isolated(Deeds) as harness:
        mail = harness.make(MailFrom, message_work(sender="old@example.com"))
        assert await harness.ask(mail) is None
        assert mail.facts.message is not None
        assert str(mail.facts.message.record.envelope.sender) == "new@example.org"
        route = harness.make(Route)
        assert isinstance(route, Route)
        assert await harness.ask(route) is None
        assert str(route.next_hop) == "[relay.example]:26" or str(route.next_hop) == "mx:relay.example:26"
        assert route.proposal is not None
        assert route.proposal.message_class == "example-com"


async def test_what_a_sink_remembers_of_a_session_is_kept_by_the_server() -> None:
    async with isolated(Deeds) as harness:
        session = session_work()
        session.states = {"other": {"connection": object(), "plain": 1}}
        for sender in ("a@example.com", "b@example.com"):
            await harness.ask(harness.make(MailFrom, message_work(sender=sender), session))
        assert session.states["sink0"] == {"senders": ["a@example.com", "b@example.com"]}
        assert session.states["all"] == {"pid": harness.process.pids[0]}
        assert session.states["other"].keys() == {"connection", "plain"}


async def test_what_is_no_plain_data_cannot_be_remembered_and_the_error_says_so() -> None:
    async with isolated(Deeds) as harness:
        event = at_end(harness, "strange")
        assert isinstance(await harness.ask(event), Defer)
        assert "session.state['thing']" in harness.errors
        assert "a sink process can share plain data only" in harness.errors


async def test_a_handler_that_raises_leaves_nothing_and_the_log_says_where() -> None:
    async with isolated(Deeds) as harness:
        event = at_end(harness, "raise")
        assert isinstance(await harness.ask(event), Defer)
        assert event.facts.message is not None
        assert b"X-Lost" not in content_of(event.facts.message)
        assert event.facts.session is not None
        assert event.facts.session.states == {}
        assert "ValueError: on purpose" in harness.errors
        assert "sinks.py, line" in harness.errors


async def test_a_header_edit_changes_nothing_else_of_a_large_message() -> None:
    body = os.urandom(4_000_000).replace(b"\n", b"x").replace(b"\r", b"y")
    async with isolated(Deeds) as harness:
        work = message_work(b"Subject: hello\r\n\r\n" + body)
        assert await harness.ask(harness.make(EndOfData, work)) is None
        pid = harness.process.pids[0]
        assert content_of(work) == b"Subject: hello\r\nX-Process: %d\r\n\r\n" % pid + body
        assert not work.rewritten


async def test_a_new_content_comes_back_as_sealed_memory() -> None:
    async with isolated(Deeds) as harness:
        event = at_end(harness, "large")
        assert await harness.ask(event) is None
        work = event.facts.message
        assert work is not None
        assert content_of(work) == b"Subject: larger\r\n\r\n" + b"x" * 3_000_000
        assert work.rewritten


async def test_copies_go_on_beside_the_message() -> None:
    async with isolated(Deeds) as harness:
        work = message_work(recipients=("bob@example.com", "carol@example.com"))
        assert await harness.ask(harness.make(Submission, work)) is None
        assert addresses(work) == ["carol@example.com", "archive@example.com"]
        (copy,) = work.forks
        assert addresses(copy) == ["bob@example.com"]
        assert copy.record.parent == work.record.id
        assert copy.record.depth == 1
        assert b"X-Copy: 1" in content_of(copy)
        assert b"X-Copy" not in content_of(work)
        assert work.record.state == {"sink0": {"was": "here"}}
        assert work.record.done == copy.record.done == ["sink0:spread"]


async def test_a_split_makes_each_copy_once() -> None:
    async with isolated(Deeds) as harness:
        work = message_work(recipients=("a@example.com", "b@example.com", "c@example.com"))
        assert await harness.ask(harness.make(Categorized, work)) is None
        assert addresses(work) == ["a@example.com"]
        assert sorted(addresses(fork)[0] for fork in work.forks) == ["b@example.com", "c@example.com"]


async def test_the_server_can_be_asked_and_mail_submitted() -> None:
    async with isolated(Deeds) as harness:
        harness.server.depth = 5
        assert await harness.ask(harness.make(Submission, titled("x"))) is None
        line = await harness.line("submitted")
        (sent,) = harness.server.submitted
        assert line["id"] == sent.record.id
        assert (line["depth"], line["released"], harness.server.released) == (5, 5, "mx:x")
        assert sent.record.origin == "sink"
        assert sent.record.generation == 1
        assert sent.record.skip == ["sink0"]
        assert content_of(sent) == b"Subject: audit\r\n\r\nbody\r\n"


async def test_a_verb_talks_to_the_client() -> None:
    async with isolated(Deeds) as harness:
        client = Client()
        verb = harness.make(Verb, keyword="XASK", dialogue=client)
        assert await harness.ask(verb) == Respond(250, "2.0.0", "a line xxx 0")
        assert client.prompts == [Reply(334, "", "go on")]


async def test_a_mechanism_of_auth_asks_its_challenges() -> None:
    async with isolated(Deeds) as harness:
        client = Client(b"1234")
        event = Auth(harness.facts(session=session_work()), "X-OTP", b"alice", client)
        outcome = harness.dispatcher.ask(event, Chain([b for b in harness.bindings.all if b.event is Auth]))
        assert not isinstance(outcome, Outcome)
        assert (await outcome).verdict == Authenticated("alice")
        assert client.prompts == [b"Code:"]


async def test_a_session_start_talks_to_the_remote_server() -> None:
    async with isolated(Deeds) as harness:
        event = harness.make(SessionStart, wire=NoWire())
        assert await harness.ask(event) is None
        assert event.facts.outbound is not None
        assert event.facts.outbound.states == {"sink0": {"said": "heard XQDEPTH"}}


async def test_addresses_are_resolved_in_a_thread_of_the_process() -> None:
    async with isolated(Deeds) as harness:
        event = harness.make(Resolve)
        assert isinstance(event, Resolve)
        assert await harness.ask(event) is None
        (item,) = event.kept
        assert item.decision == "expanded"
        assert [str(member) for member in item.members] == ["one@example.com", "two@example.com"]
        assert str(item.sender) == "owner@example.com"
        assert item.attributes == {"found": True}


async def test_reports_are_told_and_logs_come_to_the_servers_log() -> None:
    async with isolated(Deeds) as harness:
        session = session_work()
        session.states = {"sink0": {"b": 1, "a": 2}}
        await harness.tell(harness.make(SessionEnded, session=session))
        line = await harness.line("session over")
        assert (line["reason"], line["known"], line["binding"]) == ("quit", "['a', 'b']", "sink0")


async def test_settings_go_to_the_process_by_value_and_can_be_changed() -> None:
    async with isolated(Deeds, DeedSettings(Path("/here"), Inner(timedelta(minutes=2), ("x",)))) as harness:
        who = harness.make(MailFrom, message_work(sender="who@example.com"))
        assert await harness.ask(who) == Reject(550, "5.7.1", "/here 0:02:00 ('x',) True")
        await harness.process.settings_changed(DeedSettings(Path("/there")))
        assert (await harness.line("other settings"))["folder"] == "/there"
        assert await harness.ask(who) == Reject(550, "5.7.1", "/there 0:00:03 ('a', 'b') True")


async def test_start_and_stop_are_called_in_the_process() -> None:
    async with isolated(Deeds) as harness:
        pid = harness.process.pids[0]
        assert (await harness.line("started here"))["pid_here"] == pid != os.getpid()
        await harness.process.stop()
        assert harness.lines("stopped here")
        assert not alive(pid)
        event = at_end(harness, "x")
        assert isinstance(await harness.ask(event), Defer)
        assert "its process is stopped" in harness.errors


async def test_stopping_lets_calls_under_way_end() -> None:
    async with isolated(Misdeeds) as harness:
        asked = asyncio.ensure_future(harness.ask(at_end(harness, "slow")))
        await eventually(lambda: bool(harness.process._seats[0]._flights), "the call is under way")
        await harness.process.stop(5.0)
        assert isinstance(await asked, Reject)


async def test_a_sink_that_does_not_start_says_why_and_leaves_nothing() -> None:
    async with isolated(NeverStarts, start=False) as harness:
        with pytest.raises(SinkError, match="ValueError: no such directory"):
            await harness.process.start()


async def test_a_sink_may_have_several_processes_and_a_session_stays_in_one() -> None:
    async with isolated(Deeds, process=ProcessSettings(processes=3)) as harness:
        assert len(set(harness.process.pids)) == 3
        pids: dict[str, set[int]] = {}
        for number in range(30):
            session = session_work()
            session.id = f"s{number % 10}"
            await harness.ask(harness.make(MailFrom, session=session))
            pids.setdefault(session.id, set()).add(session.states["all"]["pid"])
        assert all(len(found) == 1 for found in pids.values())
        assert len(set.union(*pids.values())) > 1


async def test_calls_of_one_process_run_at_once() -> None:
    async with isolated(Misdeeds) as harness:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await asyncio.gather(*(harness.ask(at_end(harness, "slow")) for _ in range(20)))
        assert all(isinstance(answer, Reject) for answer in answers)
        assert loop.time() - began < 5


async def test_what_is_kept_for_a_session_lives_as_long_as_the_session() -> None:
    async with isolated(Keeper) as harness:
        first, second = session_work(), session_work()
        second.id = "s2"
        for session, text in ((first, "1 of 1"), (second, "1 of 2"), (first, "2 of 2")):
            assert await harness.ask(harness.make(MailFrom, session=session)) == Reject(550, "5.7.1", text)
        assert not harness.lines("visit closed")
        del first, session
        gc.collect()
        assert (await harness.line("visit closed"))["count"] == 2
        assert await harness.ask(harness.make(MailFrom, session=second)) == Reject(550, "5.7.1", "2 of 1")
        await harness.process.stop()
        assert len(harness.lines("visit closed")) == 2
