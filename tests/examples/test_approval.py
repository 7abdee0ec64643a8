"""Approval: a message waits until the service has said yes, and no yes is no."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from examples.approval import Approval

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Bounce, Defer

from .web import Web, web

MAIL = "Subject: to all\n\nHello.\n"


def asking(sink_tester: SinkTesters, service: Web, **more: object) -> SinkTester:
    return sink_tester(Approval, url=service.url, token="secret", again=60.0, days=3.0, **more)


async def test_it_waits_until_the_service_has_decided(sink_tester: SinkTesters) -> None:
    async with web(202, 202, 200) as service:
        tester = asking(sink_tester, service)
        waiting = await tester.submission(MAIL, sender="ann@example.com", recipients=["everybody@example.com"])
        assert isinstance(waiting, Defer)
        assert waiting.after == timedelta(seconds=60)
        assert isinstance(await tester.submission(attempt=2), Defer)
        assert await tester.submission(attempt=3) is None
    asked = service.asked[0]
    assert asked.line == f"PUT /mail/{tester.message.id} HTTP/1.1"
    assert asked.fields["authorization"] == "Bearer secret"
    assert json.loads(asked.body) == {"sender": "ann@example.com", "recipients": ["everybody@example.com"], "subject": "to all"}
    # The same each time, so that a service may forget nothing by being asked again.
    assert all(one == asked for one in service.asked)


async def test_a_no_goes_back_to_the_sender(sink_tester: SinkTesters) -> None:
    async with web(403) as service:
        assert await asking(sink_tester, service).submission(MAIL) == Bounce("5.7.1", "The message was not approved")


@pytest.mark.parametrize("answer", [0, 500, 404, "HTTP/1.1 OK\r\n\r\n", "200\r\n"])
async def test_what_is_no_yes_is_none(sink_tester: SinkTesters, answer: int | str) -> None:
    async with web(answer) as service:
        assert isinstance(await asking(sink_tester, service, seconds=0.2).submission(MAIL), Defer)


async def test_a_service_that_is_down_has_not_approved(sink_tester: SinkTesters) -> None:
    async with web() as service:
        pass
    tester = asking(sink_tester, service)
    assert isinstance(await tester.submission(MAIL), Defer)
    assert tester.log.named("approval cannot be asked for")


async def test_what_nobody_approves_goes_back_in_the_end(sink_tester: SinkTesters) -> None:
    async with web(202) as service:
        tester = asking(sink_tester, service)
        assert isinstance(await tester.submission(MAIL), Defer)
        tester.server.now = lambda: time.time() + 3.1 * 86400
        assert isinstance(await tester.submission(attempt=2), Bounce)
