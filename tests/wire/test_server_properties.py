"""Whatever octets come, and however they are split, the machine says the same, makes progress, and keeps little."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.mail.reply import Reply
from penstock.wire.smtp.happening import NEED_DATA, PAUSED, Chunk, Closed, ContentEnd, Question, Refused
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.server import ServerMachine
from penstock.wire.smtp.settings import ServerSettings
from wire.driver import BANNER, HOSTNAME, Host

SMALL = ServerSettings(HOSTNAME, Limits(command_line=200, text_line=60, message_size=300, recipients=2, transactions=4, errors=6))
COMMANDS = """
EHLO x|HELO x|EHLO|MAIL FROM:<a@b>|MAIL FROM:<> SIZE=9999|MAIL FROM:<é@b> SMTPUTF8|RCPT TO:<a@b>|RCPT TO:<é@b>|RCPT TO:<a@b> NOTIFY=NEVER
DATA|.|..||BDAT 5|BDAT 0 LAST|BDAT 5 LAST|BDAT x|RSET|NOOP|QUIT|VRFY x|HELP|GET / HTTP/1.1|TURN|XQDEPTH 1
"""
WORDS = [command.encode() + b"\r\n" for line in COMMANDS.strip().split("\n") for command in line.split("|")]
WORDS += [b"\n", b"\r", b"abcde", b"\x16\x03\x01", b"\x00", b"\xff", b"x" * 61 + b"\r\n", b"y" * 250]
# Sessions that mostly make sense reach further than noise does.
START = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n"
stream = st.one_of(
    st.binary(min_size=1, max_size=400),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(b"".join),
    st.lists(st.sampled_from(WORDS), max_size=40).map(lambda words: START + b"".join(words)),
)


@given(stream, st.lists(st.integers(0, 3000), max_size=15))
@settings(max_examples=400)
def test_any_split_of_a_stream_gives_the_same_events_and_output(data: bytes, cuts: list[int]) -> None:
    whole, octets, split = Host(SMALL), Host(SMALL), Host(SMALL)
    whole.feed(data)
    for at in range(len(data)):
        octets.feed(data[at : at + 1])
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        if start < end:
            split.feed(data[start:end])
    for other in (octets, split):
        assert other.said == whole.said
        assert other.story() == whole.story()
        assert other.messages == whole.messages
        assert other.machine.state == whole.machine.state
    for host in (whole, octets, split):
        host.feed(b"")
    assert octets.happened[-1] == split.happened[-1] == whole.happened[-1]
    assert isinstance(whole.happened[-1], Closed)


@given(stream)
@settings(max_examples=300)
def test_every_command_line_gets_its_reply_before_the_next_one_is_read(data: bytes) -> None:
    host = Host(SMALL)
    host.feed(data)
    replies = sum(1 for line in host.said.split(b"\r\n") if line[3:4] == b" ")
    asked = sum(isinstance(happening, (Question, Refused)) for happening in host.happened)
    chunks = host.said.count(b"octets received")
    first_chunks = sum(happening.bdat for happening in host.happened if hasattr(happening, "bdat"))
    # The banner is one more; a DataStart of BDAT is answered with its chunk.
    assert replies == 1 + asked + chunks - first_chunks


@given(st.lists(stream, max_size=6), st.integers(0, 2**32))
def test_any_calls_that_the_state_allows_never_raise_or_hang(pieces: list[bytes], dice: int) -> None:
    verbs = ServerSettings(HOSTNAME, SMALL.limits, verbs=frozenset({"XQDEPTH"}))
    machine = ServerMachine(verbs)
    machine.greet(BANNER)
    for piece in [*pieces, b""]:
        machine.receive_data(piece)
        for _ in range(4 * len(piece) + 10):
            happening = machine.next_event()
            if happening is NEED_DATA:
                break
            assert happening is not PAUSED
            if isinstance(happening, ContentEnd) and happening.refusal:
                machine.refuse(happening.refusal)
            elif isinstance(happening, Question):
                assert machine.next_event() is PAUSED
                dice = dice * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
                if dice >> 62 == 0:
                    machine.refuse(Reply(451, "4.3.0", "Later"))
                elif type(happening).__name__ == "Verb" and dice >> 62 == 1:
                    machine.request_line()
                elif type(happening).__name__ == "Verb" and dice >> 62 == 2:
                    machine.request_bytes(3)
                else:
                    machine.accept()
            elif type(happening).__name__ == "Line" or getattr(happening, "remaining", 1) == 0:
                machine.accept()
        else:
            raise AssertionError("next_event makes no progress")
    assert machine.is_closed


def test_endless_input_of_any_kind_is_not_kept() -> None:
    endless = {
        "a line without end": (b"", b"x" * 4096),
        "lines with bare LF": (b"", b"x\n" * 2048),
        "carriage returns": (b"", b"\r" * 4096),
        "content that is too big": (START + b"DATA\r\n", b"x" * 48 + b"\r\n" + b".."),
        "content in one line": (START + b"DATA\r\n", b"x" * 4096),
        "a refused BDAT": (b"EHLO x\r\nBDAT 99999999999\r\n", b"x" * 4096),
        "an accepted BDAT": (START + b"BDAT 99999999999\r\n", b"x" * 4096),
    }
    for what, (start, more) in endless.items():
        host = Host(SMALL)
        host.feed(start)
        for _ in range(200):
            host.feed(more)
            assert host.machine.pending <= 200, what
        kept = sum(len(happening.data) for happening in host.happened if isinstance(happening, Chunk))
        assert kept <= SMALL.limits.message_size, what
        assert len(host.happened) < 10, what
