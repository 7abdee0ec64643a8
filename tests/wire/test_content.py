"""Content comes out as it was sent, ends only where it ends, and is refused when it breaks a rule, however it is split."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.smtp.content import BARE_NEWLINE, LINE_TOO_LONG, TOO_BIG, BareNewlines, ChunkDecoder, ContentRules, DataDecoder
from penstock.wire.smtp.limits import Limits

AFTER = b"QUIT\r\n"


def stuff(content: bytes) -> bytes:
    """Dot-stuffs by RFC 5321 §4.5.2, line by line and independent of the code under test."""
    assert content == b"" or content.endswith(b"\r\n")
    lines = content.split(b"\r\n")[:-1]
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


def decode(stream: bytes, cuts: list[int], limits: Limits | None = None, bare: BareNewlines = "refuse") -> tuple[bytes, bytes, DataDecoder]:
    """Content, what is left of the stream, and the decoder, after feeding the stream cut at these places."""
    decoder = DataDecoder(ContentRules(limits or Limits(), bare))
    content = b""
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(places):
        piece, used = decoder.feed(stream[start:end])
        content += piece
        if decoder.ended:
            return content, stream[start + used :], decoder
        assert used == end - start, "without an end everything is used"
    return content, b"", decoder


every = st.lists(st.integers(0, 5000), max_size=12)
legal_line = st.one_of(
    st.text("ab. \x00\xff", max_size=12).map(lambda text: text.encode("latin-1")),
    st.sampled_from([b".", b"..", b"...", b"", b"x" * 998, b"." * 998, b".x" * 499]),
)
legal = st.lists(legal_line, max_size=12).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
tricky = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\r\n.", b"\r\n.\r", b"\n.\n", b"x" * 997, b"x" * 400])).map(
    b"".join
)


@given(legal, every)
def test_stuffed_content_comes_back_exactly_for_any_split(content: bytes, cuts: list[int]) -> None:
    out, rest, decoder = decode(stuff(content) + AFTER, cuts)
    assert (out, rest, decoder.rules.refusal, decoder.rules.size) == (content, AFTER, None, len(content))


@given(legal)
def test_stuffed_content_comes_back_exactly_octet_by_octet(content: bytes) -> None:
    stream = stuff(content) + AFTER
    assert decode(stream, list(range(len(stream))))[:2] == (content, AFTER)


@given(tricky, every, st.sampled_from([0, 1000]), st.sampled_from([0, 900]))
def test_any_stream_means_the_same_for_any_split(stream: bytes, cuts: list[int], line: int, size: int) -> None:
    limits = Limits(text_line=line, message_size=size)
    for bare in ("refuse", "accept"):
        whole, rest, decoder = decode(stream, [], limits, bare)
        split, split_rest, split_decoder = decode(stream, cuts, limits, bare)
        assert (split_rest, split_decoder.ended) == (rest, decoder.ended)
        if decoder.ended:
            assert split_decoder.rules.refusal == decoder.rules.refusal
            assert split_decoder.rules.size == decoder.rules.size
            if decoder.rules.refusal is None:
                assert split == whole


def naive(stream: bytes, limits: Limits) -> tuple[bytes, bytes, object] | None:
    """What a stream means, written the slow and obvious way; None when it does not end."""
    match = re.match(rb"(?:\.\r\n)|(.*?\r\n)\.\r\n", stream, re.DOTALL)
    if not match:
        return None
    content = re.sub(rb"(\A|\r\n)\.", rb"\1", match[1] or b"")
    refusal = None
    if any(len(line) > 1000 for line in re.findall(rb"[^\n]*\n|[^\n]+", content)):
        refusal = LINE_TOO_LONG
    if re.search(rb"\r(?!\n)|(?<!\r)\n", content):
        refusal = BARE_NEWLINE
    if len(content) > limits.message_size:
        refusal = TOO_BIG
    return content, stream[match.end() :], refusal


@given(tricky, every)
def test_any_stream_means_what_the_slow_and_obvious_reading_says(stream: bytes, cuts: list[int]) -> None:
    limits = Limits(message_size=2000)
    expected = naive(stream, limits)
    content, rest, decoder = decode(stream, cuts, limits)
    if expected is None:
        assert not decoder.ended
        return
    assert (rest, decoder.rules.refusal) == expected[1:]
    if expected[2] is None:
        assert content == expected[0]


SMUGGLED = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n.\x00\r\n",
    b"\r\n\x00.\r\n",
]


@pytest.mark.parametrize("false_end", SMUGGLED, ids=lambda end: end.decode("latin-1").encode("unicode_escape").decode())
@pytest.mark.parametrize("bare", ["refuse", "accept"])
def test_what_only_looks_like_the_end_never_ends_the_data(false_end: bytes, bare: BareNewlines) -> None:
    stream = b"Subject: x\r\n\r\nfirst" + false_end + b"MAIL FROM:<evil@example.net>\r\n.\r\n" + AFTER
    for cuts in ([], list(range(len(stream)))):
        content, rest, decoder = decode(stream, cuts, bare=bare)
        assert rest == AFTER
        if b"\x00" in false_end or bare == "accept":
            assert decoder.rules.refusal is None
            assert content.endswith(b"MAIL FROM:<evil@example.net>\r\n")
        else:
            assert decoder.rules.refusal == BARE_NEWLINE


@pytest.mark.parametrize("text", [b"a\rb\nc", b"a\nb", b"a\rb", b"\r", b"\n", b"a\n\rb", b"a\r\r\nb", b"a\r\n\nb"])
def test_a_cr_and_an_lf_that_are_not_together_are_bare(text: bytes) -> None:
    stream = text + b"\r\n.\r\n"
    for cuts in ([], list(range(len(stream)))):
        assert decode(stream, cuts)[2].rules.refusal == BARE_NEWLINE


def test_accepted_bare_newlines_come_through_unchanged() -> None:
    assert decode(b"a\nb\rc\n.\n\r\n.\r\n", [], bare="accept")[0] == b"a\nb\rc\n.\n\r\n"


def test_the_line_of_data_itself_begins_the_end() -> None:
    content, rest, decoder = decode(b".\r\n" + AFTER, [])
    assert (content, rest, decoder.rules.size) == (b"", AFTER, 0)


@pytest.mark.parametrize(("length", "legal"), [(0, True), (998, True), (999, False), (1000, False), (5000, False)])
@pytest.mark.parametrize("before", [b"", b"short\r\n" * 3, b"x" * 998 + b"\r\n"])
def test_a_line_may_have_998_octets_before_its_crlf(length: int, legal: bool, before: bytes) -> None:
    stream = before + b"y" * length + b"\r\n.\r\n"
    for cuts in ([], [3], [len(stream) - 4], list(range(len(stream)))):
        assert (decode(stream, cuts)[2].rules.refusal is None) == legal


def test_the_stuffed_dot_does_not_count_in_the_length_of_a_line() -> None:
    assert decode(stuff(b"." * 998 + b"\r\n"), [])[2].rules.refusal is None
    assert decode(b"." * 1000 + b"\r\n.\r\n", [])[2].rules.refusal == LINE_TOO_LONG


@pytest.mark.parametrize(("size", "refusal"), [(100, None), (102, TOO_BIG)])
def test_size_counts_content_without_stuffed_dots_and_end(size: int, refusal: object) -> None:
    content = b"..\r\n" * (size // 4) + b"\r\n" * (size % 4 // 2)
    decoder = decode(stuff(content), [], Limits(message_size=100))[2]
    assert (decoder.rules.size, decoder.rules.refusal) == (size, refusal)


def test_refused_content_gives_no_more_pieces_and_is_counted_to_its_end() -> None:
    decoder = DataDecoder(ContentRules(Limits(message_size=1000)))
    line = b"x" * 70 + b"\r\n"
    given_out = sum(len(decoder.feed(line)[0]) for _ in range(10_000))
    assert given_out <= 1000
    decoder.feed(b".\r\n")
    assert decoder.ended
    assert decoder.rules.size == 720_000


@given(tricky, every)
def test_chunks_of_bdat_are_judged_the_same_for_any_split(content: bytes, cuts: list[int]) -> None:
    verdicts = []
    for places in ([0, len(content)], [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]):
        rules = ContentRules(Limits(message_size=2000))
        decoder = ChunkDecoder(rules)
        out = b"".join(decoder.feed(content[start:end]) for start, end in pairwise(places))
        rules.finish()
        verdicts.append((rules.refusal, rules.size, out if rules.refusal is None else b""))
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize(
    ("content", "refusal"), [(b"a\r", BARE_NEWLINE), (b"a\n", BARE_NEWLINE), (b"a", None), (b"\r\n.\r\n", None), (b"", None)]
)
def test_bdat_content_may_end_without_crlf_but_not_with_half_of_one(content: bytes, refusal: object) -> None:
    rules = ContentRules(Limits())
    ChunkDecoder(rules).feed(content)
    rules.finish()
    assert rules.refusal == refusal
