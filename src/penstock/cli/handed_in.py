"""A message as a local program writes it: line ends, dots and an envelope line are put right, and missing header fields are added."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formataddr, formatdate, getaddresses
from typing import IO, BinaryIO

from ..errors import HeaderError
from ..mail.header import HEADER_LOOK, Header, split_header
from .exits import EX_DATAERR, Stop

# What is larger goes to a file.
IN_MEMORY = 1024 * 1024
# A header is looked at as a whole; the server takes no longer one either.
MAX_HEADER = 8 * HEADER_LOOK
_RECIPIENTS, _RESENT = ("To", "Cc", "Bcc"), ("Resent-To", "Resent-Cc", "Resent-Bcc")


class Draft:
    """A message before it is handed in.

    Args:
        file: its octets, with CRLF.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0)
        start = file.read(MAX_HEADER)
        section, self._body = split_header(start)
        if self._body == len(start) == MAX_HEADER:
            raise Stop(EX_DATAERR, f"sendmail: the header has more than {MAX_HEADER} octets")
        self._fields = Header(section)

    @property
    def header(self) -> bytes:
        """The header fields as they are now."""
        return self._fields.to_bytes()

    def recipients(self) -> list[str]:
        """Who the header names, each once; those of the Resent fields alone, where there are such (RFC 5322 §3.6.6)."""
        names = _RESENT if any(name in self._fields for name in _RESENT) else _RECIPIENTS
        # As written: a decoded word could bring a comma that was none.
        values = [field.plain for name in names for field in self._fields.fields(name)]
        return list(dict.fromkeys(address for _, address in getaddresses(values) if address))

    def complete(self, sender: str, full_name: str, domain: str, drop_bcc: bool) -> None:
        """Adds From, Date and Message-ID where they are missing (RFC 6409 §8), and removes who is to stay unseen.

        Raises: Stop.
        """
        fields = self._fields
        if drop_bcc:
            fields.remove("Bcc")
            fields.remove("Resent-Bcc")
        try:
            if "From" not in fields:
                fields.add("From", formataddr((full_name, sender)) if sender.isascii() else sender)
            if "Date" not in fields:
                fields.add("Date", formatdate(time.time(), localtime=True))
            if "Message-ID" not in fields:
                fields.add("Message-ID", f"<{time.time_ns():x}.{secrets.token_hex(8)}@{domain}>")
        except HeaderError as error:
            raise Stop(EX_DATAERR, f"sendmail: {error}") from None

    def pieces(self, size: int) -> Iterator[bytes]:
        """The whole message in pieces, an empty one at the end; may be asked for again."""
        header = self.header
        if header and not header.endswith(b"\n"):
            header += b"\r\n"
        head = header + b"\r\n"
        for start in range(0, len(head), size):
            yield head[start : start + size]
        self._file.seek(self._body)
        while piece := self._file.read(size):
            yield piece
        yield b""


@contextmanager
def read_draft(source: BinaryIO, dots: bool) -> Iterator[Draft]:
    """Reads a message to its end: that of the input, or with ``dots`` a line with nothing but a dot."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
        first = True
        for line in source:
            if dots and line.rstrip(b"\r\n") == b".":
                break
            # What mail programs save in an mbox begins with an envelope line, which is no header field.
            if not (first and line.startswith((b"From ", b">From "))):
                file.write(_with_crlf(line))
            first = False
        yield Draft(file)


def _with_crlf(line: bytes) -> bytes:
    if line.endswith(b"\r\n") or not line.endswith(b"\n"):
        return line
    return line[:-1] + b"\r\n"
