"""What a report returns of the message that it is about: the whole, or the header.

"However, if the length of the message is greater than some implementation-specified length, the MTA MAY return only the headers even if
the RET parameter specified FULL" (RFC 3461 §6.2). The whole goes back as it is, to the octet, and is not held in memory when it is large.
What cannot be sent as lines of text (a lone CR or LF, a NUL, a line that is too long) does not go back whole, since message/rfc822 may not
be encoded and whoever relays the report would change or refuse it; its header does, encoded.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from .content import CHUNK, Content, chunks
from .header import HARD_LINE, split_header
from .report_part import Encoding, Part, encoded

# Postfix' bounce_size_limit is 50,000 octets too.
DEFAULT_RETURN = 50 * 1024
# How much of a header goes back at most; the rest helps nobody and costs everybody.
RETURNED_HEADER = 64 * 1024
# Up to here a content is held in memory to be returned, and can be encoded.
IN_MEMORY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Returned:
    """The third part of a report.

    Args:
        part: the part; its data is empty when ``whole`` is what it holds.
        whole: the content to put there as it is, or None.
        full: whether it is all of the message, and not only its header.
    """

    part: Part
    whole: Content | None = None
    full: bool = False


class Ended:
    """A content between two pieces of text, read through as one.

    Args:
        start: the first octets.
        middle: the content.
        end: the last octets.
    """

    __slots__ = ("end", "middle", "start")

    def __init__(self, start: bytes, middle: Content, end: bytes) -> None:
        self.start = start
        self.middle = middle
        self.end = end

    @property
    def size(self) -> int:
        return len(self.start) + self.middle.size + len(self.end)

    @property
    def in_memory(self) -> bool:
        return self.middle.in_memory

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        stop = self.size if length < 0 else min(self.size, offset + length)
        first = len(self.start)
        last = first + self.middle.size
        pieces = [self.start[offset:stop]]
        if offset < last and stop > first:
            begin = max(offset - first, 0)
            pieces.append(self.middle.read(begin, min(stop, last) - first - begin))
        if stop > last:
            pieces.append(self.end[max(offset - last, 0) : stop - last])
        return b"".join(pieces)


def returned(content: Content, most: int, utf8: bool) -> Returned:
    """The third part of a report. Raises StorageDamaged, OSError.

    Args:
        content: the message.
        most: up to how many octets the whole of it goes back; 0 for never.
        utf8: whether the report goes to an address that needs SMTPUTF8 anyway, so that UTF-8 needs no encoding.
    """
    start = content.read(0, RETURNED_HEADER)
    fields, _ = split_header(start)
    if content.size <= most:
        whole = _whole(content, fields, utf8)
        if whole is not None:
            return whole
    if len(fields) == len(start) and content.size > len(start):
        # Too much of it: what was cut off may be the beginning of a line.
        fields = fields[: fields.rfind(b"\n") + 1]
    return Returned(_header_part(fields, utf8))


def _header_part(fields: bytes, utf8: bool) -> Part:
    """The header alone (RFC 6522 §4, RFC 6533 §4.3); what is beyond ASCII and no UTF-8 either was never anything but text."""
    if fields.isascii() or not _is_utf8(fields):
        return Part("text/rfc822-headers", *encoded(fields, False))
    return Part("message/global-headers", *encoded(fields, utf8))


def _whole(content: Content, fields: bytes, utf8: bool) -> Returned | None:
    """All of a message, or None when it cannot go back whole."""
    international = not fields.isascii() and _is_utf8(fields)
    if not fields.isascii() and not international:
        return None
    encoding, ended = _scanned(content)
    kind = "message/global" if international else "message/rfc822"
    if international and not utf8:
        # RFC 6533 §4.5: "the undeliverable body part and headers MUST be encoded using a 7-bit Content-Transfer-Encoding".
        if content.size > IN_MEMORY:
            return None
        data = binascii.b2a_base64(content.read(), newline=False)
        return Returned(Part(kind, "base64", b"".join(data[at : at + 76] + b"\r\n" for at in range(0, len(data), 76))), full=True)
    if encoding is None:
        return None
    if content.size > IN_MEMORY:
        return Returned(Part(kind, encoding, b""), content if ended else Ended(b"", content, b"\r\n"), full=True)
    data = content.read()
    return Returned(Part(kind, encoding, data if ended else data + b"\r\n"), full=True)


def _scanned(content: Content) -> tuple[Encoding | None, bool]:
    """How a content can be sent as it is, None for not at all, and whether it ends with a line end; reads all of it, piece by piece."""
    ascii_only, last = True, b""
    for piece in chunks(content, CHUNK):
        ascii_only = ascii_only and piece.isascii()
        lines = (last + piece).split(b"\r\n")
        last = lines.pop()
        if len(last) > HARD_LINE + 1 or any(map(_is_odd, lines)):
            return None, False
    if _is_odd(last):
        return None, False
    return ("7bit" if ascii_only else "8bit"), not last


def _is_odd(line: bytes) -> bool:
    return len(line) > HARD_LINE or b"\r" in line or b"\n" in line or b"\0" in line


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
