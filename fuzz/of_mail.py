"""Targets for what reads and writes messages: addresses, headers, encoded words, reports, next hops.

A target takes octets and returns, or lets an assertion or an undocumented exception out. Each states more than "no crash": what is read and
written again is the same, what is refused is refused with the documented exception.
"""

from __future__ import annotations

import re

from penstock.errors import AddressError, HeaderError
from penstock.mail.address import Address
from penstock.mail.content import MemoryContent
from penstock.mail.encoded import decode_words
from penstock.mail.envelope import Envelope, MailParameters, Recipient
from penstock.mail.header import Field, Header, Section, split_header
from penstock.mail.idna import to_ascii
from penstock.mail.nexthop import NextHop
from penstock.mail.reply import Reply
from penstock.mail.report import ReportFacts, ReportSettings, make_report
from penstock.mail.report_fields import About, Reported
from penstock.mail.report_text import Text

from .reading import Reader

_NOT_IN_LINE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_ONE_REPLY = re.compile(rb"(?:([2-5][0-9]{2})-[^\r\n\0]*\r\n)*([2-5][0-9]{2}) [^\r\n\0]*\r\n")


def address(data: bytes) -> None:
    """What parses prints as something that parses to the same, and holds nothing that could leave its line."""
    text = data.decode("utf-8", "replace")
    try:
        found = Address.parse(text)
    except AddressError:
        return
    written = str(found)
    assert not any(c in written for c in "\r\n\0"), written
    if found.domain:
        # A quoted local part may need more room than the path that it came in: 254 octets are those of what was sent.
        assert len(written.encode()) > 254 or Address.parse(written) == found, written
    for local in (text[:64], text[::-1][:64]):
        try:
            other = found.with_local(local)
        except AddressError:
            continue
        assert not other.domain or len(str(other).encode()) > 254 or Address.parse(str(other)) == other, other
    try:
        assert to_ascii(found.domain).isascii()
    except ValueError:
        pass


def header(data: bytes) -> None:
    """Fields put together are the section that they came from; section and body together are the message."""
    fields, body = split_header(data)
    assert data.startswith(fields)
    assert data[len(fields) : body] in (b"", b"\r\n", b"\n")
    head = Header(fields)
    assert b"".join(field.raw for field in head) == fields == head.to_bytes()
    assert len(head) == len(list(head))
    section = Section(fields)
    for field in list(head)[:20]:
        assert field in list(section.named(field.name))
        assert field.name in head
        assert head.get(field.name) is not None
        assert not any(c in field.value for c in "\r\n\0\x1b") or "\r" in field.plain or not field.value.isprintable()
    # What is split once is split the same again.
    assert split_header(fields)[0] == fields


def edits(data: bytes) -> None:
    """No edit makes more of a header than the one field that it names, whatever the value; all other fields stay to the octet."""
    read = Reader(data)
    head = Header.from_content(read.rest_of(read.number(200)))
    for _ in range(8):
        if not read.left:
            break
        deed, name, value = read.number(4), read.text(12), read.text(80)
        before = list(head)
        same = [field for field in before if field.name.lower() == name.lower()]
        others = [field for field in before if field not in same]
        try:
            _edit(head, deed, name, value)
        except HeaderError:
            assert list(head) == before
            continue
        raw = head.to_bytes()
        ended = raw if raw.endswith(b"\n") or not raw else raw + b"\r\n"
        assert split_header(ended + b"\r\nbody")[0] == ended, "an edit ended the header"
        after = list(head)
        assert [_whole(f) for f in after if f.name.lower() != name.lower()] == [_whole(f) for f in others]
        assert len(after) - len(others) == (len(same) + 1 if deed in (0, 1) else 1 if deed == 2 else 0)
        for field in after:
            if field.name == name and _whole(field) not in map(_whole, same):
                assert not _NOT_IN_LINE.search(field.raw), field.raw


def _whole(field: Field) -> bytes:
    """A field with its line end: the last one of a message without a body may have none until another comes after it."""
    return field.raw.rstrip(b"\r\n")


def _edit(head: Header, deed: int, name: str, value: str) -> None:
    if deed in (0, 1):
        head.add(name, value, first=bool(deed))
    elif deed == 2:
        head.replace(name, value)
    else:
        head.remove(name)


def encoded_words(data: bytes) -> None:
    """Decoding ends, grows little, brings no line end or control with it, and leaves plain text alone."""
    text = data.decode("utf-8", "replace")
    decoded = decode_words(text)
    assert len(decoded) <= 4 * len(text) + 16
    if "=?" not in text:
        assert decoded == text
    before = {c for c in text if not c.isprintable()}
    brought = {c for c in decoded if not c.isprintable()} - before
    assert not brought & set("\r\n\0\x1b\x07\x7f\u2028\u2029").union(map(chr, range(0x80, 0xA0))), brought
    assert Field("Subject", b"Subject: " + data).value is not None


def next_hop(data: bytes) -> None:
    """A next hop that parses prints as something that parses to the same; all else is a ValueError."""
    text = data.decode("utf-8", "replace")
    try:
        hop = NextHop.parse(text)
    except ValueError:
        hop = None
    if hop is not None:
        assert NextHop.parse(str(hop)) == hop
    for make in (NextHop.of_domain, NextHop.of_queue):
        try:
            make(text)
        except ValueError:
            pass


def report(data: bytes) -> None:
    """A report about any message for any reason is a well-formed message: no bare line end, no line too long, its parts in their places."""
    read = Reader(data)
    reply = Reply(read.number(600), read.text(12), read.text(300))
    recipient = Recipient(_address(read), orcpt=read.text(60))
    one = Reported(recipient, "failed", read.text(8), read.text(60), reply, read.text(40))
    envelope = Envelope(_address(read), [recipient], MailParameters(envid=read.text(40)))
    about = About(read.text(30), "1KA9D2M7QRX4T000", envelope, 1_700_000_000.0)
    facts = ReportFacts(about, "1KA9D2M7QRX4T000", MemoryContent(read.rest), _address(read), 1_700_000_100.0)
    made = make_report("failed", facts, [one], ReportSettings())
    content = made.content.read()
    assert not _NOT_IN_LINE.search(content)
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    boundary = re.search(rb'boundary="([^"]+)"', content)
    assert boundary is not None
    assert content.count(b"--" + boundary[1]) == 4
    for kind in ("failed", "delayed", "success"):
        try:
            Text.parse(kind, read.rest.decode("utf-8", "replace"))  # type: ignore[arg-type]
        except ValueError:
            pass


def _address(read: Reader) -> Address:
    try:
        return Address.parse(read.text(40))
    except AddressError:
        return Address("alice", "example.com")


def reply_out(data: bytes) -> None:
    """Whatever a sink puts into a reply, exactly one reply goes over the wire, and each line is short enough."""
    read = Reader(data)
    raw = Reply(read.number(1000), read.text(10), read.rest.decode("utf-8", "surrogateescape")).to_bytes()
    assert _ONE_REPLY.fullmatch(raw), raw
    assert all(len(line) <= 512 for line in raw.splitlines(keepends=True) if line.endswith(b"\r\n"))


TARGETS = {
    "address": address,
    "header": header,
    "edits": edits,
    "encoded_words": encoded_words,
    "next_hop": next_hop,
    "report": report,
    "reply_out": reply_out,
}
