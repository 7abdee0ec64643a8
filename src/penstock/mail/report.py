"""Delivery status notifications: the message that tells a sender what became of another (RFC 3464).

A report is an ordinary message with the null reverse-path; it is answered by nobody (RFC 3464 §2, RFC 3834 §2). It has three parts: words
for people (``report_text``), fields for programs (``report_fields``), and the message itself or its header (``report_content``).

A report should arrive whatever its way is like, so it is 7-bit wherever that loses nothing, and needs SMTPUTF8 only where the sender's own
address does: whoever has such an address can be reached in no other way. Else what is returned of a message with a header beyond ASCII is
encoded (RFC 6533 §4.5), since nobody knows whether the way back knows SMTPUTF8. Only the whole content of an 8BITMIME message stays 8-bit,
as message/rfc822 may not be encoded (RFC 2046 §5.2.1).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from .address import Address
from .content import Content, MemoryContent
from .envelope import Envelope, MailParameters, Recipient
from .header import Header
from .report_content import DEFAULT_RETURN, RETURNED_HEADER, Ended, Returned, returned
from .report_fields import About, date, status_part
from .report_fields import Reported as Reported
from .report_part import safe
from .report_text import Kind as Kind
from .report_text import Text, Words, text_part

# RFC 5322 §3.6.4, as everybody writes it; anything else is not repeated.
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,200}>")
_NOT_IN_BOUNDARY = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What the administrator may say about reports.

    Args:
        return_full: octets of a message up to which the whole of it goes back with a failure, unless its sender asked for the header alone.
        texts: in the place of our words, by kind.
    """

    return_full: int = DEFAULT_RETURN
    texts: dict[Kind, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Who reports, about which message.

    Args:
        about: the message.
        report_id: the queue id of the report.
        content: the content of the message, with all edits.
        reader: who gets the report.
        now: the present time, in seconds since 1970.
    """

    about: About
    report_id: str
    content: Content
    reader: Address
    now: float


@dataclass(frozen=True, slots=True)
class Report:
    """A report as a message.

    Args:
        envelope: from nobody to the sender, with what the content needs.
        content: header, parts and all.
    """

    envelope: Envelope
    content: Content


def wants_report(recipient: Recipient, kind: Kind) -> bool:
    """Whether the sender wants to hear of this about a recipient.

    Without NOTIFY of failures and delays: "The absence of a NOTIFY parameter in a RCPT command for a message may be interpreted as either
    NOTIFY=FAILURE or NOTIFY=FAILURE,DELAY" (RFC 3461 §4.1).
    """
    if not recipient.notify:
        return kind != "success"
    return {"failed": "failure", "delayed": "delay", "success": "success"}[kind] in recipient.notify


def make_report(kind: Kind, facts: ReportFacts, reported: list[Reported], settings: ReportSettings) -> Report:
    """The DSN about these recipients.

    Reads the header of the message, and the whole of it when it goes back; both may block. Raises StorageDamaged, OSError.

    Args:
        kind: whether it tells of failures, of a delay, or of success; actions of one kind may stand together (RFC 3461 §5.2.8).
        facts: who reports, about which message.
        reported: what became of whom, at least one.
        settings: what the administrator says.
    """
    utf8 = not facts.reader.is_ascii
    text = settings.texts.get(kind) or Text.of(kind)
    back = returned(facts.content, _most(kind, facts, settings), utf8)
    parts = (text_part(_words(facts, reported, back), text, utf8), status_part(facts.about, reported, utf8), back.part)
    eight_bit = utf8 or any(part.encoding == "8bit" for part in parts)
    # Nobody who writes a message can know what will end a part of the report about it.
    boundary = f"=_{_NOT_IN_BOUNDARY.sub('', facts.report_id)[:40]}{secrets.token_hex(8)}"
    subtype = parts[1].type.removeprefix("message/")
    start = (
        _head(facts, text, eight_bit) + f'Content-Type: multipart/report; report-type={subtype};\r\n\tboundary="{boundary}"\r\n'.encode()
    )
    start += b"".join(f"\r\n--{boundary}\r\n".encode() + part.header() + part.data for part in parts)
    end = f"\r\n--{boundary}--\r\n".encode()
    content = MemoryContent(start + end) if back.whole is None else Ended(start, back.whole, end)
    return Report(report_envelope(facts.reader, eight_bit), content)


def report_envelope(reader: Address, eight_bit: bool = False) -> Envelope:
    """The envelope of a report: from nobody, to the sender of the message, with NOTIFY=NEVER (RFC 3461 §6.1)."""
    parameters = MailParameters(body="8BITMIME" if eight_bit else "", smtputf8=not reader.is_ascii)
    return Envelope(Address("", ""), [Recipient(reader, notify=frozenset({"never"}))], parameters)


def _most(kind: Kind, facts: ReportFacts, settings: ReportSettings) -> int:
    """Up to which size the message goes back whole.

    RFC 3461 §4.3: "If no RET parameter is supplied, the MTA MAY return either the headers of the message or the entire message for any DSN
    containing indication of failed deliveries"; in others "only the headers of the message should be returned".
    """
    # RFC 8689 §5: what must not travel without TLS does not return without it either.
    parameters = facts.about.envelope.parameters
    return settings.return_full if kind == "failed" and parameters.ret != "HDRS" and not parameters.requiretls else 0


def _words(facts: ReportFacts, reported: list[Reported], back: Returned) -> Words:
    until = max((one.until for one in reported), default=0.0)
    returned_words = "The message" if back.full else "The header of the message"
    about = facts.about
    return Words(about.hostname, about.message_id, date(about.received), date(until) if until else "", returned_words, reported)


def _head(facts: ReportFacts, text: Text, eight_bit: bool) -> bytes:
    """The header of the report but for its Content-Type."""
    host = safe(facts.about.hostname, False, 255)
    header = Header()
    header.add("From", f"Mail Delivery System <MAILER-DAEMON@{host}>")
    header.add("Subject", text.subject)
    header.add("Date", date(facts.now))
    header.add("Message-ID", f"<{safe(facts.report_id, False, 100)}@{host}>")
    header.add("Auto-Submitted", "auto-replied")
    answered = _message_id(facts.content)
    if answered:
        header.add("In-Reply-To", answered)
        header.add("References", answered)
    header.add("MIME-Version", "1.0")
    if eight_bit:
        header.add("Content-Transfer-Encoding", "8bit")
    # As it is: an encoded word may not stand in an address (RFC 2047 §5), and a report to such an address is an SMTPUTF8 message.
    return f"To: <{safe(str(facts.reader), True)}>\r\n".encode() + header.to_bytes()


def _message_id(content: Content) -> str:
    """The Message-ID of the message, "" when there is none that can be repeated."""
    found = _MESSAGE_ID.fullmatch((Header.from_content(content.read(0, RETURNED_HEADER)).get("Message-ID") or "").strip())
    return found[0] if found else ""
