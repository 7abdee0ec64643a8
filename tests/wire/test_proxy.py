"""The PROXY protocol: both versions, whole and octet by octet, and whatever else may come in its place."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import RemoteProtocolError
from penstock.wire.proxy import Proxied, ProxyReader, crc32c

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 40000, 25)
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::2") + struct.pack("!HH", 40000, 25)
CLIENT4 = Proxied(("192.0.2.1", 40000), ("198.51.100.2", 25))
CLIENT6 = Proxied(("2001:db8::1", 40000), ("2001:db8::2", 25))


def binary(body: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def summed(body: bytes) -> bytes:
    """A header with the checksum of itself."""
    empty = binary(body + tlv(3, b"\0\0\0\0"))
    return empty[:-4] + crc32c(empty).to_bytes(4, "big")


HEADERS = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\n", CLIENT4),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n", CLIENT6),
    (b"PROXY UNKNOWN\r\n", Proxied()),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Proxied()),
    (binary(IPV4), CLIENT4),
    (binary(IPV6, family=0x21), CLIENT6),
    (binary(IPV4 + tlv(2, b"mx.example.com") + tlv(0x20, b"\1\0\0\0\0")), CLIENT4),
    (binary(b"", command=0x20, family=0), Proxied()),
    (binary(b"x" * 216, family=0x31), Proxied()),
    (binary(IPV4, family=0x12), Proxied()),
    (summed(IPV4), CLIENT4),
]


@pytest.mark.parametrize(("header", "said"), HEADERS)
def test_a_header_says_who_the_client_is(header: bytes, said: Proxied) -> None:
    """Whole with what follows, and octet by octet."""
    reader = ProxyReader()
    assert reader.receive(header + b"EHLO x\r\n") == said
    assert reader.rest == b"EHLO x\r\n"
    reader = ProxyReader()
    found = [reader.receive(header[i : i + 1]) for i in range(len(header))]
    assert found == [None] * (len(header) - 1) + [said]
    assert reader.rest == b""


WRONG = [
    b"EHLO client.example\r\n",
    b"PROXYTCP4 192.0.2.1 198.51.100.2 40000 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 40000\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25 1\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 65536\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 040 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 +40 25\r\n",
    b"PROXY TCP4 192.0.2.1  198.51.100.2 40 25\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 40000 25\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.2 40000 25\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.2 40000 25\r\n",
    b"PROXY \r\n.......\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\n" + b"x" * 100,
    b"PROXY UNKNOWN " + b"x" * 200,
    b"\r\n\r\n\x00\r\nQUIT\r" + b"x" * 20,
    binary(IPV4, command=0x11),
    binary(IPV4, command=0x22),
    binary(IPV4[:-1]),
    binary(IPV4, family=0x21),
    binary(IPV4 + b"\x02\x00"),
    binary(IPV4 + struct.pack("!BH", 2, 10) + b"short"),
    binary(IPV4 + tlv(3, b"\0\0\0\0")),
    binary(IPV4 + tlv(3, b"\0")),
    SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 65535),
]


@pytest.mark.parametrize("data", WRONG)
def test_anything_else_ends_the_connection(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no PROXY header"):
        ProxyReader().receive(data)
    with pytest.raises(RemoteProtocolError, match="no PROXY header"):
        _by_octets(data)


def _by_octets(data: bytes) -> None:
    reader = ProxyReader()
    for i in range(len(data)):
        reader.receive(data[i : i + 1])


@given(st.binary(max_size=300), st.integers(0, 300))
def test_octets_of_strangers_lead_to_one_of_three_ends(data: bytes, cut: int) -> None:
    """A header, a refusal, or waiting for a bounded number of octets more; the same whole and in two pieces."""

    def read(*pieces: bytes) -> object:
        reader = ProxyReader()
        try:
            said = None
            for piece in pieces:
                if said is None:
                    said = reader.receive(piece)
        except RemoteProtocolError:
            return "refused"
        return said

    for start in (b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"):
        whole = start + data
        assert read(whole) == read(whole[:cut], whole[cut:])


def test_the_checksum_is_that_of_castagnoli() -> None:
    """RFC 3720 appendix B.4."""
    assert crc32c(b"\0" * 32) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E
