"""Content of 8 bits made one of 7, for a server without 8BITMIME: "convert the message to 7-bit or return it" (RFC 6152 §3).

Only the leaves that need it are encoded: text as quoted-printable, all else as base64; every other octet stays as it is. What cannot be
converted without lying about it is left to the caller: signed and encrypted parts, whose octets are what was signed (RFC 1847 §2.1),
headers beyond ASCII, and structures that do not parse. A DKIM signature over the body does not survive; the alternative is no delivery.
Rejected: parsing and printing with the standard library's ``email``, which would write the headers and other parts anew.
"""

from __future__ import annotations

import base64
import binascii
import re
from email.message import Message

from ..mail.content import Content, MemoryContent
from ..mail.header import Header, split_header
from ..wire.smtp.stuffing import LineEnds

# Larger content is not converted: it would have to be in memory, twice.
MOST = 32 * 1024 * 1024
# Parts within parts deeper than this are an attack, not mail.
_DEEPEST = 30
_UNTOUCHABLE = frozenset(
    ["multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime", "message/global"]
)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_ABOVE = re.compile(rb"[\x80-\xff]")


class _Impossible(Exception):
    """There is no honest conversion."""


def converted(content: Content, binary: bool = False) -> Content | None:
    """The content in 7 bits; None when it cannot be converted. Reads and computes: for a thread. Raises StorageDamaged, OSError.

    Args:
        content: the whole message.
        binary: it came with BODY=BINARYMIME: its parts may be anything, and not a line end of theirs may be touched (RFC 3030 §3).
    """
    if content.size > MOST:
        return None
    data = content.read()
    if not binary:
        ends = LineEnds()
        data = ends.feed(data) + ends.finish()
    try:
        return MemoryContent(_entity(data, "text/plain", top=True, depth=0, binary=binary))
    except _Impossible:
        return None


def _has_lines(data: bytes) -> bool:
    """Whether octets are text of 7 bits as every server takes it: lines of at most 998 octets that end in CRLF, and no NUL."""
    if not data.isascii() or b"\0" in data:
        return False
    lines = data.split(b"\r\n")
    return all(len(line) <= 998 and b"\r" not in line and b"\n" not in line for line in lines)


def _entity(data: bytes, default: str, top: bool, depth: int, binary: bool) -> bytes:
    """A message or a part with its header.

    Args:
        data: its octets.
        default: its type when it has no Content-Type.
        top: it is a whole message, so without MIME-Version it is none of MIME.
        depth: how many parts it is within.
        binary: it may have no lines; otherwise only octets above 127 are a reason to touch it.
    """
    if _has_lines(data) if binary else data.isascii():
        return data
    fields, offset = split_header(data)
    if not fields.isascii() or depth > _DEEPEST:
        raise _Impossible
    header, between, body = Header(fields), data[len(fields) : offset] or b"\r\n", data[offset:]
    if top and "MIME-Version" not in header:
        header.remove("Content-Type")
        header.remove("Content-Transfer-Encoding")
        header.add("MIME-Version", "1.0")
        header.add("Content-Type", f"text/plain; charset={_charset(body)}")
    kind, boundary = _type(header, default)
    encoding = (header.get("Content-Transfer-Encoding") or "7bit").strip().lower()
    if kind in _UNTOUCHABLE or encoding not in ("7bit", "8bit", "binary"):
        raise _Impossible
    if kind.startswith("multipart/"):
        inner = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        body, label = _parts(body, boundary, inner, depth, binary), "7bit"
    elif kind == "message/rfc822":
        body, label = _entity(body, "text/plain", top=True, depth=depth + 1, binary=binary), "7bit"
    elif kind.startswith("message/"):
        raise _Impossible
    elif kind.startswith("text/") and _ends_well(body):
        body, label = _quoted(body), "quoted-printable"
    else:
        body, label = base64.encodebytes(body).replace(b"\n", b"\r\n"), "base64"
    if label != "7bit" or "Content-Transfer-Encoding" in header:
        header.replace("Content-Transfer-Encoding", label)
    return header.to_bytes() + between + body


def _parts(body: bytes, boundary: bytes, default: str, depth: int, binary: bool) -> bytes:
    """The parts of a multipart between their delimiters (RFC 2046 §5.1.1)."""
    if not boundary:
        raise _Impossible
    delimiter = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r\n|\Z)")
    pieces, end, inside = [], 0, False
    for match in delimiter.finditer(body):
        pieces += [_between(body[end : match.start()], inside, default, depth, binary), match[0]]
        end, inside = match.end(), match[1] is None
        if not inside:
            break
    if not pieces:
        raise _Impossible
    return b"".join([*pieces, _between(body[end:], inside, default, depth, binary)])


def _between(data: bytes, inside: bool, default: str, depth: int, binary: bool) -> bytes:
    if inside:
        # The line end of the delimiter line comes first.
        return data[:2] + _entity(data[2:], default, top=False, depth=depth + 1, binary=binary)
    # Preamble and epilogue are "to be ignored" by everybody.
    return _ABOVE.sub(b"?", data)


def _ends_well(body: bytes) -> bool:
    """Whether each CR and LF is part of a line end: quoted-printable of others would be read as line ends."""
    ends = body.count(b"\r\n")
    return body.count(b"\r") == ends and body.count(b"\n") == ends


def _quoted(body: bytes) -> bytes:
    """Quoted-printable, with the line ends as they are (RFC 2045 §6.7)."""
    return _BARE_LF.sub(b"\r\n", binascii.b2a_qp(body, quotetabs=False, istext=True, header=False))


def _type(header: Header, default: str) -> tuple[str, bytes]:
    """The type in lower case, and the boundary."""
    fields = header.fields("Content-Type")
    if not fields:
        return default, b""
    parser = Message()
    parser["Content-Type"] = fields[0].plain
    try:
        return parser.get_content_type(), (parser.get_boundary() or "").encode("ascii")
    except (LookupError, ValueError, TypeError):
        raise _Impossible from None


def _charset(body: bytes) -> str:
    """What text of no declared character set is called: what it surely is, or what RFC 1428 §3 has for it."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return "unknown-8bit"
    return "utf-8"
