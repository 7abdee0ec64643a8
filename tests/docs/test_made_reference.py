"""The reference in docs/reference is what the code says, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools.reference.__main__ import FOLDER, differing
from tools.reference.event_pages import EXAMPLES
from tools.reference.other_pages import CONDITION_EXAMPLES
from tools.reference.words import snake

from penstock.config import load, plugs
from penstock.events.binding import Bindings
from penstock.events.catalog import CATALOG

from .test_blocks import HEAD, LISTENER


def test_every_page_is_as_the_code_says() -> None:
    """Else: python -m tools.reference."""
    assert differing() == []


@pytest.mark.parametrize("name", CATALOG)
def test_every_event_has_an_example_that_is_run(name: str) -> None:
    """The example is a test of its own, which stands on the page word for word."""
    example = (EXAMPLES / f"test_{snake(name)}.py").read_text().split("\n\n", 1)[1].strip()
    assert "async def test_" in example
    assert example in (FOLDER / "events" / f"{snake(name)}.md").read_text()


@pytest.mark.parametrize("name", CONDITION_EXAMPLES)
def test_every_condition_has_an_example_that_loads(name: str, tmp_path: Path) -> None:
    """With a sink of an event at which the condition is known, as the page says."""
    page = (FOLDER / "match" / f"{name}.md").read_text()
    event = re.search(r"# at (\w+)", page)
    assert event is not None
    keyword = ', keyword="XTRY"' if event[1] == "Verb" else ""
    (tmp_path / "sinks").mkdir()
    module = f"sink_for_{name}"
    (tmp_path / "sinks" / f"{module}.py").write_text(
        f"from penstock import Sink, on\nfrom penstock.events import {event[1]}\n\n\n"
        f"class Tried(Sink):\n    @on({event[1]}{keyword})\n    async def handle(self, event: {event[1]}) -> None: ...\n"
    )
    binding = f'[[binding]]\nname = "tried"\nsink = "{module}:Tried"\nmatch = {CONDITION_EXAMPLES[name]}\n'
    (tmp_path / "penstock.toml").write_text(HEAD + LISTENER + binding)
    bound = Bindings(plugs(load(tmp_path / "penstock.toml")))
    assert any(one.name == "tried" for one in bound.all)
