"""The header section: exact to the octet where nobody edits it, and closed to those who would add a field of their own."""

from __future__ import annotations

import email
import email.policy
import re
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock import Header
from penstock.errors import FrozenError, HeaderError
from penstock.mail.content import MemoryContent
from penstock.mail.header import Field, Section, make_field, read_fields, split_header

# Octets as they come: mostly pieces that mean something to a header, in any order, and some that mean nothing.
PIECES = [
    b"A: 1\r\n",
    b"a : 2\n",
    b"Subject:\r\n\tx\r\n",
    b" fold\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b":",
    b"no field\r\n",
    b"\xff\x00",
    b"X",
    b" ",
]
octets = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=15).map(b"".join))
names = st.from_regex(r"[!-9;-~]{1,30}", fullmatch=True)
texts = st.text(max_size=300)


def pieces_of(raw: bytes) -> list[bytes]:
    """The fields of a header, and the lines between them that are none; found in the simplest way."""
    pieces: list[bytes] = []
    in_field = False
    for line in raw.split(b"\n") if raw else []:
        if in_field and line[:1] in (b" ", b"\t"):
            pieces[-1] += b"\n" + line
        else:
            pieces.append(line)
            in_field = name_of(line) != ""
    ended = [piece + b"\n" for piece in pieces]
    return [*ended[:-1], *([pieces[-1]] if pieces[-1] else [])] if pieces else []


def name_of(piece: bytes) -> str:
    """The name of a field in lower case; "" for what is none."""
    name = piece.partition(b":")[0].rstrip(b" \t")
    return name.decode().lower() if b":" in piece and name and all(33 <= octet <= 126 for octet in name) else ""


@given(octets)
def test_fields_are_found_one_by_one_or_by_name(raw: bytes) -> None:
    fields = [piece for piece in pieces_of(raw) if name_of(piece)]
    header = Header(raw)
    assert [field.raw for field in header] == [field.raw for field in header.fields()] == fields
    assert len(header) == len(fields)
    for name in {name_of(field) for field in fields} | {"subject", "a:", "a\\b", "", "ü", "x" * 100}:
        wanted = [field for field in fields if name_of(field) == name]
        assert [field.raw for field in header.fields(name.upper())] == wanted
        assert header.get_all(name) == [Field(name, field).value for field in wanted]
        assert header.get(name, "none") == next(iter(header.get_all(name)), "none")
        assert (name in header) == bool(wanted)


@given(octets)
def test_any_octets_come_out_as_they_went_in(raw: bytes) -> None:
    assert Header(raw).to_bytes() == raw


@given(octets)
def test_splitting_finds_fields_then_at_most_one_empty_line_then_the_body(raw: bytes) -> None:
    fields, body = split_header(raw)
    assert raw.startswith(fields)
    assert raw[len(fields) : body] in (b"", b"\r\n", b"\n")
    assert b"".join(field.raw for field in Header(fields)) == fields


@given(octets)
def test_no_field_is_left_behind_where_the_header_ends(raw: bytes) -> None:
    """What follows the header, when no empty line does, does not begin with a field."""
    fields, body = split_header(raw)
    if body == len(fields):
        assert split_header(raw[body:])[0] == b""


@given(octets, st.integers(1, 20))
def test_reading_fields_in_small_parts_finds_what_reading_all_does(raw: bytes, look: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.mail.header.HEADER_LOOK", look)
        assert read_fields(MemoryContent(raw)) == split_header(raw)[0]


@given(octets, names, texts)
@example(b"A: 1", "X", "")
def test_an_added_field_changes_no_other_octet(raw: bytes, name: str, value: str) -> None:
    header = Header(raw)
    try:
        header.add(name, value)
    except HeaderError:
        assert header.to_bytes() == raw
        assert not header.edited
        return
    added = make_field(name, value).raw
    ended = raw if not raw or raw.endswith(b"\n") else raw + b"\r\n"
    assert header.to_bytes() == ended + added
    first = Header(raw)
    first.add(name, value, first=True)
    assert first.to_bytes() == added + raw


@given(octets, st.sampled_from(["A", "a", "Subject", "X"]))
def test_removing_takes_the_fields_of_this_name_and_no_other_octet(raw: bytes, name: str) -> None:
    header = Header(raw)
    pieces = pieces_of(raw)
    removed = header.remove(name)
    kept = [piece for piece in pieces if name_of(piece) != name.lower()]
    assert removed == len(pieces) - len(kept)
    assert header.to_bytes() == b"".join(kept)
    assert name not in header
    assert header.edited == bool(removed)


@given(octets, st.sampled_from(["A", "a", "Subject", "X"]))
def test_replacing_leaves_one_field_of_this_name_where_the_first_one_was(raw: bytes, name: str) -> None:
    header = Header(raw)
    pieces = pieces_of(raw)
    header.replace(name, "new")
    assert header.get_all(name) == ["new"]
    others = [piece for piece in pieces if name_of(piece) != name.lower()]
    after = pieces_of(header.to_bytes())
    left = [piece for piece in after if name_of(piece) != name.lower()]
    assert left == others or left[:-1] == others[:-1]  # only a last field that did not end is ended
    if len(others) < len(pieces):
        assert left == others
        place = next(n for n, piece in enumerate(pieces) if name_of(piece) == name.lower())
        assert after[place] == make_field(name, "new").raw


def test_replacing_with_what_is_there_keeps_one() -> None:
    header = Header(b"A: 1\r\nB: 2\r\nA: 1\r\n")
    header.replace("A", "1")
    assert header.to_bytes() == b"A: 1\r\nB: 2\r\n"


@given(names, texts)
@example("X", "a\x0bb\x0cc\x1cd\x85e\u2028f")
@example("X", "ü\x0bBcc: x\x0cBcc: y\u2028Bcc: z\x85Bcc: w")
@example("X", "ü" * 200 + "\x1dBcc: x")
def test_whatever_the_value_is_it_makes_one_field_or_none(name: str, value: str) -> None:
    try:
        field = make_field(name, value)
    except HeaderError:
        return
    assert [f.name for f in Header(field.raw)] == [name]
    assert pieces_of(field.raw) == [field.raw]
    assert field.raw.isascii()
    assert field.raw.endswith(b"\r\n")
    assert field.raw.count(b"\n") == field.raw.count(b"\r\n") == field.raw.count(b"\r")
    assert split_header(field.raw + b"\r\nbody")[0] == field.raw
    assert all(0 < len(line) <= 998 for line in field.raw.split(b"\r\n")[:-1])
    assert all(line.strip() for line in field.raw.split(b"\r\n")[:-1])


@pytest.mark.parametrize(
    "value",
    ["a\r\nBcc: x", "a\nBcc: x", "a\rb", "a\r\n\r\nbody", "a\r\n \r\nbody", "a\n", "a\r\n", "a\r\n ", "a\n\t\n b", "nul\0", "\nBcc: x"],
)
def test_a_line_end_that_is_not_a_fold_is_refused(value: str) -> None:
    header = Header(b"A: 1\r\n")
    for change in (header.add, header.replace):
        with pytest.raises(HeaderError):
            change("X", value)
    assert header.to_bytes() == b"A: 1\r\n"


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ü", "a\t", " a", "x" * 77])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(HeaderError):
        make_field(name, "value")


def test_a_fold_that_the_value_brings_along_is_kept() -> None:
    assert make_field("X", "a\r\n b\n\tc").raw == b"X: a\r\n b\r\n\tc\r\n"


@given(st.lists(st.from_regex(r"[!-~]{1,40}", fullmatch=True), min_size=1, max_size=60))
def test_long_values_are_folded_at_spaces_and_read_back_the_same(words: list[str]) -> None:
    value = " ".join(words)
    field = make_field("Subject", value)
    assert all(len(line) <= 78 for line in field.raw.decode().split("\r\n"))
    if "=?" not in value:
        assert field.value == value


def test_a_word_that_fits_no_line_is_refused() -> None:
    assert make_field("X", "y" * 990).raw == b"X: " + b"y" * 990 + b"\r\n"
    with pytest.raises(HeaderError, match="longer than a line"):
        make_field("X", "y" * 1000)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=150))
@example("Grüße aus Köln")
@example("件名 " + "テスト" * 30)
def test_text_beyond_ascii_becomes_encoded_words_that_everybody_reads_back(value: str) -> None:
    field = make_field("Subject", value)
    if not value.isascii():
        assert field.value == value
        assert all(len(line) <= 78 for line in field.raw.split(b"\r\n"))
        parsed = email.message_from_bytes(field.raw + b"\r\n", policy=email.policy.default)
        assert str(parsed["subject"]) == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"A: x\r\n", "x"),
        (b"A:x", "x"),
        (b"A :\t x \r\n", "x"),
        (b"A: x\r\n\ty\r\n", "x\ty"),
        (b"A:\r\n x\n y\n", "x y"),
        (b"A: =?utf-8?q?=C3=BC?=\r\n", "ü"),
        (b"A: =?iso-8859-1?q?=FC?= =?utf-8?b?w7w=?=\r\n", "üü"),
        (b"A: =?unknown?q?x?=\r\n", "=?unknown?q?x?="),
        (b"A: =?utf-8?b?!!!?=\r\n", None),
        (b"A: =?utf-8?q?=FF?=\r\n", None),
        ("A: ü\r\n".encode(), "ü"),
        (b"A: \xff\r\n", "\ufffd"),
        (b"A:\r\n", ""),
    ],
)
def test_a_value_is_unfolded_and_decoded_and_never_an_error(raw: bytes, value: str | None) -> None:
    (field,) = Header(raw).fields()
    assert field.value == value or value is None


@given(st.binary(max_size=60))
def test_any_value_can_be_read(octets: bytes) -> None:
    assert isinstance(Field("A", b"A: =?utf-8?" + octets).value, str)
    assert isinstance(Field("A", b"A: " + octets).value, str)


def test_names_are_compared_without_regard_to_case_and_order_is_kept() -> None:
    header = Header(b"Received: 1\r\nTo: x\r\nRECEIVED: 2\r\n")
    assert header.get_all("received") == ["1", "2"]
    assert header.get("rEceived") == "1"
    assert header.get("Missing") is None
    assert [field.name for field in header] == ["Received", "To", "RECEIVED"]
    assert len(header) == 3
    assert "to" in header
    assert 7 not in header


def test_a_header_that_is_only_shown_refuses_every_change() -> None:
    header = Header(b"A: 1\r\n", frozen=True)
    for change in (lambda: header.add("B", "1"), lambda: header.replace("A", "2"), lambda: header.remove("A")):
        with pytest.raises(FrozenError):
            change()
    assert header.to_bytes() == b"A: 1\r\n"


def test_hostile_headers_cost_time_in_proportion_to_their_size() -> None:
    """A quadratic reading of these would take minutes."""
    for raw in (
        b"A:" * 500_000,
        b"A" * 1_000_000,
        b"A: 1\n" + b" \n" * 300_000 + b"x",
        b"A" + b" " * 1_000_000,
        b"\n \n" * 200_000,
        b"A:\n" * 100_000,
    ):
        header = Header(raw)
        assert header.to_bytes() == raw
        assert sum(1 for _ in header) == len(header) == len(header.fields())
        header.get_all("A")
        header.remove("A")
        split_header(raw)


def test_values_are_compared_as_they_were_written_and_without_regard_to_case() -> None:
    header = Header(b"Delivered-To: Bob@Example.COM\r\nX: 1\r\ndelivered-to: =?utf-8?q?carol?=@example.com\r\n")
    assert header.has("Delivered-TO", "bob@example.com")
    assert not header.has("Delivered-To", "carol@example.com")
    assert not header.has("X", "bob@example.com")
    header.add("Delivered-To", "dora@example.com")
    assert header.has("Delivered-To", "dora@example.com")


@pytest.mark.parametrize("line", [b"A:\n", b"Delivered-To:\n", b"Delivered-To: bob@example.com\n", b"\x00\n"])
def test_many_readers_of_a_large_header_cost_little_more_than_one(line: bytes) -> None:
    """What one of them looked for, the others are told: time and memory do not grow with how many there are."""
    section = Section(line * (1024 * 1024 // len(line)))
    pattern = re.compile("x*")
    tracemalloc.start()
    started = time.process_time()
    for number in range(1000):
        header = Header(section)
        assert not header.has("Delivered-To", f"user{number}@example.com")
        assert header.get("Subject") is None
        assert header.get_all("X-Spam") == []
        assert not section.matches("To", pattern)
    assert time.process_time() - started < 2.0
    assert tracemalloc.get_traced_memory()[0] < 4 * 1024 * 1024
    tracemalloc.stop()


def test_what_is_remembered_of_a_header_has_a_bound() -> None:
    section = Section(b"A: 1\r\n")
    for number in range(1000):
        assert section.has("A", "1")
        assert not section.has(f"X{number}", "1")
    assert len(section._known) <= 64
