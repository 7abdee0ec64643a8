"""Encoded words: read as the standard library reads them where they are valid, and never in more time than their length is worth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.header import Header, decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.mail.encoded import MAX_DECODED, decode_words
from penstock.mail.header import Field

CHARSETS = [
    "utf-8",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1252",
    "koi8-r",
    "koi8-u",
    "gb2312",
    "big5",
    "euc-kr",
    "iso-2022-jp",
    "shift_jis",
]
letters = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
plain = st.from_regex(r"[A-Za-z0-9.,;!]{1,10}", fullmatch=True)


@given(st.lists(st.one_of(plain, letters), min_size=1, max_size=8), st.sampled_from(["utf-8", "utf-16"]))
def test_what_the_standard_library_writes_is_read_as_it_reads_it(words: list[str], charset: str) -> None:
    """Plain words and encoded ones, in any order, separated as RFC 2047 §5 asks."""
    written = " ".join(w if w.isascii() and w.isalnum() else Header(w, charset, 10_000).encode() for w in words)
    assert decode_words(written) == str(make_header(decode_header(written)))


@given(letters, st.integers(8, 70))
def test_a_text_cut_into_many_words_is_read_back(text: str, width: int) -> None:
    written = Header(text, "utf-8", width + 20).encode()
    assert decode_words(written.replace("\n", "")) == text or text.isascii()


@pytest.mark.parametrize("charset", CHARSETS)
def test_the_character_sets_of_mail_are_known(charset: str) -> None:
    assert decode_words(f"=?{charset}?q?abc_=31?=") == "abc 1"
    assert decode_words(f"=?{charset.upper()}*en?B?YWJj?=") == "abc"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("=?", "=?"),
        ("no word", "no word"),
        ("=?utf-8?q?=C3=BC?=", "ü"),
        ("a =?utf-8?q?b?= c", "a b c"),
        ("a =?utf-8?q?b?=   =?utf-8?q?c?=\t=?us-ascii?q?d?= e", "a bcd e"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),  # a character that its writer cut in two
        ("=?utf-8?b?w7w?=", "ü"),
        ("=?utf-8?b?w7w=?= =?utf-8?q?x_y?=", "üx y"),
        ("=?utf-8?q?=ZZ=4?=", "=ZZ=4"),
        # What cannot be decoded stays as it was written, with the white space about it.
        ("=?utf-8?q?a?= =?utf-8?b?!!!?= =?utf-8?q?b?=", "a =?utf-8?b?!!!?= b"),
        ("=?utf-8?q?=FF?=", "=?utf-8?q?=FF?="),
        ("=?unknown?q?x?= =?utf-8?q?b?=", "=?unknown?q?x?= b"),
        ("=?base64?q?eA=3D=3D?=", "=?base64?q?eA=3D=3D?="),
        ("=?unicode_escape?q?x?=", "=?unicode_escape?q?x?="),
        ("=?../../x?q?x?=", "=?../../x?q?x?="),
        ("=?utf-8?x?y?=", "=?utf-8?x?y?="),
        ("=?utf-8?q?a b?=", "=?utf-8?q?a b?="),
        (f"=?utf-8?q?{'x' * 76}?=", f"=?utf-8?q?{'x' * 76}?="),
    ],
)
def test_words_are_decoded_or_left_as_written(text: str, value: str) -> None:
    assert decode_words(text) == value


@given(st.text(st.sampled_from("=?aqbB_ \tüx"), max_size=80))
def test_any_text_can_be_read(text: str) -> None:
    decode_words(text)


def hostile(size: int) -> Iterator[str]:
    """Texts of so many characters that a search could go over again and again."""
    for piece in ("=?a?q?x", "=?", "=?a?q?", "=?utf-8?q?x?= ", "=?utf-8?b?!!!?=", "=?utf-8?q?" + "x" * 75, "=?a?q?x? =", "?=" * 3):
        yield (piece * (size // len(piece) + 1))[:size]


@pytest.mark.parametrize("size", [MAX_DECODED, 70_000, 1_000_000])
def test_no_text_takes_longer_than_its_length_is_worth(size: int) -> None:
    """The standard library takes seconds for the first text of 70,000 characters."""
    for text in hostile(size):
        started = time.process_time()
        assert Field("A", b"A: " + text.replace("x=?", "x\r\n =?").encode()).value
        assert time.process_time() - started < 0.25


def test_a_long_value_is_not_decoded() -> None:
    text = "=?utf-8?q?x?= " * MAX_DECODED
    assert decode_words(text) == text


@pytest.mark.parametrize(
    "word", ["=?utf-8?q?a=0D=0ABcc:_b?=", "=?utf-8?q?a=00=0ABcc:_b?=", "=?utf-8?b?YeKAqEJjYzogYg==?=", "=?utf-8?q?a=1B=0CBcc:_b?="]
)
def test_a_line_end_in_an_encoded_word_ends_no_line(word: str) -> None:
    """Whoever writes the value into another header would else write a field that a stranger made up."""
    assert decode_words(word) == "a Bcc: b"
