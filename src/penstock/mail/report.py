"""Delivery status notifications: the message that tells a sender what became of another (RFC 3464).

A report is an ordinary message with the null reverse-path; it is answered by nobody (RFC 3464 §2, RFC 3834 §2).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from .address import Address
from .envelope import Envelope, Recipient

# How much of the original is sent back at most; the rest helps nobody and costs everybody.
RETURNED_HEADER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Failure:
    """What became of one recipient.

    Args:
        recipient: who.
        status: the enhanced status code, e.g. "5.1.1" (RFC 3463).
        text: the reason, in words.
    """

    recipient: Recipient
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Who reports, about which message.

    Args:
        hostname: the reporting server.
        report_id: the queue id of the report.
        message_id: the queue id of the message.
        envelope: its envelope.
        header: its header fields.
        received: when it came, in seconds since 1970.
        now: the present time, in seconds since 1970.
    """

    hostname: str
    report_id: str
    message_id: str
    envelope: Envelope
    header: bytes
    received: float
    now: float


def wants_report(recipient: Recipient) -> bool:
    """Whether the sender wants to hear of a failure: yes, unless NOTIFY says otherwise (RFC 3461 §5.2.2)."""
    return not recipient.notify or "failure" in recipient.notify


def failure_report(facts: ReportFacts, failures: list[Failure]) -> bytes:
    """The DSN that tells of failures, as a whole message with CRLF line ends (RFC 3464 §2)."""
    boundary = f"=_{facts.report_id}/{facts.hostname}"
    utf8 = not all(f.recipient.address.is_ascii and f.text.isascii() for f in failures) or not facts.envelope.sender.is_ascii
    kind = "global-delivery-status" if utf8 else "delivery-status"
    parts = [
        ("text/plain; charset=utf-8", _words(facts, failures)),
        (f"message/{kind}", _status(facts, failures)),
        ("message/global-headers" if utf8 else "text/rfc822-headers", facts.header[:RETURNED_HEADER].decode("utf-8", "replace")),
    ]
    eight = "Content-Transfer-Encoding: 8bit\r\n"
    body = "".join(f"--{boundary}\r\nContent-Type: {kind}\r\n{eight}\r\n{text}\r\n" for kind, text in parts)
    head = (
        f"From: Mail Delivery System <MAILER-DAEMON@{facts.hostname}>\r\n"
        f"To: <{facts.envelope.sender}>\r\n"
        "Subject: Undelivered mail returned to sender\r\n"
        f"Date: {format_datetime(datetime.fromtimestamp(facts.now, UTC))}\r\n"
        f"Message-ID: <{facts.report_id}@{facts.hostname}>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={kind};\r\n\tboundary="{boundary}"\r\n'
        f"{eight}\r\n"
    )
    return f"{head}{body}--{boundary}--\r\n".encode()


def _words(facts: ReportFacts, failures: list[Failure]) -> str:
    lines = [
        f"This is the mail system at {facts.hostname}.",
        "",
        "Your message could not be delivered to the following recipients.",
        "Its header is attached; the mail system will not try again.",
        "",
    ]
    lines += [f"<{f.recipient.address}>: {_one_line(f.text)} ({f.status})" for f in failures]
    return "\r\n".join(lines) + "\r\n"


def _status(facts: ReportFacts, failures: list[Failure]) -> str:
    """The machine-readable part: fields of the message, then a group of fields for each recipient (RFC 3464 §2.2, §2.3)."""
    groups = [[f"Reporting-MTA: dns; {facts.hostname}", f"X-Penstock-Queue-ID: {facts.message_id}"]]
    if facts.envelope.parameters.envid:
        groups[0].insert(0, f"Original-Envelope-Id: {_one_line(facts.envelope.parameters.envid)}")
    groups[0].append(f"Arrival-Date: {format_datetime(datetime.fromtimestamp(facts.received, UTC))}")
    for failure in failures:
        fields = [f"Original-Recipient: {_one_line(failure.recipient.orcpt)}"] if failure.recipient.orcpt else []
        kind = "rfc822" if failure.recipient.address.is_ascii else "utf-8"
        fields += [
            f"Final-Recipient: {kind}; {failure.recipient.address}",
            "Action: failed",
            f"Status: {failure.status}",
            f"Diagnostic-Code: x-penstock; {_one_line(failure.text)}",
        ]
        groups.append(fields)
    return "\r\n".join("\r\n".join(group) + "\r\n" for group in groups)


def _one_line(text: str) -> str:
    """Text from outside, safe inside a header field."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:800]


def report_envelope(sender: Address) -> Envelope:
    """The envelope of a report: from nobody, to the sender of the message (RFC 3464 §2)."""
    return Envelope(Address("", ""), [Recipient(sender, notify=frozenset({"never"}))])
