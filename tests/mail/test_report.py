"""Delivery status notifications: what RFC 3464 asks for is there, mail programs can read it, and nobody's text writes fields of its own."""

from __future__ import annotations

import base64
import email
import email.policy
import quopri
import re
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Address, Recipient
from penstock.mail.content import Content, MemoryContent, chunks
from penstock.mail.envelope import Envelope, MailParameters
from penstock.mail.reply import Reply
from penstock.mail.report import Kind, Report, Reported, ReportFacts, ReportSettings, make_report, report_envelope, wants_report
from penstock.mail.report_content import IN_MEMORY, RETURNED_HEADER, Ended
from penstock.mail.report_fields import About
from penstock.mail.report_text import Text

MESSAGE = b"From: alice@example.com\r\nSubject: hello\r\nMessage-ID: <1@client.example>\r\n\r\nHello, Bob.\r\n"
OURS = ReportSettings()


def facts(content: bytes = MESSAGE, sender: str = "alice@example.com", ret: str = "", envid: str = "", reader: str = "") -> ReportFacts:
    """About a message from alice."""
    envelope = Envelope(Address.parse(sender), [], MailParameters(envid=envid, ret=ret))
    about = About("mx.example.com", "M1", envelope, 1_700_000_000.0)
    return ReportFacts(about, "R1", MemoryContent(content), Address.parse(reader or sender), 1_700_000_600.0)


def bob(address: str = "bob@example.com", **more: Any) -> Reported:
    """One recipient that failed, unless told otherwise."""
    recipient = Recipient(Address.parse(address), address, orcpt=more.pop("orcpt", ""))
    return Reported(recipient, **{"action": "failed", "status": "5.1.1", "text": "No such user here", **more})


def report(kind: Kind = "failed", about: ReportFacts | None = None, *reported: Reported, settings: ReportSettings = OURS) -> bytes:
    """The octets of a report."""
    return make_report(kind, about or facts(), list(reported) or [bob()], settings).content.read()


def parsed(raw: bytes) -> EmailMessage:
    """The report as a mail program reads it, without a defect in what we wrote."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    for part in list(message.iter_parts())[:2]:
        assert part.defects == []
    return message


def raw_parts(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Header and body of each part, as they are."""
    boundary = re.search(rb'boundary="([^"]+)"', raw)
    assert boundary
    pieces = raw.split(b"\r\n--" + boundary[1])
    assert pieces[-1] == b"--\r\n"
    return [tuple(piece.removeprefix(b"\r\n").split(b"\r\n\r\n", 1)) for piece in pieces[1:-1]]  # type: ignore[misc]


def groups(raw: bytes) -> list[Any]:
    """The groups of fields of the status part."""
    payload = list(parsed(raw).iter_parts())[1].get_payload()
    assert isinstance(payload, list)
    return payload


def sendable(raw: bytes) -> None:
    """Nothing that SMTP could not carry: whole lines, not too long."""
    assert raw.endswith(b"\r\n")
    lines = raw.split(b"\r\n")
    assert not any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines)
    assert max(map(len, lines)) <= 998


def test_the_report_is_a_multipart_report_from_nobody_to_the_sender() -> None:
    raw = report("failed", facts(ret="HDRS"))
    message = parsed(raw)
    assert message.get_content_type() == "multipart/report"
    assert message["content-type"].params["report-type"] == "delivery-status"
    assert message["To"].addresses[0].addr_spec == "alice@example.com"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@mx.example.com"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<R1@mx.example.com>"
    assert message["In-Reply-To"] == message["References"] == "<1@client.example>"
    assert message["Date"].datetime.timestamp() == 1_700_000_600
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    sendable(raw)


def test_every_field_that_rfc_3464_asks_for_is_there_once() -> None:
    reply = Reply(550, "5.1.1", "No such\nuser here")
    one = bob(orcpt="rfc822;robert@x.example", reply=reply, remote="mx.far.example", tried=1_700_000_500.0)
    raw = report("failed", facts(envid="QQ314159"), one, bob("carol@example.com", status="4.2.2", text="full"))
    about, first, second = groups(raw)
    assert about["Reporting-MTA"] == "dns; mx.example.com"
    assert about["Original-Envelope-Id"] == "QQ314159"
    assert about["Arrival-Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert about["X-Penstock-Queue-ID"] == "M1"
    assert first["Original-Recipient"] == "rfc822;robert@x.example"
    assert first["Final-Recipient"] == "rfc822; bob@example.com"
    assert (first["Action"], first["Status"], first["Remote-MTA"]) == ("failed", "5.1.1", "dns; mx.far.example")
    assert first["Last-Attempt-Date"] == "Tue, 14 Nov 2023 22:21:40 +0000"
    assert second["Diagnostic-Code"] == "x-penstock; full"
    assert (second["Original-Recipient"], second["Remote-MTA"], second["Status"]) == (None, None, "4.2.2")
    assert all(len(group.keys()) == len(set(group.keys())) for group in (about, first, second))
    # RFC 3461 §9.2: each line behind a space.
    assert b"Diagnostic-Code: smtp; 550-5.1.1 No such\r\n 550 5.1.1 user here\r\n" in raw


@pytest.mark.parametrize(("remote", "shown"), [("192.0.2.1", "[192.0.2.1]"), ("2001:db8::1", "[IPv6:2001:db8::1]"), ("mx.x", "mx.x")])
def test_a_remote_server_without_a_name_is_an_address_literal(remote: str, shown: str) -> None:
    assert groups(report("failed", facts(), bob(remote=remote)))[1]["Remote-MTA"] == f"dns; {shown}"


def test_a_delay_says_up_to_when_it_is_tried_and_returns_the_header_alone() -> None:
    raw = report("delayed", facts(ret="FULL"), bob(action="delayed", status="5.1.1", until=1_700_086_400.0))
    (_, one), (_, _, header) = groups(raw), list(parsed(raw).iter_parts())
    assert one["Will-Retry-Until"] == "Wed, 15 Nov 2023 22:13:20 +0000"
    assert (one["Action"], one["Status"]) == ("delayed", "4.0.0")
    assert header.get_content_type() == "text/rfc822-headers"
    assert "Wed, 15 Nov 2023" in next(parsed(raw).iter_parts()).get_content()


def test_successes_of_every_kind_stand_in_one_report() -> None:
    actions = ("delivered", "relayed", "expanded")
    raw = report("success", facts(ret="FULL"), *(bob(f"{action}@example.com", action=action, status="", text="") for action in actions))
    assert [group["Action"] for group in groups(raw)[1:]] == list(actions)
    assert {group["Status"] for group in groups(raw)[1:]} == {"2.0.0"}
    assert list(parsed(raw).iter_parts())[2].get_content_type() == "text/rfc822-headers"
    words = next(parsed(raw).iter_parts()).get_content()
    assert all(f"<{action}@example.com>: " in words for action in actions)


@pytest.mark.parametrize(
    ("ret", "most", "whole"),
    [("FULL", 1000, True), ("", 1000, True), ("HDRS", 1000, False), ("FULL", len(MESSAGE) - 1, False), ("FULL", 0, False)],
)
def test_a_failure_returns_what_was_asked_for_up_to_a_size(ret: str, most: int, whole: bool) -> None:
    raw = report("failed", facts(ret=ret), settings=ReportSettings(return_full=most))
    head, body = raw_parts(raw)[2]
    assert (b"message/rfc822" in head) == whole
    assert body == (MESSAGE if whole else MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n")


@pytest.mark.parametrize(
    ("content", "kind", "encoding"),
    [
        (b"Subject: x\r\n\r\n\xe9\xff\r\n", "message/rfc822", "8bit"),
        ("Subject: h\u00e9\r\n\r\nx\r\n".encode(), "message/global", "base64"),
        (b"Subject: h\xe9\r\n\r\nx\r\n", "text/rfc822-headers", "quoted-printable"),
        (b"Subject: x\r\n\r\nbare\nfeed\r\n", "text/rfc822-headers", ""),
        (b"Subject: x\nFrom: y\r\n\r\nz\r\n", "text/rfc822-headers", "base64"),
        (b"Subject: x\r\n\r\n" + b"l" * 999 + b"\r\n", "text/rfc822-headers", ""),
        (b"Subject: " + b"l" * 1200 + b"\r\n\r\nx\r\n", "text/rfc822-headers", "quoted-printable"),
        (b"Subject: x\r\n\r\nnul\0\r\n", "text/rfc822-headers", ""),
        (b"Subject: x\r\n\r\nlone\r\r\n", "text/rfc822-headers", ""),
        (b"no header at all\r\n", "message/rfc822", ""),
        (b"Subject: x\r\n\r\nno line end", "message/rfc822", ""),
        (b"", "message/rfc822", ""),
    ],
)
def test_what_comes_back_is_what_was_sent_whatever_it_holds(content: bytes, kind: str, encoding: str) -> None:
    raw = report("failed", facts(content, ret="FULL"))
    sendable(raw)
    head, body = raw_parts(raw)[2]
    assert head.split(b"\r\n")[0] == b"Content-Type: " + kind.encode()
    assert (f"Content-Transfer-Encoding: {encoding}".encode() in head) == bool(encoding)
    decode = {"base64": base64.b64decode, "quoted-printable": lambda data: quopri.decodestring(data.replace(b"\r\n", b"\n"))}
    came = decode.get(encoding, bytes)(body)
    wanted = content if "message/" in kind else content.split(b"\r\n\r\n")[0] + b"\r\n"
    if encoding == "quoted-printable":
        wanted = wanted.replace(b"\r\n", b"\n")
    assert came in (wanted, wanted + b"\r\n")
    parsed(raw)


def test_an_eight_bit_report_says_so_on_its_way() -> None:
    made = make_report("failed", facts(b"Subject: x\r\n\r\n\xe9\r\n"), [bob()], OURS)
    assert made.envelope.parameters.body == "8BITMIME"
    assert not made.envelope.parameters.smtputf8
    assert email.message_from_bytes(made.content.read())["Content-Transfer-Encoding"] == "8bit"
    plain = make_report("failed", facts(), [bob()], OURS)
    assert plain.envelope.parameters.body == ""
    assert plain.content.read().isascii()


def test_a_huge_header_comes_back_in_part_and_in_whole_lines() -> None:
    content = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 60) for number in range(3000)) + b"\r\nbody\r\n"
    raw = report("failed", facts(content, ret="HDRS"))
    body = raw_parts(raw)[2][1]
    assert content.startswith(body)
    assert RETURNED_HEADER - 100 < len(body) <= RETURNED_HEADER
    assert body.endswith(b"\r\n")


def test_a_large_message_comes_back_whole_without_being_in_memory() -> None:
    """Read in pieces of any size it is the same."""
    most = 0

    class Counted(MemoryContent):
        in_memory = False

        def read(self, offset: int = 0, length: int = -1) -> bytes:
            nonlocal most
            piece = super().read(offset, length)
            most = max(most, len(piece))
            return piece

    content = MESSAGE + b"0123456789\r\n" * (IN_MEMORY // 10)
    about = ReportFacts(facts(ret="FULL").about, "R1", Counted(content), Address.parse("a@b.example"), 0.0)
    made = make_report("failed", about, [bob()], ReportSettings(return_full=10 * IN_MEMORY)).content
    assert isinstance(made, Ended)
    whole = b"".join(chunks(made, 70_001))
    assert most < IN_MEMORY
    assert raw_parts(whole)[2][1] == content
    assert len(whole) == made.size


@given(
    start=st.binary(max_size=8),
    middle=st.binary(max_size=8),
    end=st.binary(max_size=8),
    offset=st.integers(0, 26),
    length=st.integers(-1, 26),
)
def test_a_content_with_ends_reads_like_one(start: bytes, middle: bytes, end: bytes, offset: int, length: int) -> None:
    content: Content = Ended(start, MemoryContent(middle), end)
    whole = MemoryContent(start + middle + end)
    assert content.size == whole.size
    assert content.read(offset, length) == whole.read(offset, length)


def test_an_address_beyond_ascii_is_written_in_ascii_to_a_sender_who_has_another() -> None:
    """RFC 6533 §3: utf-8-addr-xtext; the report needs no SMTPUTF8 then."""
    one = bob(
        "gr\u00e9 t+x@example.com".replace(" ", ""), orcpt="utf-8;r\u00f6b@x.example", reply=Reply(550, "5.1.1", "Unbekannt: gr\u00e9")
    )
    made = make_report("failed", facts(), [one], OURS)
    raw = made.content.read()
    assert raw.isascii()
    assert not made.envelope.parameters.smtputf8
    (_, group) = groups(raw)
    assert group["Final-Recipient"] == r"utf-8; gr\x{E9}t\x{2B}x@example.com"
    assert group["Original-Recipient"] == r"utf-8;r\x{F6}b@x.example"
    assert group["Diagnostic-Code"] == r"smtp; 550 5.1.1 Unbekannt: gr\x{E9}"
    assert "<gr\u00e9t+x@example.com>" in next(parsed(raw).iter_parts()).get_content()


def test_a_sender_beyond_ascii_gets_a_report_in_utf8() -> None:
    """RFC 6533 §4: message/global-delivery-status, and utf-8-address."""
    content = "Subject: h\u00e9\r\n\r\nx\r\n".encode()
    made = make_report("failed", facts(content, "al\u00e9x@example.com", ret="HDRS"), [bob("gr\u00e9t@example.com", text="h\u00e9")], OURS)
    raw = made.content.read()
    assert made.envelope.parameters.smtputf8
    assert made.envelope.parameters.body == "8BITMIME"
    assert str(made.envelope.recipients[0].address) == "al\u00e9x@example.com"
    assert "To: <al\u00e9x@example.com>\r\n".encode() in raw
    (_, _), (status_head, status), (head, header) = raw_parts(raw)
    assert status_head == b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit"
    assert "Final-Recipient: utf-8; gr\u00e9t@example.com\r\n".encode() in status
    assert head == b"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit"
    assert header == "Subject: h\u00e9\r\n".encode()
    assert b"report-type=global-delivery-status" in raw


def test_the_envelope_of_a_report_asks_for_no_report() -> None:
    """RFC 3461 §6.1: from the null path, NOTIFY=NEVER, no RET."""
    envelope = report_envelope(Address.parse("alice@example.com"))
    assert envelope.sender.is_null
    assert envelope.recipients[0].notify == {"never"}
    assert envelope.parameters.ret == ""


@pytest.mark.parametrize(
    ("notify", "kinds"),
    [
        ("", {"failed", "delayed"}),
        ("never", set()),
        ("success", {"success"}),
        ("failure", {"failed"}),
        ("delay", {"delayed"}),
        ("success,failure,delay", {"failed", "delayed", "success"}),
    ],
)
def test_notify_decides_who_hears_of_what(notify: str, kinds: set[Kind]) -> None:
    recipient = Recipient(Address.parse("b@c.example"), notify=frozenset(filter(None, notify.split(","))))
    every: tuple[Kind, ...] = ("failed", "delayed", "success")
    assert {kind for kind in every if wants_report(recipient, kind)} == kinds


def test_words_of_the_administrator_take_the_place_of_ours() -> None:
    text = Text.parse("failed", "Subject: Unzustellbar: gr\u00fcn\n\nAn $recipients von $hostname, $$5, Nummer $id: gr\u00fcn.\n")
    raw = report("failed", facts(), settings=ReportSettings(texts={"failed": text}))
    message = parsed(raw)
    assert raw.isascii()
    assert message["Subject"] == "Unzustellbar: gr\u00fcn"
    words = next(message.iter_parts()).get_content().rstrip()
    assert words == "An <bob@example.com>: No such user here (5.1.1) von mx.example.com, $5, Nummer M1: gr\u00fcn."


@pytest.mark.parametrize("body", ["$nobody knows", "a lone $ sign", "${recipients"])
def test_words_with_a_gap_that_nobody_knows_are_refused(body: str) -> None:
    with pytest.raises(ValueError, match="gaps of a report's text"):
        Text("Subject", body)


def test_a_subject_of_more_than_one_line_is_refused() -> None:
    with pytest.raises(ValueError, match="is no subject"):
        Text("a\r\nBcc: x@y", "text")


_ANYTHING = st.text(max_size=60) | st.sampled_from(
    ["\r\nX-Injected: 1", "a\r\n\r\n--", "\r\n.\r\n", "\u2028X-Injected: 1", "x" * 3000, "\x00", "\ud800"]
)


@given(local=_ANYTHING, reply=_ANYTHING, text=_ANYTHING, orcpt=_ANYTHING, envid=_ANYTHING, remote=_ANYTHING, utf8=st.booleans())
def test_no_text_from_outside_can_write_a_field_or_end_a_part(
    local: str, reply: str, text: str, orcpt: str, envid: str, remote: str, utf8: bool
) -> None:
    """Addresses, replies, ENVID and ORCPT as nobody's parser would let them through."""
    recipient = Recipient(Address(local, "example.com"), orcpt=orcpt)
    one = Reported(recipient, "failed", text, text, Reply(550, reply, reply), remote, 1.0, 2.0)
    sender = Address("s\u00e9n" if utf8 else local, "example.com")
    about = About("mx.example.com", "M1", Envelope(sender, [], MailParameters(envid=envid)), 0.0)
    made = make_report("failed", ReportFacts(about, "R1", MemoryContent(MESSAGE), sender, 0.0), [one], OURS)
    raw = made.content.read()
    sendable(raw)
    parts = raw_parts(raw)
    assert len(parts) == 3
    fields = [re.match(rb"[!-9;-~]+(?=:)|[ ]|$", line) for line in parts[1][1].split(b"\r\n")]
    assert all(fields)
    names = [field[0] for field in fields if field and field[0].strip()]
    assert b"X-Injected" not in names
    assert names.count(b"Action") == names.count(b"Final-Recipient") == names.count(b"Reporting-MTA") == 1
    head = raw.partition(b"\r\n\r\n")[0]
    assert b"X-Injected" not in {line.partition(b":")[0] for line in head.split(b"\r\n")}
    assert head.count(b"\r\nTo:") + head.startswith(b"To:") == 1


@given(subject=st.binary(max_size=200))
def test_nothing_in_the_message_can_end_its_part(subject: bytes) -> None:
    """Not even a line that looks like the boundary of another report."""
    raw = report("failed", facts(b"Subject: " + subject + b"\r\n\r\n--=_R1\r\n--=_R1--\r\n"))
    sendable(raw)
    assert len(raw_parts(raw)) == 3


def test_two_reports_have_different_boundaries() -> None:
    """Whoever got one cannot write a message that breaks the next."""
    made: list[Report] = [make_report("failed", facts(), [bob()], OURS) for _ in range(2)]
    boundaries = {re.search(rb'boundary="([^"]+)"', one.content.read())[1] for one in made}  # type: ignore[index]
    assert len(boundaries) == 2


def test_what_cannot_be_the_status_of_an_action_is_not() -> None:
    """RFC 3463 §3: the class says whether it is over."""
    assert bob(status="2.0.0").code == bob(status="").code == bob(status="5.1\r\nx").code == "5.0.0"
    assert bob(action="delivered", status="5.0.0").code == "2.0.0"
    assert bob(action="delayed", status="4.4.1").code == "4.4.1"


def test_many_recipients_are_all_in_the_fields_and_some_in_the_words() -> None:
    raw = report("failed", facts(), *(bob(f"u{number}@example.com") for number in range(150)))
    assert len(groups(raw)) == 151
    words = next(parsed(raw).iter_parts()).get_content()
    assert words.count("@example.com>") == 100
    assert "and 50 more" in words
