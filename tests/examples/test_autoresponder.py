"""The autoresponder: one answer a sender and week, and none to machines (RFC 3834)."""

from __future__ import annotations

import time
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from examples.autoresponder import Autoresponder

from penstock.testing import SinkTester, SinkTesters

MAIL = "From: Dora <dora@example.net>\nTo: ann@example.com\nSubject: lunch\nMessage-ID: <1@example.net>\n{more}\nToday?\n"


@pytest.fixture
def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    return sink_tester(Autoresponder, text="I am away.", database=tmp_path / "answered.db", days=7.0)


async def delivered(tester: SinkTester, more: str = "", sender: str = "dora@example.net", days: float = 0.0) -> int:
    """How many answers there are, after a message that came so many days from now."""
    tester.server.now = lambda: time.time() + days * 86400
    tester.set_message(MAIL.format(more=more), sender=sender, recipients=["ann@example.com"])
    await tester.delivered()
    return len(tester.submitted)


async def test_the_answer_says_what_a_machine_has_to_say(tester: SinkTester) -> None:
    assert await delivered(tester) == 1
    [answer] = tester.submitted
    assert (str(answer.sender), [str(r.address) for r in answer.recipients]) == ("", ["dora@example.net"])
    parsed = message_from_bytes(answer.content.read(), policy=policy.default)
    assert {name: parsed[name] for name in ("From", "To", "Subject", "Auto-Submitted", "In-Reply-To", "References")} == {
        "From": "ann@example.com", "To": "dora@example.net", "Subject": "Auto: lunch", "Auto-Submitted": "auto-replied",
        "In-Reply-To": "<1@example.net>", "References": "<1@example.net>",
    }  # fmt: skip
    assert parsed.get_content() == "I am away.\r\n"


async def test_each_sender_is_answered_once_in_the_time(tester: SinkTester) -> None:
    assert await delivered(tester) == 1
    assert await delivered(tester, sender="DORA@example.net") == 1
    assert await delivered(tester, sender="eve@example.net") == 2
    assert await delivered(tester, days=6.9) == 2
    assert await delivered(tester, days=7.1) == 3


@pytest.mark.parametrize(
    "more",
    [
        "Auto-Submitted: auto-replied\n", "Auto-Submitted: auto-generated; type=x\n", "Precedence: bulk\n", "Precedence: List\n",
        "List-Id: <x.y>\n", "List-Unsubscribe: <mailto:x@y>\n",
    ],
)  # fmt: skip
async def test_machines_and_lists_are_not_answered(tester: SinkTester, more: str) -> None:
    assert await delivered(tester, more=more) == 0
    # And nobody was noted as answered meanwhile.
    assert await delivered(tester) == 1


@pytest.mark.parametrize(
    "sender", ["", "MAILER-DAEMON@example.net", "owner-news@example.net", "news-request@example.net", "noreply@example.net"]
)
async def test_senders_that_nobody_reads_are_not_answered(tester: SinkTester, sender: str) -> None:
    assert await delivered(tester, sender=sender) == 0


async def test_a_person_who_says_that_he_is_one_is_answered(tester: SinkTester) -> None:
    assert await delivered(tester, more="Auto-Submitted: no\n") == 1


async def test_a_header_without_a_usable_id_is_answered_without_reference(tester: SinkTester) -> None:
    tester.set_message("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\nx\n", sender="dora@example.net", recipients=["ann@example.com"])
    await tester.delivered()
    [answer] = tester.submitted
    assert "In-Reply-To" not in answer.header
    assert answer.header.get("Subject") == "Auto: Gr\u00fc\u00dfe"


async def test_a_hostile_header_makes_no_field_of_its_own(tester: SinkTester) -> None:
    tester.set_message("Subject: =?utf-8?q?a=0D=0ABcc:_victim@example.org?=\nMessage-ID: <x>\n\nx\n", sender="dora@example.net")
    await tester.delivered("ann@example.com")
    [answer] = tester.submitted
    assert answer.header.get("Subject") == "Auto: a Bcc: victim@example.org"
    assert "Bcc" not in answer.header
