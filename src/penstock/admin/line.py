"""What all lines of the control socket have: a question its version, and both a tag that says which they are."""

from __future__ import annotations

import msgspec

# Grows with each change that an older side would misread; fields with defaults may be added without.
VERSION = 1


class Question(msgspec.Struct, frozen=True, tag_field="op", kw_only=True):
    """What all questions have."""

    version: int = VERSION


class Answer(msgspec.Struct, frozen=True, tag_field="re"):
    """A line of an answer, and of a content on its way."""
