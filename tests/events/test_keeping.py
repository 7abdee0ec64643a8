"""What a sink keeps for a session or a message: one object for all its handlers, closed when that is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from events.harness import Harness, message_work, session_work
from hosts.running import Running, until
from penstock import PerMessage, PerSession, Sink, on
from penstock.events import Accepted, EndOfData, MailFrom, RcptTo, ServerStarted, SessionEnded, Submission
from penstock.events.keeping import close_kept
from transport.sinks import Mailbox


class Visit:
    """What is kept; notes its end."""

    closed: list[str]

    def __init__(self) -> None:
        self.seen: list[str] = []

    def close(self) -> None:
        Visit.closed.append(",".join(self.seen))


class Slow(Visit):
    """One whose end has to be waited for."""

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.close()


class Counting(Sink[None]):
    """Keeps both kinds, from the loop and from threads."""

    visits = PerSession(Visit)
    parcels = PerMessage(Slow)

    @on(MailFrom, RcptTo, EndOfData)
    async def look(self, event: MailFrom | RcptTo | EndOfData) -> None:
        self.visits[event].seen.append(type(event).__name__)
        self.parcels[event].seen.append(type(event).__name__)

    @on(Submission, Accepted)
    def later(self, event: Submission | Accepted) -> None:
        self.parcels[event].seen.append(type(event).__name__)

    @on(SessionEnded)
    async def ended(self, event: SessionEnded) -> None:
        await asyncio.sleep(0.02)
        self.visits[event].seen.append("SessionEnded")


@pytest.fixture(autouse=True)
def _nothing_closed() -> None:
    Visit.closed = []


async def test_all_handlers_share_one_object_which_is_closed_when_session_and_message_are_gone() -> None:
    sink = Counting()
    async with Running(sink, Mailbox()) as server:
        client = await server.client()
        assert "queued as" in await client.send()
        await until(lambda: Visit.closed, "the message is gone")
        assert len(sink.parcels) == 0
        assert len(sink.visits) == 1
        await client.say("QUIT")
        client.close()
        await until(lambda: len(Visit.closed) == 2, "the session is gone")
    parcel, visit = Visit.closed
    assert parcel.split(",")[:3] == ["MailFrom", "RcptTo", "EndOfData"]
    assert set(parcel.split(",")[3:]) == {"Submission", "Accepted"}
    assert visit == "MailFrom,RcptTo,EndOfData,SessionEnded"
    assert len(sink.visits) == 0


async def test_each_session_has_its_own_and_a_lost_one_is_closed_too() -> None:
    sink = Counting()
    async with Running(sink, Mailbox()) as server:
        clients = [await server.client() for _ in range(3)]
        for client in clients:
            await client.say("EHLO a.example", "MAIL FROM:<a@client.example>")
        assert len(sink.visits) == 3
        clients[0].reset()
        clients[1].close()
        await until(lambda: len(sink.visits) == 1, "two are gone")
        assert all(seen in ("MailFrom", "MailFrom,SessionEnded") for seen in Visit.closed)
        await clients[2].say("RSET")
        await until(lambda: len(sink.parcels) == 0, "the transactions are gone")


async def test_what_is_left_when_a_sink_stops_is_closed_and_a_fault_in_that_is_only_logged(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Visit):
        def close(self) -> None:
            raise OSError("no")

    class Keeps(Sink[None]):
        fine = PerSession(Slow)
        broken = PerSession(Broken)

        @on(MailFrom)
        async def look(self, event: MailFrom) -> None:
            self.fine[event].seen.append("x")
            self.broken[event].seen.append("y")

    sink = Keeps()
    harness = Harness.of(sink)
    session = session_work()
    await harness.ask(harness.make(MailFrom, session=session))
    await close_kept(sink)
    assert Visit.closed == ["x"]
    assert len(sink.fine) == len(sink.broken) == 0


async def test_an_event_about_no_session_has_none() -> None:
    sink = Counting()
    harness = Harness.of(sink)
    event: Any = ServerStarted(harness.facts())
    with pytest.raises(LookupError, match="ServerStarted is about no session"):
        sink.visits[event]
    event = harness.make(Submission, message=message_work())
    with pytest.raises(LookupError, match="no session"):
        sink.visits[event]
    assert sink.parcels[event] is sink.parcels[event]


def test_two_objects_of_one_class_keep_apart() -> None:
    assert Counting().visits is not Counting().visits
    assert isinstance(Counting.visits, PerSession)
