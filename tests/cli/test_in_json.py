"""JSON that is shown on a terminal does nothing to it, and is the same JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.in_json import in_json

_TEXT = st.text(st.characters() | st.sampled_from("\x7f\x9b\x85\u2028\u202e\u2066\udc80\U000e0041\n"))


@given(st.dictionaries(_TEXT, st.lists(_TEXT)), st.sampled_from([None, 2]))
def test_every_character_can_be_seen_and_means_the_same(value: dict[str, list[str]], indent: int | None) -> None:
    text = in_json(value, indent)
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()
    text.encode("utf-8")


def test_letters_of_all_scripts_stay_as_they_are() -> None:
    assert in_json({"to": "jörg@пример.example", "subject": "\x1b[2J\x9b2J"}, None) == (
        '{"to": "jörg@пример.example", "subject": "\\u001b[2J\\u009b2J"}'
    )
