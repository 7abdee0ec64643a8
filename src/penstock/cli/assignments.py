"""``KEY=VALUE`` on a command line: the value as TOML has it, or else as text, so that nobody has to quote twice."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable

from ..config.keys import key_of, path_of
from .exits import EX_USAGE, Stop


def assignments(words: Iterable[str]) -> dict[str, object]:
    """The values by dotted key. Raises Stop for a word without an equals sign; ConfigError for what is no key."""
    found: dict[str, object] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.strip():
            raise Stop(EX_USAGE, f"{word!r} is not KEY=VALUE", "write one such as priority=100 or match.sender='*@example.com'")
        found[key_of(path_of(key.strip(), "the command line"))] = value(text.strip())
    return found


def value(text: str) -> object:
    """A value as it would be read in the file; text where it could not."""
    try:
        if "\n" in text:
            return text
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
