"""Patterns in the settings of sinks, in which ``*`` stands for any characters.

Regular expressions were rejected: one that back-tracks, met by a name that a stranger has chosen, would hold up the server.
"""

from __future__ import annotations

import re


def wildcard(text: str) -> re.Pattern[str]:
    """A pattern for whole values in lower case; no value takes long to compare."""
    first, *others = [re.escape(piece) for piece in re.split(r"\*+", text.lower())]
    # The leftmost place of each piece between two stars is as good as any, hence the atomic groups.
    middle, last = "".join(f"(?>.*?{piece})" for piece in others[:-1]), "".join(f".*{piece}" for piece in others[-1:])
    return re.compile(first + middle + last, re.DOTALL)
