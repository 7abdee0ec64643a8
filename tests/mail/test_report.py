"""Failure reports: what RFC 3464 asks for is there, mail programs can read it, and nobody's text can write fields of its own."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Address, Recipient
from penstock.mail.envelope import Envelope, MailParameters
from penstock.mail.report import RETURNED_HEADER, Failure, ReportFacts, failure_report, report_envelope, wants_report

HEADER = b"From: alice@example.com\r\nSubject: hello\r\n"


def facts(sender: str = "alice@example.com", header: bytes = HEADER, envid: str = "") -> ReportFacts:
    """About a message from alice."""
    envelope = Envelope(Address.parse(sender), [], MailParameters(envid=envid))
    return ReportFacts("mx.example.com", "R1", "M1", envelope, header, 1_700_000_000.0, 1_700_000_600.0)


def failure(address: str = "bob@example.com", text: str = "No such user here", orcpt: str = "", status: str = "5.1.1") -> Failure:
    """One recipient that failed."""
    return Failure(Recipient(Address.parse(address), address, orcpt=orcpt), status, text)


def parsed(raw: bytes) -> EmailMessage:
    """The report as a mail program reads it, without a defect anywhere."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert part.defects == []
    return message


def test_the_report_is_a_multipart_report_from_nobody_to_the_sender() -> None:
    message = parsed(failure_report(facts(), [failure()]))
    assert message.get_content_type() == "multipart/report"
    assert message["content-type"].params["report-type"] == "delivery-status"
    assert message["To"].addresses[0].addr_spec == "alice@example.com"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@mx.example.com"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<R1@mx.example.com>"
    assert message["Date"].datetime.timestamp() == 1_700_000_600
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "message/delivery-status", "text/rfc822-headers"]


def test_every_field_that_rfc_3464_asks_for_is_there_once() -> None:
    raw = failure_report(
        facts(envid="QQ314159"), [failure(orcpt="rfc822;robert@x.example"), failure("carol@example.com", "full", status="4.2.2")]
    )
    status = list(parsed(raw).iter_parts())[1]
    about, bob, carol = (dict(group.items()) for group in status.get_payload())
    assert about["Reporting-MTA"] == "dns; mx.example.com"
    assert about["Original-Envelope-Id"] == "QQ314159"
    assert about["Arrival-Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert bob == {
        "Original-Recipient": "rfc822;robert@x.example",
        "Final-Recipient": "rfc822; bob@example.com",
        "Action": "failed",
        "Status": "5.1.1",
        "Diagnostic-Code": "x-penstock; No such user here",
    }
    assert carol["Final-Recipient"] == "rfc822; carol@example.com"
    assert carol["Status"] == "4.2.2"
    assert "Original-Recipient" not in carol


def test_the_words_name_every_recipient_with_the_reason() -> None:
    text = next(parsed(failure_report(facts(), [failure(), failure("carol@example.com", "Mailbox full")])).iter_parts()).get_content()
    assert "<bob@example.com>: No such user here (5.1.1)" in text
    assert "<carol@example.com>: Mailbox full (5.1.1)" in text


def test_the_header_of_the_message_comes_back_and_not_all_of_a_huge_one() -> None:
    returned = list(parsed(failure_report(facts(), [failure()])).iter_parts())[2]
    assert returned.get_payload().split() == HEADER.decode().split()
    huge = failure_report(facts(header=b"X: " + b"y" * 1_000_000), [failure()])
    assert len(huge) < RETURNED_HEADER + 4000
    assert len(list(parsed(huge).iter_parts())) == 3


def test_addresses_beyond_ascii_are_reported_in_the_form_of_rfc_6533() -> None:
    raw = failure_report(facts(), [failure("jörg@example.com")])
    assert b"Content-Type: message/global-delivery-status\r\n" in raw
    assert "Final-Recipient: utf-8; jörg@example.com\r\n".encode() in raw
    assert b"report-type=global-delivery-status;" in raw
    raw.decode("utf-8")


HOSTILE = [
    "x\r\nAction: delivered",
    "x\n\nFinal-Recipient: rfc822; y",
    "x\r\n\r\n--=_R1/mx.example.com--\r\n",
    "a\0b\x0bc\x85d\u2028e",
    "\r",
    "y" * 5000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_field_no_part_and_no_line(text: str) -> None:
    raw = failure_report(facts(envid=text, header=text.encode()), [failure(text=text, orcpt=f"rfc822;{text}")])
    words, status = (part.split(b"\r\n\r\n", 1)[1] for part in raw.split(b"\r\n--=_R1/mx.example.com\r\n")[1:3])
    groups = [email.message_from_bytes(group) for group in status.strip().split(b"\r\n\r\n")]
    assert groups[0].keys() == ["Original-Envelope-Id", "Reporting-MTA", "X-Penstock-Queue-ID", "Arrival-Date"]
    assert groups[1].keys() == ["Original-Recipient", "Final-Recipient", "Action", "Status", "Diagnostic-Code"]
    assert groups[1]["Action"] == "failed"
    assert len(groups) == 2
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", words + status)
    assert len(words.strip().split(b"\r\n")) == 6
    assert all(len(line) <= 998 for line in (words + status).split(b"\r\n"))


@given(st.text(max_size=100), st.text(max_size=100), st.binary(max_size=200))
def test_any_text_gives_a_report_with_two_groups_and_three_parts(text: str, orcpt: str, header: bytes) -> None:
    raw = failure_report(facts(header=header), [failure(text=text, orcpt=orcpt)])
    assert len(re.findall(rb"(?m)^--=_R1/mx\.example\.com\r?$", raw)) >= 3
    status = raw.split(b"\r\n--=_R1/mx.example.com\r\n")[2].split(b"\r\n\r\n", 1)[1]
    assert len(status.strip(b"\r\n").split(b"\r\n\r\n")) == 2
    assert status.count(b"\r\nAction: ") == 1
    assert b"\r" not in status.replace(b"\r\n", b"")
    assert b"\n" not in status.replace(b"\r\n", b"")


def test_a_report_is_sent_from_the_null_path_and_asks_for_no_report_itself() -> None:
    envelope = report_envelope(Address.parse("alice@example.com"))
    assert envelope.sender.is_null
    assert [(str(r.address), r.notify) for r in envelope.recipients] == [("alice@example.com", {"never"})]


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [(set(), True), ({"failure"}, True), ({"success", "failure"}, True), ({"never"}, False), ({"success"}, False), ({"delay"}, False)],
)
def test_notify_decides_whether_the_sender_hears_of_a_failure(notify: set[str], wanted: bool) -> None:
    assert wants_report(Recipient(Address.parse("a@b"), notify=frozenset(notify))) is wanted
