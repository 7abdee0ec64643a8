"""The new verb, as server and as client."""

from __future__ import annotations

import pytest
from examples.queue_depth import QueueDepth

from penstock.testing import SinkTesters
from penstock.verdicts import Reject, Respond


async def test_as_a_server_it_answers_and_takes_no_argument(sink_tester: SinkTesters) -> None:
    tester = sink_tester(QueueDepth())
    tester.server.depths[""] = 7
    assert await tester.verb("XQDEPTH") == Respond(250, "2.0.0", "7 messages queued")
    assert await tester.verb("XQDEPTH now") == Reject(501, "5.5.4", "XQDEPTH takes no argument")


async def test_as_a_client_it_asks_who_offers_it_and_tells_at_the_end(sink_tester: SinkTesters) -> None:
    tester = sink_tester(QueueDepth())
    tester.set_remote("mx.example.net", extensions=["XQDEPTH"], replies={"XQDEPTH": "250 2.0.0 12 messages queued"})
    assert await tester.session_start() is None
    await tester.session_end(messages=3)
    assert tester.remote.sent == ["XQDEPTH"]
    [line] = tester.log.named("remote queue")
    assert (line["remote"], line["depth"], line["messages"]) == ("mx.example.net", "12 messages queued", 3)


@pytest.mark.parametrize(("offers", "reply"), [([], "250 2.0.0 1"), (["XQDEPTH"], "502 5.5.1 no")])
async def test_who_does_not_offer_or_refuses_it_is_no_error(sink_tester: SinkTesters, offers: list[str], reply: str) -> None:
    tester = sink_tester(QueueDepth())
    tester.set_remote(extensions=offers, replies={"XQDEPTH": reply})
    await tester.session_start()
    await tester.session_end()
    assert len(tester.remote.sent) == len(offers)
    assert tester.log.named("remote queue") == []
