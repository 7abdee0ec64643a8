"""What must be known of a content before it is sent: whether it fits through 7 bits, whether its lines end in CRLF, and its header.

MAIL has to say some of it, so all of the content is looked at before. That is cheap: octets are looked at at the speed of memory, and those
of a large message are read twice, the second time from the page cache.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from ..events.work import MessageWork
from ..mail.content import Content, chunks
from ..mail.message import with_edits
from ..wire.smtp.client_parameters import Facts
from ..wire.smtp.stuffing import NewlineWatch

# Content up to here is read at once and leaves in one write with its dot.
SMALL = 128 * 1024


class Parcel(NamedTuple):
    """A content, ready to be sent.

    Args:
        content: what is sent.
        data: all of it where it is small, else None.
        eight_bit: it has octets above 127.
        clean: every CR and LF in it is part of a CRLF.
        utf8: its header needs SMTPUTF8.
        binary: it may have no lines at all, as it came with BODY=BINARYMIME.
    """

    content: Content
    data: bytes | None
    eight_bit: bool
    clean: bool
    utf8: bool
    binary: bool = False

    def facts(self, utf8: bool, age: float = 0.0) -> Facts:
        """For MAIL.

        Args:
            utf8: a recipient needs SMTPUTF8.
            age: seconds since the message was received.
        """
        return Facts(self.content.size, self.eight_bit, self.utf8 or utf8, age, self.binary)


async def examine(work: MessageWork, content: Content | None = None) -> Parcel:
    """Looks through the message as it will be sent.

    Args:
        work: the message.
        content: what is sent in place of the message's content, None for that itself.

    Raises: StorageDamaged, OSError.
    """
    # What was put in its place was converted, and has lines.
    binary = content is None and work.record.envelope.parameters.body == "BINARYMIME"
    content = content or content_of(work)
    if not content.in_memory:
        return await asyncio.to_thread(_examine, work, content, binary)
    return _examine(work, content, binary)


def content_of(work: MessageWork) -> Content:
    """The content with the edits that were kept."""
    assert work.content is not None
    return with_edits(work.record, work.content)


def _examine(work: MessageWork, content: Content, binary: bool) -> Parcel:
    data = content.read() if content.size <= SMALL else None
    if data is not None:
        eight_bit, clean = not data.isascii(), _is_clean(data)
    else:
        eight_bit, clean = _look_through(content)
    return Parcel(content, data, eight_bit, clean, eight_bit and _needs_utf8(work), binary)


def _look_through(content: Content) -> tuple[bool, bool]:
    """Whether a large content has octets above 127, and whether all its line ends are good."""
    eight_bit, watch = False, NewlineWatch()
    for piece in chunks(content):
        eight_bit = eight_bit or not piece.isascii()
        watch.look(piece)
    watch.finish()
    return eight_bit, not watch.found


def _is_clean(data: bytes) -> bool:
    ends = data.count(b"\r\n")
    return data.count(b"\n") == ends and data.count(b"\r") == ends


def _needs_utf8(work: MessageWork) -> bool:
    """Whether the header is one of RFC 6532, which only a server with SMTPUTF8 may get.

    Octets above 127 alone do not make it one: mail whose sender never asked for SMTPUTF8 has had such headers for thirty years, and passes
    every server. To bounce it would help nobody. What our own sinks wrote has to be in UTF-8, so it counts.
    """
    record = work.record
    if not record.envelope.parameters.smtputf8 and record.origin == "smtp":
        return False
    header = work.section().raw
    if header.isascii():
        return False
    try:
        header.decode()
    except UnicodeDecodeError:
        return False
    return True
