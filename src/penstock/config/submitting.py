"""``[submission]``: what holds for mail of our own users (RFC 6409); part of the schema, apart for the length of the file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SubmissionTable:
    """``[submission]``.

    Args:
        add_missing: Date and Message-ID are added where a client left them out (RFC 6409 §8).
    """

    add_missing: bool = True
