"""JSON on standard output: readable beyond ASCII, and harmless to a terminal.

What mail says stands in listings. ``json`` escapes the control characters of ASCII, but not DEL, those from U+0080 to U+009F, which some
terminals obey, or those that turn the direction of writing; nor could half of a surrogate pair be written at all.
"""

from __future__ import annotations

import json
import re

_BEYOND = re.compile(r"[^\x00-\x7e]")


def in_json(value: object, indent: int | None = 2) -> str:
    """A value as JSON in which every character can be seen.

    Args:
        value: what ``json`` can write; anything else as its text.
        indent: how far each level is set in; None for one line.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return _BEYOND.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)
