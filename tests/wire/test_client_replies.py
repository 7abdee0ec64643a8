"""A reply is its code; whatever else a server sends is survived, in whatever pieces, and little of it is kept."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.mail.address import Address
from penstock.mail.envelope import Recipient
from penstock.mail.reply import Reply
from penstock.wire.smtp.client import ClientMachine
from penstock.wire.smtp.client_events import NEED_DATA, Banner, Broken, Closed, Event
from penstock.wire.smtp.client_settings import ClientLimits, ClientSettings
from penstock.wire.smtp.outgoing import Bdat, Data, Mail, Rcpt, Reset

SMALL = ClientLimits(reply_line=30, reply_text=60, reply=400)
SETTINGS = ClientSettings("x", limits=SMALL)


def banner(data: bytes, limits: ClientLimits | None = None) -> Event:
    """What a new machine makes of these octets."""
    machine = ClientMachine(ClientSettings("x", limits=limits or ClientLimits()))
    machine.receive_data(data)
    event = machine.next_event()
    assert not isinstance(event, type(NEED_DATA)), "no event"
    return event


REPLIES = [
    (b"220 mx ESMTP\r\n", Reply(220, "", "mx ESMTP")),
    (b"250\r\n", Reply(250, "", "")),
    (b"250 \r\n", Reply(250, "", "")),
    (b"250-\r\n250\r\n", Reply(250, "", "\n")),
    (b"220-a\r\n220-\r\n220 b\r\n", Reply(220, "", "a\n\nb")),
    (b"220-a\n220 b\n", Reply(220, "", "a\nb")),
    (b"550-a\r\n250 b\r\n", Reply(250, "", "a\nb")),
    (b"299 new\r\n", Reply(299, "", "new")),
    (b"599 new\r\n", Reply(599, "", "new")),
    (b"550 5.7.1 No\r\n", Reply(550, "5.7.1", "No")),
    (b"550 5.7.1\r\n", Reply(550, "5.7.1", "")),
    (b"550-5.7.1 No\r\n550-5.7.1\r\n550-5.7.12 x\r\n550 and\r\n", Reply(550, "5.7.1", "No\n\n5.7.12 x\nand")),
    (b"550 2.0.0 Ok?\r\n", Reply(550, "", "2.0.0 Ok?")),
    (b"550 5.7.1: No\r\n", Reply(550, "", "5.7.1: No")),
    (b"550 5.7.1234 No\r\n", Reply(550, "", "5.7.1234 No")),
    (b"250 a\x00b\rc\x1b[1m\td\r\n", Reply(250, "", "a b c [1m\td")),
    (b"250 gr\xc3\xbc\xc3\x9fe \xff\r\n", Reply(250, "", "gr\xfc\xdfe \ufffd")),
    (b"250 \xe2\x80\xa8x\r\n", Reply(250, "", " x")),
    (b"250 a\r\r\n", Reply(250, "", "a ")),
]


@pytest.mark.parametrize(("data", "reply"), REPLIES, ids=[str(data) for data, _ in REPLIES])
def test_what_is_a_reply(data: bytes, reply: Reply) -> None:
    assert banner(data) == Banner(reply)
    # Nothing that a server says can become two lines of somebody's log or report.
    assert "\r" not in reply.text


@pytest.mark.parametrize(
    "data",
    [
        *(b"foo bar\r\n", b"\r\n", b"\n", b"25\r\n", b"2500 x\r\n", b"250x\r\n", b"150 x\r\n", b"650 x\r\n", b"099 x\r\n", b" 250 x\r\n"),
        *(b"250_x\r\n", b"250\tx\r\n", b"-250 x\r\n", b"\x16\x03\x01\x00\n", "٢٥٠ x\r\n".encode(), b"250-x\r\nfoo\r\n", b"250-x\r\n\r\n"),
    ],
)
def test_what_is_no_reply_breaks_the_session(data: bytes) -> None:
    machine = ClientMachine(SETTINGS)
    machine.receive_data(data + b"220 x\r\n")
    event = machine.next_event()
    assert isinstance(event, Broken)
    assert event.what.isprintable()
    assert isinstance(machine.next_event(), Closed)
    assert machine.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("data", "text", "cut"),
    [
        (b"220 " + b"x" * 26 + b"\r\n", "x" * 26, False),
        (b"220 " + b"x" * 26 + b"\n", "x" * 26, False),
        (b"220 " + b"x" * 27 + b"\r\n", "x" * 26, True),
        (b"220 " + b"x" * 26 + b"\r\r\n", "x" * 26, True),
        (b"220 " + b"x" * 200 + b"\r\n", "x" * 26, True),
        (b"220-aaaaaaaaaaaaaaaaaaa\r\n" * 3 + b"220 b\r\n", "\n".join(["a" * 19] * 3), True),
        (b"220-aaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 2 + b"220 bbbbbbbbbbb\r\n", "\n".join(["a" * 25] * 2 + ["bbbbbbb"]), True),
    ],
)
def test_the_excess_of_a_reply_is_dropped_and_flagged(data: bytes, text: str, cut: bool) -> None:
    for size in (1, 7, len(data)):
        machine = ClientMachine(SETTINGS)
        for at in range(0, len(data), size):
            assert machine.next_event() is NEED_DATA
            machine.receive_data(data[at : at + size])
        assert machine.next_event() == Banner(Reply(220, "", text), cut)


def test_ten_thousand_lines_and_lines_of_a_mebibyte_are_survived() -> None:
    many = banner(b"220-line\r\n" * 10_000 + b"220 end\r\n")
    assert isinstance(many, Banner)
    assert (many.cut, len(many.reply.text)) == (False, 10_000 * 5 + 3)
    long = banner(b"220 " + b"x" * 1024 * 1024 + b"\r\n")
    assert isinstance(long, Banner)
    assert (long.cut, len(long.reply.text)) == (True, 8 * 1024 - 4)


@pytest.mark.parametrize("piece", [b"220-\r\n", b"x" * 64, b"\r", b"220-" + b"y" * 60 + b"\n", b"250-\n"])
def test_a_reply_without_an_end_is_given_up_and_never_kept(piece: bytes) -> None:
    machine = ClientMachine(SETTINGS)
    events = []
    for _ in range(1000):
        machine.receive_data(piece)
        while not isinstance(event := machine.next_event(), type(NEED_DATA)):
            events.append(event)
        assert machine.pending <= SMALL.reply_line + SMALL.reply_text + 1
    assert [type(event) for event in events] == [Broken, Closed]


# Streams that answer a group of commands, some of them badly.
WORDS = [
    b"250 ok\r\n",
    b"250-a\r\n",
    b"250\n",
    b"354 go\r\n",
    b"550 5.7.1 no\r\n",
    b"421 bye\r\n",
    b"220 mx\r\n",
    b"334 x\r\n",
    b"450 later\r\n",
]
WORDS += [b"250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE 10\r\n", b"250 " + b"z" * 40 + b"\r\n", b"\r", b"\n", b"\xff", b"foo\r\n", b"250-"]
START = b"220 mx\r\n250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n"
stream = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(b"".join),
    st.lists(st.sampled_from(WORDS[:9]), max_size=20).map(lambda words: START + b"".join(words)),
)
PLANS = (
    (Mail("MAIL FROM:<a@b>", Address("a", "b")), Rcpt("RCPT TO:<c@d>", Recipient(Address("c", "d"))), Data(), Reset()),
    (
        Mail("MAIL FROM:<a@b>", Address("a", "b")),
        *[Rcpt("RCPT TO:<c@d>", Recipient(Address("c", "d")))] * 2,
        Bdat(0),
        Bdat(2, last=True),
        Reset(),
    ),
)


class Sender:
    """A host that sends what it may of a plan after each event, and content whenever it is due."""

    def __init__(self, plan: int, protocol: int) -> None:
        self.machine = ClientMachine(ClientSettings("x", "lmtp" if protocol else "smtp", SMALL))
        self.plan = [self.machine._settings.greeting(), *PLANS[plan] * 2]
        self.events: list[Event] = []

    def feed(self, data: bytes) -> None:
        machine = self.machine
        machine.receive_data(data)
        for _ in range(4 * len(data) + 10):
            event = machine.next_event()
            if isinstance(event, type(NEED_DATA)):
                return
            self.events.append(event)
            self._go_on()
        raise AssertionError("next_event makes no progress")

    def _go_on(self) -> None:
        machine = self.machine
        if machine.state.name == "GO_AHEAD" and not machine.outstanding:
            machine.begin_content()
            machine.end_content()
        while self.plan and machine.may_send(self.plan[0]):
            command = self.plan.pop(0)
            machine.send(command)
            if isinstance(command, Bdat) and command.size:
                machine.content(b"\r\n")


@given(stream, st.integers(0, 1), st.integers(0, 1), st.lists(st.integers(0, 3000), max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_split_of_a_stream_gives_the_same_events(data: bytes, plan: int, protocol: int, cuts: list[int]) -> None:
    whole, octets, split = (Sender(plan, protocol) for _ in range(3))
    whole.feed(data)
    for at in range(len(data)):
        octets.feed(data[at : at + 1])
    for start, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        if start < end:
            split.feed(data[start:end])
    for host in (whole, octets, split):
        host.feed(b"")
        assert host.machine.pending <= SMALL.reply_line + SMALL.reply_text + 1
        assert isinstance(host.events[-1], Closed)
        assert sum(isinstance(event, Closed) for event in host.events) == 1
    assert octets.events == split.events == whole.events
    assert octets.machine.data_to_send() == split.machine.data_to_send() == whole.machine.data_to_send()
