"""Encoded words, which carry text beyond ASCII in a header field (RFC 2047), read in time that grows with the text and no faster.

Rejected: the standard library's ``decode_header``, whose time grows with the square of a text made for that. What is no encoded word, or
cannot be decoded, is left as it was written (RFC 2047 §6.3).
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from encodings import normalize_encoding
from encodings.aliases import aliases

# RFC 2047 §2: "An 'encoded-word' may not be more than 75 characters long, including 'charset', 'encoding', 'encoded-text', and delimiters."
# The bounds in the expression are also what keeps the search linear. Some writers pass the length a little, so each part is bounded alone.
_WORD = re.compile(r"=\?([!-<>@-~]{1,40})\?([bBqQ])\?([!->@-~]{0,75})\?=")
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
# What ends a line, or means something to a terminal, has no business in the text of a field: a sink that writes the value into another
# header would write a field that a stranger made up.
_BREAKS = re.compile(r"[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029]+")
# Values longer than this are shown as they were written: nobody reads them, and decoding costs more than reading.
MAX_DECODED = 16 * 1024
# Python keeps a note of every name of a codec that it was ever asked for, so a stranger's names are compared with those that there are.
# Those left out are either no text ("base64") or no character set of mail ("idna", "punycode", "unicode_escape").
_CHARSETS = frozenset(aliases) | frozenset(aliases.values()) | {"koi8_u", "koi8_t", "cp874", "cp737", "cp720", "mac_romanian"}


@dataclass(slots=True)
class _Run:
    """Adjacent encoded words of one character set: some writers cut a character in two, so their octets are decoded together."""

    charset: str
    octets: bytes
    start: int
    end: int


def decode_words(text: str) -> str:
    """The text with its encoded words decoded; white space between two of them means nothing (RFC 2047 §6.2)."""
    if len(text) > MAX_DECODED or "=?" not in text:
        return text
    pieces, end = [], 0
    for run in _runs(text):
        decoded = _decode(run)
        if decoded is None:
            continue
        between = text[end : run.start]
        if not end or between.strip():
            pieces.append(between)
        pieces.append(_BREAKS.sub(" ", decoded))
        end = run.end
    return "".join([*pieces, text[end:]])


def _runs(text: str) -> list[_Run]:
    runs: list[_Run] = []
    for word in _WORD.finditer(text):
        # RFC 2231 §5 puts a language behind the name of the character set: "us-ascii*en".
        charset, octets = normalize_encoding(word[1].partition("*")[0]).lower(), _octets(word)
        if octets is None:
            continue
        last = runs[-1] if runs else None
        if last and last.charset == charset and not text[last.end : word.start()].strip():
            last.octets, last.end = last.octets + octets, word.end()
        else:
            runs.append(_Run(charset, octets, word.start(), word.end()))
    return runs


def _octets(word: re.Match[str]) -> bytes | None:
    """What a word encodes; None when it is not written as its encoding wants it (RFC 2047 §4)."""
    written = word[3].encode("ascii")
    if word[2] in "qQ":
        return _HEX.sub(lambda pair: bytes.fromhex(pair[1].decode("ascii")), written.replace(b"_", b" "))
    try:
        bare = written.rstrip(b"=")
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error:
        return None


def _decode(run: _Run) -> str | None:
    """The text of a run; None when nobody knows its character set, or its octets are not of it."""
    if run.charset not in _CHARSETS:
        return None
    try:
        return run.octets.decode(run.charset)
    except (LookupError, ValueError):
        return None
