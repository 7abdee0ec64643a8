"""Shields up: the first sample of all."""

from __future__ import annotations

import pytest
from examples.shields_up import ShieldsUp

from penstock.testing import SinkTesters
from penstock.verdicts import Disconnect


@pytest.mark.parametrize("greet", ["ehlo", "helo"])
async def test_every_client_is_turned_away(sink_tester: SinkTesters, greet: str) -> None:
    verdict = await getattr(sink_tester(ShieldsUp()), greet)("client.example")
    assert verdict == Disconnect(421, "4.3.2", "Please try again later.")
