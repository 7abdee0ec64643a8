"""What a TLS client asks for in its first message, read before OpenSSL gets it: the protocols that it would speak (ALPN).

Python's ``ssl`` does not tell a server that a client named protocols of which it has none, and goes on. RFC 7301 §3.2: then "the server
SHALL respond with a fatal "no_application_protocol" alert"; so a browser that somebody tricked into talking to a mail server learns where
it is before it has said anything (the ALPACA attacks), which nginx and Exim see to in the same way.
"""

from __future__ import annotations

# ContentType handshake and HandshakeType client_hello (RFC 8446 §4, §5.1); the ExtensionType of ALPN (RFC 7301 §6).
_HANDSHAKE, _CLIENT_HELLO, _ALPN = 22, 1, 16
# The most that a record holds (RFC 8446 §5.1), and the most that we read of a hello.
_LARGEST = 16384
# Fatal, no_application_protocol (RFC 7301 §3.2), as a record of its own.
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"


class ClientHello:
    """The first message of a client, as it comes."""

    __slots__ = ("_message", "_record")

    def __init__(self) -> None:
        self._record = bytearray()
        self._message = bytearray()

    def feed(self, octets: bytes) -> tuple[bytes, ...] | None:
        """The protocols that the client names: none where it names none or this is no hello, and None until that is known."""
        self._record += octets
        if not self._take_records():
            return None
        try:
            return _protocols(_Reader(bytes(self._message)))
        except IndexError:
            return ()

    def _take_records(self) -> bool:
        """Joins what is whole, as a message may come in several records; True when there is no more to wait for."""
        record, message = self._record, self._message
        while len(record) >= 5:
            size = int.from_bytes(record[3:5], "big")
            if record[0] != _HANDSHAKE or not 0 < size <= _LARGEST or len(message) > _LARGEST:
                message.clear()
                return True
            if len(record) < 5 + size:
                return False
            message += record[5 : 5 + size]
            del record[: 5 + size]
            if message[0] != _CLIENT_HELLO or (len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big")):
                return True
        return False


class _Reader:
    """Takes vectors from octets (RFC 8446 §3.4); raises IndexError at their end."""

    __slots__ = ("_at", "_octets")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._octets[self._at : self._at + size]
        if len(taken) < size:
            raise IndexError(size)
        self._at += size
        return taken

    def vector(self, width: int) -> bytes:
        return self.take(int.from_bytes(self.take(width), "big"))

    @property
    def more(self) -> bool:
        return self._at < len(self._octets)


def _protocols(message: _Reader) -> tuple[bytes, ...]:
    if message.take(1)[0] != _CLIENT_HELLO:
        return ()
    message.take(3 + 2 + 32)  # length, version, random
    for width in (1, 2, 1):  # session, cipher suites, compression methods
        message.vector(width)
    extensions = _Reader(message.vector(2))
    while extensions.more:
        kind, content = int.from_bytes(extensions.take(2), "big"), extensions.vector(2)
        if kind == _ALPN:
            names = _Reader(_Reader(content).vector(2))
            found = []
            while names.more:
                found.append(names.vector(1))
            return tuple(found)
    return ()
