"""Content leaves so that a server gets exactly what was meant: nothing but dots added, and never a bare CR or LF on the wire."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import LocalProtocolError
from penstock.wire.smtp.content import ContentRules, DataDecoder
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.stuffing import LineEnds, Stuffing, content_problem

TRICKY = [b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\r\n.", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\r\r\n", b"\x00", b"\xff"]
content = st.lists(st.sampled_from(TRICKY), max_size=14).map(b"".join)
legal = st.lists(st.sampled_from([b".", b"..", b"a.", b"", b".a", b"\x00\xff"]), max_size=10).map(lambda lines: b"\r\n".join(lines))
cuts = st.lists(st.integers(0, 100), max_size=8)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in at), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def stuffed(parts: list[bytes], convert: bool = True) -> bytes:
    stuffing = Stuffing(convert)
    return b"".join([stuffing.feed(part) for part in parts] + [stuffing.finish()])


def decoded(wire: bytes) -> bytes:
    """What our server makes of it; it must use all octets, and find nothing to refuse."""
    decoder = DataDecoder(ContentRules(Limits(text_line=0)))
    data, used = decoder.feed(wire)
    assert decoder.ended
    assert used == len(wire)
    assert decoder.rules.refusal is None
    return data


def meant(data: bytes) -> bytes:
    """The conversion in the plainest words: LF is a line end with or without CR, any other CR is a space, and the last line has its end."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    return data if not data or data.endswith(b"\r\n") else data + b"\r\n"


@given(legal, cuts)
def test_legal_content_comes_through_exactly(data: bytes, at: list[int]) -> None:
    whole = data if not data or data.endswith(b"\r\n") else data + b"\r\n"
    for convert in (True, False):
        assert decoded(stuffed(pieces(data, at), convert)) == whole


@given(content, cuts)
@settings(max_examples=300)
def test_any_content_ends_once_and_has_no_bare_cr_or_lf(data: bytes, at: list[int]) -> None:
    wire = stuffed(pieces(data, at))
    assert decoded(wire) == meant(data)
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", wire)
    assert wire == stuffed([data])
    assert wire == stuffed([data[i : i + 1] for i in range(len(data))])


@given(content, cuts)
def test_refusing_is_for_exactly_what_converting_would_change(data: bytes, at: list[int]) -> None:
    parts = pieces(data, at)
    bare = bool(re.search(rb"(?<!\r)\n|\r(?!\n)", data))
    assert content_problem(parts) is bare
    if bare:
        with pytest.raises(LocalProtocolError, match="bare CR or LF"):
            stuffed(parts, convert=False)
    else:
        assert stuffed(parts, convert=False) == stuffed(parts)


@given(content, cuts)
def test_line_ends_are_made_the_same_way_for_bdat(data: bytes, at: list[int]) -> None:
    ends = LineEnds()
    out = b"".join([ends.feed(part) for part in pieces(data, at)] + [ends.finish()])
    assert out == meant(data) or out + b"\r\n" == meant(data)
    assert not content_problem([out])


@pytest.mark.parametrize(
    ("parts", "wire"),
    [
        ([], b".\r\n"),
        ([b""], b".\r\n"),
        ([b"."], b"..\r\n.\r\n"),
        ([b"a"], b"a\r\n.\r\n"),
        ([b"a\r\n"], b"a\r\n.\r\n"),
        ([b"a\r", b"\n", b".b"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\r", b"", b"\n."], b"a\r\n..\r\n.\r\n"),
        ([b"a\n.\nMAIL FROM:<x@y>\n"], b"a\r\n..\r\nMAIL FROM:<x@y>\r\n.\r\n"),
        ([b"a\r\n.\rMAIL"], b"a\r\n.. MAIL\r\n.\r\n"),
        ([b"Subject: x\r\r\nTo: y\r\n"], b"Subject: x \r\nTo: y\r\n.\r\n"),
        ([b"a\r"], b"a \r\n.\r\n"),
    ],
)
def test_what_goes_over_the_wire(parts: list[bytes], wire: bytes) -> None:
    assert stuffed(parts) == wire
