"""The trap: a 501 to MAIL waits for an hour, and every other answer means what it says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from examples.trap_501 import Trap501

from penstock.testing import SinkTesters
from penstock.verdicts import Defer


async def test_a_501_to_mail_is_tried_again_in_an_hour(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Trap501())
    assert await tester.server_response("MAIL", "501 5.1.7 Bad sender address syntax") == Defer(after=timedelta(hours=1))
    [line] = tester.log.named("sender refused")
    assert (line["remote"], line["command"]) == ("mx.example.net", "MAIL FROM:<alice@client.example>")


@pytest.mark.parametrize(("verb", "reply"), [("MAIL", "550 5.7.1 no"), ("RCPT", "501 5.1.3 no"), ("MAIL", "250 2.1.0 Ok")])
async def test_it_is_not_asked_about_other_answers(sink_tester: SinkTesters, verb: str, reply: str) -> None:
    tester = sink_tester(Trap501())
    assert await tester.server_response(verb, reply) is None
    assert tester.fired == 0
