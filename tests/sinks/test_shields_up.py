"""ShieldsUp turns every client away."""

from __future__ import annotations

import pytest

from events.harness import Harness
from penstock.events import Ehlo, Event, Helo
from penstock.sinks import ShieldsUp
from penstock.verdicts import Disconnect


@pytest.mark.parametrize("greeting", [Helo, Ehlo])
async def test_whoever_greets_is_sent_away(greeting: type[Event]) -> None:
    harness = Harness.of(ShieldsUp())
    assert await harness.ask(harness.make(greeting)) == Disconnect(421, "4.3.2", "Please try again later.")
