"""The PROXY protocol, versions 1 and 2: the header by which a balancer says whose connection it hands on.

A connection from a balancer begins with it and with nothing else; whatever is wrong with it ends the connection, since the octets that
follow could not be told from it. What is believed of it is only ever the client's address: so who may send one is configured.

Source: The PROXY protocol, HAProxy Technologies, 2020/03/05, sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address

import msgspec

from ..errors import RemoteProtocolError

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD = struct.Struct("!12sBBH")
# "the maximum line lengths ... 107 characters" with its CRLF.
_LONGEST_LINE = 107
# Addresses take 36 octets, or 216 for Unix sockets; the rest are TLVs, such as a certificate's name. Nobody needs 64 KiB of them.
_LONGEST_BODY = 4096
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
# Command and version; family and transport.
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_TLV_CRC32C = 0x03


class Proxied(msgspec.Struct, frozen=True):
    """What a header says.

    Args:
        client: the address and port of the client; None where the header says nothing of it (LOCAL, UNKNOWN): then the connection is the
            balancer's own, a health check say.
        server: the address and port that the client connected to; None as above.
    """

    client: tuple[str, int] | None = None
    server: tuple[str, int] | None = None


class ProxyReader:
    """Takes octets until the header is complete; ``rest`` is what came behind it, and belongs to the session."""

    __slots__ = ("_buffer", "rest")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.rest = b""

    def receive(self, data: bytes) -> Proxied | None:
        """The header, or None while it is not complete.

        Raises: RemoteProtocolError when it cannot be one.
        """
        self._buffer += data
        if len(self._buffer) < len(_SIGNATURE):
            if not _begins(bytes(self._buffer)):
                raise _wrong("it does not begin with one")
            return None
        return self._binary() if self._buffer.startswith(_SIGNATURE) else self._text()

    def _text(self) -> Proxied | None:
        end = self._buffer.find(b"\r\n", 0, _LONGEST_LINE)
        if not self._buffer.startswith(b"PROXY ") or (end < 0 and len(self._buffer) >= _LONGEST_LINE):
            raise _wrong("it is no line of version 1")
        if end < 0:
            return None
        line, self.rest = bytes(self._buffer[:end]), bytes(self._buffer[end + 2 :])
        self._buffer.clear()
        return _line(line)

    def _binary(self) -> Proxied | None:
        if len(self._buffer) < _HEAD.size:
            return None
        _, command, family, length = _HEAD.unpack_from(self._buffer)
        if command not in (_LOCAL, _PROXY):
            raise _wrong("it is of another version, or of a command that there is not")
        if length > _LONGEST_BODY:
            raise _wrong("it is too long")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        whole, self.rest = bytes(self._buffer[:end]), bytes(self._buffer[end:])
        self._buffer.clear()
        found, tlvs = _body(command, family, whole[_HEAD.size :])
        _check_sum(whole, tlvs)
        return found


def _begins(data: bytes) -> bool:
    return _SIGNATURE.startswith(data) or b"PROXY ".startswith(data[:6])


def _line(line: bytes) -> Proxied:
    words = line.decode("latin-1").split(" ")
    # "UNKNOWN": "the receiver must ignore anything presented before the CRLF".
    if words[1] == "UNKNOWN":
        return Proxied()
    kind = {"TCP4": IPv4Address, "TCP6": IPv6Address}.get(words[1])
    if kind is None or len(words) != 6:
        raise _wrong("it names no protocol that there is, or not four addresses and ports")
    source, target, source_port, target_port = words[2:]
    try:
        ends = str(kind(source)), str(kind(target))
    except ValueError:
        raise _wrong("an address is none") from None
    return Proxied((ends[0], _port(source_port)), (ends[1], _port(target_port)))


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise _wrong("a port is none")
    return int(text)


def _body(command: int, family: int, body: bytes) -> tuple[Proxied, bytes]:
    """What version 2 says of the addresses, and the TLVs behind them."""
    width = {_TCP4: 4, _TCP6: 16}.get(family, 0)
    # "LOCAL": "the receiver must accept this connection as valid and must use the real connection endpoints".
    # Other families and transports are "UNSPEC" to us: "the receiver should ignore address information".
    if command == _LOCAL or not width:
        return Proxied(), b""
    size = 2 * width + 4
    if len(body) < size:
        raise _wrong("its addresses are cut short")
    kind = IPv4Address if width == 4 else IPv6Address
    source_port, target_port = struct.unpack_from("!HH", body, 2 * width)
    source, target = str(kind(body[:width])), str(kind(body[width : 2 * width]))
    return Proxied((source, source_port), (target, target_port)), body[size:]


def _check_sum(whole: bytes, tlvs: bytes) -> None:
    """Goes through the TLVs, which must be whole, and checks the sum if there is one (section 2.2.5)."""
    place = 0
    while place < len(tlvs):
        if len(tlvs) - place < 3:
            raise _wrong("a TLV is cut short")
        kind, length = struct.unpack_from("!BH", tlvs, place)
        end = place + 3 + length
        if end > len(tlvs):
            raise _wrong("a TLV is cut short")
        if kind == _TLV_CRC32C:
            at = len(whole) - len(tlvs) + place + 3
            plain = whole[:at] + b"\0\0\0\0" + whole[at + 4 :]
            if length != 4 or crc32c(plain) != int.from_bytes(whole[at : at + 4], "big"):
                raise _wrong("its checksum does not match")
        place = end


def _table() -> list[int]:
    found = []
    for octet in range(256):
        value = octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return found


_CRC = _table()


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli (RFC 3720 appendix B.4); a header has some dozens of octets, so a table will do."""
    value = 0xFFFFFFFF
    for octet in data:
        value = value >> 8 ^ _CRC[(value ^ octet) & 0xFF]
    return value ^ 0xFFFFFFFF


def _wrong(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"no PROXY header: {what}", 421, "4.7.0", "Closing the connection")
