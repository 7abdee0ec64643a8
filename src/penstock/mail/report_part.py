"""What the parts of a report have in common: a body part that is encoded already, and text from outside made safe for it.

What a remote server replied, what an address looks like and what a sink wrote is put into a report that somebody's program reads: nothing
of it may end a line, begin a field, or end a part."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import Literal

from .header import HARD_LINE, SOFT_LINE

Encoding = Literal["7bit", "8bit", "quoted-printable", "base64"]

# Text of a stranger is cut here, in octets: whole for people to read, and never longer than a line may be.
MAX_TEXT = 900
_NOT_QCHAR = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]")


@dataclass(frozen=True, slots=True)
class Part:
    """One body part.

    Args:
        type: the value of Content-Type.
        encoding: how the data is encoded.
        data: the octets as they are sent; each line of them ends with CRLF.
    """

    type: str
    encoding: Encoding
    data: bytes

    def header(self) -> bytes:
        """The header of the part, with the empty line after it."""
        transfer = "" if self.encoding == "7bit" else f"Content-Transfer-Encoding: {self.encoding}\r\n"
        return f"Content-Type: {self.type}\r\n{transfer}\r\n".encode("ascii")


def safe(text: str, utf8: bool, most: int = MAX_TEXT) -> str:
    """Text from outside as one line of printable characters.

    Args:
        text: anything.
        utf8: whether characters beyond ASCII stay; else they are written as RFC 6533 §3 does, ``\\x{E9}``.
        most: octets at which it is cut.
    """
    # So much of it is looked at: a reply of megabytes costs no more than one that is too long.
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    if not utf8:
        line = "".join(c if c.isascii() else f"\\x{{{ord(c):02X}}}" for c in line[:most])
    return line.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def address_text(address: str, utf8: bool) -> str:
    """An address for a field: ``rfc822;...``, or ``utf-8;...`` where it is beyond ASCII (RFC 6533 §3).

    "in a 7-bit transport environment including a message/delivery-status 'Original-Recipient:' or 'Final-Recipient:' field,
    (utf-8-addr-xtext MUST be used instead)".
    """
    if address.isascii():
        return f"rfc822; {safe(address, False)}"
    return f"utf-8; {safe(address, True) if utf8 else xtext(address)}"


def xtext(address: str) -> str:
    """An address as utf-8-addr-xtext (RFC 6533 §3)."""
    return safe(_NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", address[:MAX_TEXT]), False)


def folded(name: str, value: str) -> str:
    """A field with its line end, folded before white space where it would pass 78 characters; the value is one safe line."""
    lines, line = [], f"{name}:"
    for word in value.split(" "):
        if len(line) + 1 + len(word) > SOFT_LINE and line.strip() and line != f"{name}:":
            lines.append(line)
            line = ""
        line = f"{line} {word}"
    return "\r\n".join([*lines, line]) + "\r\n"


def encoded(data: bytes, eight_bit: bool) -> tuple[Encoding, bytes]:
    """Octets of text in the plainest encoding that carries them unchanged; what is returned ends with a line end.

    Args:
        data: the octets; CRLF is a line end.
        eight_bit: whether octets above 127 may be sent as they are.
    """
    lines = data.split(b"\r\n")
    odd = any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    short = max(map(len, lines)) <= HARD_LINE
    if not odd and short and (data.isascii() or eight_bit):
        return ("7bit" if data.isascii() else "8bit"), _ended(data)
    if odd:
        # Quoted-printable would make a line end of a lone CR or LF.
        return "base64", _lines_of(binascii.b2a_base64(data, newline=False))
    plain = binascii.b2a_qp(data.replace(b"\r\n", b"\n"), istext=True)
    return "quoted-printable", _ended(plain.replace(b"\n", b"\r\n"))


def _ended(data: bytes) -> bytes:
    return data if not data or data.endswith(b"\r\n") else data + b"\r\n"


def _lines_of(data: bytes) -> bytes:
    """Base64 in lines of at most 76 characters (RFC 2045 §6.8)."""
    return b"".join(data[at : at + 76] + b"\r\n" for at in range(0, len(data), 76))
