"""SASLprep (RFC 4013): names and passwords so that the same one, typed on two keyboards, is the same octets."""

from __future__ import annotations

import stringprep
import unicodedata

from ...errors import SaslError

# RFC 4616 §2: "MUST be capable of accepting" 255 octets of each; more than this nobody types.
MOST = 1024
# RFC 4013 §2.3: what is prohibited, beside unassigned code points.
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare(text: str, stored: bool = False) -> str:
    """Prepares a name or a password.

    Args:
        text: as it was typed.
        stored: it is going to be kept ("stored string"): unassigned code points are refused too (RFC 3454 §7).

    Raises: SaslError for what must not be in it; the text itself is not in the error.
    Source: RFC 4013 §2.
    """
    if text.isascii() and text.isprintable():
        return text
    # §2.1: "non-ASCII space characters ... mapped to SPACE", and "commonly mapped to nothing" is left out.
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if any(prohibited(c) for c in prepared for prohibited in _PROHIBITED):
        raise SaslError("a name or password has characters that are not allowed")
    if stored and any(stringprep.in_table_a1(c) for c in prepared):
        raise SaslError("a name or password has characters that no version of Unicode knew when they were forbidden")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    """RFC 3454 §6: text that runs from right to left must do so from its first character to its last."""
    if not any(stringprep.in_table_d1(c) for c in text):
        return
    if any(stringprep.in_table_d2(c) for c in text) or not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise SaslError("a name or password mixes directions of writing")


def decoded(octets: bytes, what: str) -> str:
    """UTF-8 of at most ``MOST`` octets, without NUL. Raises SaslError that names ``what``."""
    if len(octets) > MOST:
        raise SaslError(f"the {what} is too long")
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise SaslError(f"the {what} is not UTF-8") from None
    if "\0" in text:
        raise SaslError(f"the {what} has a NUL")
    return text


def name(octets: bytes, what: str) -> str:
    """A name or password from the wire, prepared; never empty. Raises SaslError."""
    prepared = prepare(decoded(octets, what))
    if not prepared:
        raise SaslError(f"the {what} is empty")
    return prepared
