"""The header section: exact to the octet where nobody edits it, and closed to those who would add a field of their own."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock import Header
from penstock.errors import FrozenError, HeaderError
from penstock.mail.content import MemoryContent
from penstock.mail.header import Field, make_field, read_fields, split_header

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


@given(octets)
def test_any_octets_come_out_as_they_went_in(raw: bytes) -> None:
    assert Header(raw).to_bytes() == raw


@given(octets)
def test_splitting_finds_fields_then_at_most_one_empty_line_then_the_body(raw: bytes) -> None:
    fields, body = split_header(raw)
    assert raw.startswith(fields)
    assert raw[len(fields) : body] in (b"", b"\r\n", b"\n")
    assert all(field.name for field in Header(fields)._fields)
    assert Header(fields).to_bytes() == fields


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
    fields = header._fields
    removed = header.remove(name)
    kept = [field for field in fields if field.name.lower() != name.lower()]
    assert removed == len(fields) - len(kept)
    assert header.to_bytes() == b"".join(field.raw for field in kept)
    assert name not in header
    assert header.edited == bool(removed)


@given(octets, st.sampled_from(["A", "a", "Subject", "X"]))
def test_replacing_leaves_one_field_of_this_name_where_the_first_one_was(raw: bytes, name: str) -> None:
    header = Header(raw)
    fields = header._fields
    header.replace(name, "new")
    assert header.get_all(name) == ["new"]
    others = [field.raw for field in fields if field.name.lower() != name.lower()]
    left = [field.raw for field in header._fields if field.name.lower() != name.lower()]
    assert left == others or left[:-1] == others[:-1]  # only a last field that did not end is ended
    if len(others) < len(fields):
        assert left == others
        place = next(n for n, field in enumerate(fields) if field.name.lower() == name.lower())
        assert header._fields[place].raw == make_field(name, "new").raw


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
    assert [f.name for f in Header(field.raw)._fields] == [name]
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
        assert Header(raw).to_bytes() == raw
        split_header(raw)
