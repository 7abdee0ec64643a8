"""Submission: senders belong to users, the header becomes complete, and every other octet stays."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.harness import Harness, content_of, message_work, session_work
from penstock import Address, Sink, on
from penstock.errors import ConfigError
from penstock.events import EndOfData, MailFrom
from penstock.events.work import Facts
from penstock.sinks import SendersSettings, SubmissionSettings, Submitted
from penstock.sinks.mailboxes import mailboxes
from penstock.verdicts import Reject, Verdict

RIGHTS = SendersSettings(
    {"alice": ["info@example.com", "*@sales.example.com"], "*": ["everybody@example.com"], "robot": ["*"]}, domain="example.com"
)
WHOLE = b"From: Alice <alice@example.com>\r\nDate: Tue, 1 Jul 2025 10:00:00 +0000\r\nMessage-ID: <1@client>\r\nSubject: x\r\n\r\nHello.\r\n"


async def at_mail(sender: str, user: str = "alice", settings: SubmissionSettings | None = None, *before: Sink[Any]) -> Verdict | None:
    harness = Harness.of(*before, Submitted(settings or SubmissionSettings(RIGHTS)))
    verdict = await harness.ask(MailFrom(Facts(harness.server, session_work(user=user), message_work(sender=sender))))
    assert sum(binding.counters.errors for binding in harness.bindings.all) == 0, harness.log.lines
    return verdict


async def at_end(
    content: bytes = WHOLE, sender: str = "alice@example.com", user: str = "alice", **settings: Any
) -> tuple[Verdict | None, bytes]:
    """What is said to a message, and what becomes of it."""
    harness = Harness.of(Submitted(SubmissionSettings(RIGHTS, **settings)))
    work = message_work(content, sender=sender)
    verdict = await harness.ask(EndOfData(Facts(harness.server, session_work(user=user), work)))
    assert sum(binding.counters.errors for binding in harness.bindings.all) == 0, harness.log.lines
    return verdict, content_of(work)


@pytest.mark.parametrize(
    ("sender", "user"),
    [
        ("alice@example.com", "alice"),
        ("Alice@EXAMPLE.com", "alice"),
        ("alice+news@example.com", "Alice"),
        ("info@example.com", "alice"),
        ("anybody@sales.example.com", "alice"),
        ("bob@example.org", "bob@example.org"),
        ("bob+x@example.org", "bob@example.org"),
        ("everybody@example.com", "bob@example.org"),
        ("anything@anywhere.example", "robot"),
        ("", "alice"),
    ],
)
async def test_a_user_may_send_from_addresses_of_the_own(sender: str, user: str) -> None:
    assert await at_mail(sender, user) is None


@pytest.mark.parametrize(
    ("sender", "user"),
    [
        ("bob@example.com", "alice"),
        ("alice@example.org", "alice"),
        ("info+x@example.com", "alice"),
        ("x@deep.sales.example.com.evil.example", "alice"),
        ("alice@example.com.evil.example", "alice"),
        ('"alice@example.com"@evil.example', "alice"),
        ("info@example.com", "bob"),
        ("alice@example.com", "bob@example.org"),
        ("alice@example.com", ""),
        ("everybody@example.com", ""),
    ],
)
async def test_and_from_no_others(sender: str, user: str) -> None:
    verdict = await at_mail(sender, user)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.enhanced) == (550, "5.7.1")


async def test_a_name_without_a_domain_is_nobodys_address_where_no_domain_is_said() -> None:
    settings = SubmissionSettings(SendersSettings())
    assert isinstance(await at_mail("alice@example.com", "alice", settings), Reject)


async def test_a_sink_before_it_may_allow_a_sender() -> None:
    class Allows(Sink):
        @on(MailFrom)
        async def allow(self, event: MailFrom) -> None:
            event.message.shared("submission")["sender"] = "allowed"

    harness = Harness.of(Allows(), Submitted(SubmissionSettings(RIGHTS)))
    facts = Facts(harness.server, session_work(user="alice"), message_work(sender="chief@example.com"))
    assert await harness.ask(MailFrom(facts)) is None


async def test_a_file_says_who_may_send_as_whom_and_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "senders"
    file.write_text("# our users\nbob: bob@example.net, *@lists.example.net\n\n")
    sink = Submitted(SubmissionSettings(SendersSettings(file=file)))
    harness = Harness.of(sink)

    async def ask(sender: str) -> Verdict | None:
        return await harness.ask(MailFrom(Facts(harness.server, session_work(user="bob"), message_work(sender=sender))))

    await sink.start()
    try:
        assert await ask("bob@example.net") is None
        assert await ask("x@lists.example.net") is None
        assert isinstance(await ask("new@example.net"), Reject)
        file.write_text("bob: new@example.net\n")
        async with asyncio.timeout(10):
            while await ask("new@example.net") is not None:
                await asyncio.sleep(0.02)
        assert isinstance(await ask("bob@example.net"), Reject)
    finally:
        await sink.stop()


@pytest.mark.parametrize(
    ("text", "what"),
    [("bob bob@example.net\n", "senders: line 1 is not"), ("bob: bob\n", "senders: 'bob' is no address"), ("bob: *\nx: *y\n", "'\\*y'")],
)
def test_a_file_that_is_wrong_is_said(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "senders"
    file.write_text(text)
    with pytest.raises(ConfigError, match=what):
        Submitted(SubmissionSettings(SendersSettings(file=file)))


async def test_a_whole_message_stays_as_it_is() -> None:
    assert await at_end() == (None, WHOLE)


async def test_what_is_missing_is_added_after_what_is_there_and_nothing_else_changes() -> None:
    start = b"Subject:  odd \t spacing\r\n  folded\r\nX-Weird: \xff\xfe 8-bit\r\n"
    body = b"\r\nBody with \x80 and\r\n  Bcc: no field\r\n"
    verdict, content = await at_end(start + body)
    assert verdict is None
    assert content.startswith(start)
    assert content.endswith(body)
    added = content[len(start) : -len(body)].decode()
    pattern = r"From: <alice@example\.com>\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\nMessage-ID: <m1@mx\.example\.com>\r\n"
    assert re.fullmatch(pattern, added), added


async def test_a_body_alone_gets_a_header() -> None:
    verdict, content = await at_end(b"Received: x\r\nHello, this is no field\r\n")
    assert verdict is None
    assert content.endswith(b"@mx.example.com>\r\n\r\nHello, this is no field\r\n")


async def test_bcc_is_taken_away_and_the_rest_is_where_it_was() -> None:
    content = WHOLE.replace(
        b"Subject:", b"bcc: secret@example.com,\r\n other@example.com\r\nResent-Bcc: x@example.com\r\nBCC : y@z\r\nSubject:"
    )
    assert await at_end(content) == (None, WHOLE)
    assert (await at_end(content, drop_fields=[]))[1] == content


async def test_nothing_is_added_where_that_is_not_wanted() -> None:
    content = b"From: alice@example.com\r\n\r\nHello.\r\n"
    assert await at_end(content, add_missing=False) == (None, content)
    assert (await at_end(b"Subject: x\r\n\r\n", add_missing=False))[0] == Reject(554, "5.6.0", "The message has no From field")


async def test_two_from_fields_are_refused() -> None:
    verdict, _ = await at_end(b"From: alice@example.com\r\nfrom: chief@example.com\r\n\r\n")
    assert verdict == Reject(554, "5.6.0", "The message has more than one From field")


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ("alice@example.com", False),
        ("Alice <alice@example.com>", False),
        ('"Boss, Big" <info@example.com>', False),
        ("alice@example.com, Sales <a@sales.example.com>", False),
        ("Boss <boss@example.com>", True),
        ("alice@example.com, boss@example.com", True),
        ("boss@example.com <alice@example.com>", True),
        ("(boss@example.com) alice@example.com", False),
        ("Boss <boss@example.com> <alice@example.com>", True),
        ("Alice <alice@example.com", True),
        ("undisclosed: alice@example.com;", True),
        ("=?utf-8?q?Boss?= <alice@example.com>", False),
        ("", True),
    ],
)
async def test_the_from_field_is_checked_where_that_is_wanted(value: str, refused: bool) -> None:
    content = WHOLE.replace(b"Alice <alice@example.com>", value.encode())
    verdict, _ = await at_end(content, check_from="refuse")
    assert isinstance(verdict, Reject) == refused, verdict
    assert (await at_end(content))[0] is None


async def test_or_a_sender_field_says_whose_message_it_is() -> None:
    content = WHOLE.replace(b"alice@example.com", b"boss@example.com").replace(b"Subject:", b"Sender: boss@example.com\r\nSubject:")
    verdict, content = await at_end(content, check_from="sender")
    assert verdict is None
    assert content == WHOLE.replace(b"alice@example.com", b"boss@example.com").replace(
        b"Subject:", b"Sender: <alice@example.com>\r\nSubject:"
    )
    assert await at_end(check_from="sender") == (None, WHOLE)


@pytest.mark.parametrize(
    ("field", "taken"),
    [
        (b"Content-Type: multipart/report; report-type=disposition-notification; boundary=x\r\n", True),
        (b"Auto-Submitted: auto-replied\r\n", True),
        (b"Auto-Submitted: no\r\n", False),
        (b"", False),
    ],
)
async def test_reports_alone_may_have_no_sender(field: bytes, taken: bool) -> None:
    assert ((await at_end(field + WHOLE, sender=""))[0] is None) == taken
    assert (await at_end(field + WHOLE, sender="", null_sender="yes"))[0] is None
    assert isinstance(await at_mail("", "alice", SubmissionSettings(RIGHTS, null_sender="no")), Reject)


async def test_a_report_without_from_is_refused_since_nobody_knows_whose_it_is() -> None:
    verdict, _ = await at_end(b"Auto-Submitted: auto-replied\r\n\r\n", sender="")
    assert verdict == Reject(554, "5.6.0", "The message has no From field")


def test_what_two_programs_may_read_differently_has_no_mailboxes() -> None:
    assert mailboxes('a@example.com, "x, y" <b@example.com>, (c) c@example.com (d (e))') == [
        Address.parse(f"{name}@example.com") for name in "abc"
    ]
    assert mailboxes("a@example.com,, b@example.com") is not None
    for value in (
        "a@b@example.com",
        "a b@example.com",
        "<a@example.com> b",
        "a(b@example.com",
        "@x,@y:a@example.com",
        "a",
        "<>",
        "a@example.com;",
    ):
        assert mailboxes(value) is None, value


@given(st.text(alphabet='ab@.<>(),;:"\\ \t[]é', max_size=60))
def test_every_field_has_mailboxes_or_none(value: str) -> None:
    found = mailboxes(value)
    assert found is None or (found and all(address.domain for address in found))


def test_a_long_field_costs_no_more_than_its_length() -> None:
    for value in ("(" * 16000, '"' * 16000, "<" * 16000, "a " * 8000, "a," * 8000, '"\\' * 8000, "@" * 16000):
        mailboxes(value)
