"""Hidden extensions and commands."""

from __future__ import annotations

import pytest
from examples.hidden_verbs import HiddenVerbs

from penstock.testing import SinkTesters
from penstock.verdicts import Reject


async def test_what_is_hidden_is_not_offered_whatever_its_parameters(sink_tester: SinkTesters) -> None:
    tester = sink_tester(HiddenVerbs, extensions=["chunking", "SIZE"])
    assert await tester.ehlo(offered=["PIPELINING", "SIZE 1000", "CHUNKING", "DSN"]) is None
    assert tester.event.offered == ["PIPELINING", "DSN"]


@pytest.mark.parametrize("verb", ["VRFY", "EXPN"])
async def test_nobody_hears_who_is_here(sink_tester: SinkTesters, verb: str) -> None:
    verdict = await sink_tester(HiddenVerbs).verb(f"{verb} alice")
    assert verdict == Reject(502, "5.5.1", f"{verb} is not for you")
