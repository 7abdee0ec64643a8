"""The journal: the envelope, blind copies and all, and the message within, octet for octet."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
from examples.journal import Journal

from penstock.errors import StorageFull
from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Defer

ODD = b"From: ann@example.com\r\nSubject:   odd\r\n\tfold\r\nTo: bob@example.com\r\n\r\n8-bit: \xfc\r\n.\r\n"


@pytest.fixture
def tester(sink_tester: SinkTesters) -> SinkTester:
    return sink_tester(Journal, mailbox="journal@archive.example")


async def test_the_report_has_the_envelope_and_the_message_to_the_octet(tester: SinkTester) -> None:
    assert await tester.submission(ODD, sender="ann@example.com", recipients=["bob@example.com", "blind@example.net"]) is None
    [report] = tester.submitted
    assert (str(report.sender), [str(r.address) for r in report.recipients]) == ("", ["journal@archive.example"])
    parsed = message_from_bytes(report.content.read(), policy=policy.default)
    envelope, kept = parsed.iter_parts()
    lines = envelope.get_content().splitlines()
    assert lines[:3] == ["Sender: ann@example.com", "Recipient: bob@example.com", "Recipient: blind@example.net"]
    assert f"Queue-Id: {tester.message.id}" in lines
    assert kept.get_content_type() == "message/rfc822"
    assert ODD in report.content.read()


async def test_the_message_itself_goes_on_as_it_is(tester: SinkTester) -> None:
    await tester.submission(ODD)
    assert tester.content == ODD


async def test_a_message_that_is_begun_again_is_journalled_once(tester: SinkTester) -> None:
    await tester.submission(ODD)
    await tester.submission(attempt=2)
    assert len(tester.submitted) == 1


async def test_what_the_journal_writes_is_not_journalled(tester: SinkTester) -> None:
    await tester.submission(ODD, sender="journal@archive.example")
    assert tester.submitted == []


async def test_no_message_passes_without_its_report(tester: SinkTester) -> None:
    async def full(work: object) -> str:
        raise StorageFull("no room")

    tester.server.submit = full
    tester.bound(on_error="defer")
    assert isinstance(await tester.submission(ODD), Defer)
    assert tester.message_state == {}
