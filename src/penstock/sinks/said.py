"""What a program or a web service said, made fit for a report to a stranger: one line, printable, short."""

from __future__ import annotations

import re

# An enhanced status code that somebody puts in front of his words (RFC 3463 §2).
_STATUS = re.compile(r"([45])\.(\d{1,3})\.(\d{1,3})(?:\s+|\Z)")
_LONGEST = 200


def fit(raw: bytes) -> str:
    """The text on one line, without control characters, cut where it is long."""
    text = " ".join("".join(c if c.isprintable() else " " for c in raw.decode("utf-8", "replace")).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def split_status(text: str, kind: str, otherwise: str) -> tuple[str, str]:
    """The status that stands in front of a text, and the rest of it.

    Args:
        text: what was said.
        kind: "4" or "5", which the status has to begin with.
        otherwise: the status when there is none of this kind.
    """
    found = _STATUS.match(text)
    if not found:
        return otherwise, text
    return (found[0].strip() if found[1] == kind else otherwise), text[found.end() :]
