"""The content filter: what counts, and what follows."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage

import pytest
from examples.content_filter import ContentFilter

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Quarantine, Reject


@pytest.fixture
def tester(sink_tester: SinkTesters) -> SinkTester:
    return sink_tester(
        ContentFilter,
        words={"free money": 3.0, "dear friend": 1.0},
        senders={"*.bulk.example": 2.0, "friend.example": -5.0},
        attachments={"*.exe": 9.0},
    )


def letter(text: str, subject: str = "hello", attachment: str = "") -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = subject
    message.set_content(text)
    if attachment:
        message.add_attachment(b"MZ", maintype="application", subtype="octet-stream", filename=attachment)
    return message


async def test_harmless_mail_passes_with_its_score(tester: SinkTester) -> None:
    assert await tester.end_of_data(letter("Dear friend,\n")) is None
    assert tester.message.header.get("X-Spam-Score") == "1"


async def test_a_score_that_the_sender_wrote_himself_is_replaced(tester: SinkTester) -> None:
    assert await tester.end_of_data("X-Spam-Score: -100\n\nhello\n") is None
    assert tester.message.header.get_all("X-Spam-Score") == ["0"]


async def test_subject_text_and_sender_add_up(tester: SinkTester) -> None:
    assert await tester.end_of_data(letter("FREE MONEY\n")) is None
    await tester.mail_from("x@a.bulk.example")
    assert await tester.end_of_data(letter("dear friend\n", subject="=?utf-8?q?Free_Money?=")) == Quarantine("score 6")
    await tester.mail_from("x@friend.example")
    assert await tester.end_of_data(letter("dear friend, free money\n")) is None


async def test_a_program_is_refused_however_it_is_packed(tester: SinkTester) -> None:
    assert isinstance(await tester.end_of_data(letter("hello\n", attachment="INVOICE.EXE")), Reject)
    wrapped = EmailMessage(policy=policy.SMTP)
    wrapped.set_content("see within\n")
    wrapped.add_attachment(letter("hello\n", attachment="a.exe"))
    assert isinstance(await tester.end_of_data(wrapped), Reject)


async def test_a_message_without_text_is_judged_by_what_it_has(tester: SinkTester) -> None:
    image = b"Subject: free money\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n"
    assert await tester.end_of_data(image) is None
    assert tester.message.header.get("X-Spam-Score") == "3"


async def test_a_character_set_that_there_is_not_defers_nobody(tester: SinkTester) -> None:
    assert await tester.end_of_data(b"Content-Type: text/plain; charset=no-such\r\n\r\nfree money\r\n") is None
    assert tester.message.header.get("X-Spam-Score") == "3"
