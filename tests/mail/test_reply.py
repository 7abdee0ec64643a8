"""A reply is one reply on the wire, whatever is put into it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.mail.reply import MAX_REPLY_LINE, Reply


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply(250, "2.0.0", "Ok"), b"250 2.0.0 Ok\r\n"),
        (Reply(354, "", "Go on"), b"354 Go on\r\n"),
        (Reply(250), b"250 \r\n"),
        (Reply(250, "", "mx\nSIZE 100\nDSN"), b"250-mx\r\n250-SIZE 100\r\n250 DSN\r\n"),
        (Reply(550, "5.7.1", "no\nreally"), b"550-5.7.1 no\r\n550 5.7.1 really\r\n"),
        (Reply(550, "5.7.1", "a\r\nb"), b"550-5.7.1 a\r\n550 5.7.1 b\r\n"),
        (Reply(550, "5.7.1", "a\rb\tc\x00d\x85e"), b"550 5.7.1 a b c d e\r\n"),
        (Reply(550, "5.7.1", "Grüße"), "550 5.7.1 Grüße\r\n".encode()),
        (Reply(550, "5.7.1\r\n250 Ok", "x"), b"550 x\r\n"),
        (Reply(550, "7.1", "x"), b"550 x\r\n"),
        (Reply(99, "", "x"), b"451 x\r\n"),
        (Reply(-250, "", "x"), b"451 x\r\n"),
        (Reply(550, "", "half \ud800"), b"550 half  \r\n"),
    ],
)
def test_a_reply_is_written_as_expected(reply: Reply, wire: bytes) -> None:
    assert reply.to_bytes() == wire


@given(st.integers(), st.text(), st.one_of(st.text(), st.text("ab\r\n\x00é\u2028", max_size=2000)))
def test_no_field_can_smuggle_a_second_reply(code: int, enhanced: str, text: str) -> None:
    lines = Reply(code, enhanced, text).to_bytes().split(b"\r\n")
    assert lines.pop() == b""
    codes = {line[:3] for line in lines}
    assert len(codes) == 1
    assert codes.pop().isdigit()
    assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert all(len(line) + 2 <= MAX_REPLY_LINE for line in lines)
    assert b"".join(lines).decode()


def test_a_long_line_is_cut_between_characters() -> None:
    assert Reply(250, "2.0.0", "é" * 400).to_bytes() == b"250 2.0.0 " + "é".encode() * 250 + b"\r\n"
    assert Reply(250, "2.0.0", "x" + "é" * 400).to_bytes() == b"250 2.0.0 x" + "é".encode() * 249 + b"\r\n"


@pytest.mark.parametrize(
    ("code", "kind"), [(250, "positive"), (354, "positive"), (421, "transient"), (499, "transient"), (550, "permanent")]
)
def test_the_first_digit_decides(code: int, kind: str) -> None:
    reply = Reply(code)
    assert {"positive": reply.is_positive, "transient": reply.is_transient, "permanent": reply.is_permanent} == {
        name: name == kind for name in ("positive", "transient", "permanent")
    }


def test_a_reply_reads_well_in_a_log() -> None:
    assert str(Reply(550, "5.7.1", "no\nreally")) == "550 5.7.1 no / really"
    assert Reply(550, "", "no\nreally").lines == ("no", "really")
