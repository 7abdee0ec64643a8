"""TLS between a socket and a session: the layer that Connection puts there, and what a listener does with TLS.

Over ``ssl.MemoryBIO`` and not the loop's own TLS: what came before the handshake (a PROXY header, the STARTTLS line) is in our hands, so
that exactly what belongs to TLS is given to it; and a session needs no second transport and no task for it.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass, field
from typing import Protocol

from ...wire.client_hello import NO_APPLICATION_PROTOCOL, ClientHello
from ...wire.tls import TlsFacts
from .certificates import ALPN_NAMES, Certificates, facts_of_peer

# The most that is decrypted at once; a record has at most 16 KiB (RFC 8446 §5.1).
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class TlsServing:
    """What a listener does with TLS.

    Args:
        certificates: which certificate goes to whom; it is asked for each session, so that new files are taken up. None in a network within
            the process, as tests and replays have it: there are no handshakes, and sessions only count as secured.
        implicit: TLS begins with the first octet (RFC 8314), not with STARTTLS.
        required: nothing but greetings, STARTTLS, NOOP and QUIT is served without it (RFC 3207 §4).
        handshake: seconds that a handshake may take in all.
    """

    certificates: Certificates | None
    implicit: bool = False
    required: bool = False
    handshake: float = field(default=30.0)


class TlsOwner(Protocol):
    """Who has a layer, and is told what happens in it."""

    def put(self, octets: bytes) -> None:
        """Octets go to the socket as they are."""

    def tls_is_on(self, facts: TlsFacts) -> None:
        """The handshake is over."""

    def tls_failed(self, why: str) -> None:
        """TLS cannot begin, or cannot go on: why, in words."""


class TlsLayer:
    """The TLS of one connection to us.

    Args:
        certificates: which certificate goes to whom.
        owner: whose connection it is.
    """

    __slots__ = ("_hello", "_incoming", "_object", "_outgoing", "_owner", "_served", "ended", "is_on")

    def __init__(self, certificates: Certificates, owner: TlsOwner) -> None:
        self._owner = owner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._served = certificates.current
        self._object = self._served.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # Until all of the client's first message is here.
        self._hello: ClientHello | None = ClientHello()
        self.is_on = False
        # The client said goodbye (close_notify), or TLS is broken: nothing more will come.
        self.ended = False

    def receive(self, data: bytes) -> bytes:
        """What octets from the socket say; b"" for nothing yet. The owner is told of the rest."""
        if self.ended:
            return b""
        if self._hello is not None and not self._is_for_us(self._hello.feed(data)):
            return b""
        self._incoming.write(data)
        if not self.is_on:
            self._shake_hands()
        # What came with the last octets of the handshake belongs to the session already.
        return self._read() if self.is_on else b""

    def protect(self, data: bytes) -> bytes:
        """The octets for the socket that say this; nothing before the handshake is over, as it would go out in clear."""
        if not self.is_on:
            return b""
        try:
            self._object.write(data)
        except ssl.SSLError:
            # Broken meanwhile; the owner was told when it was found out.
            return b""
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """The octets that end TLS in good order (close_notify), so that nobody can cut off what came before unnoticed."""
        if not self.is_on:
            return b""
        # The client's own goodbye is not waited for: the reply to QUIT, or the end, is said.
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._object.unwrap()
        return self._outgoing.read()

    @property
    def channel(self) -> dict[str, bytes]:
        """What ties a login to this connection, by type (RFC 5929): "tls-server-end-point"."""
        certificate = self._served.certificate_of(self._object)
        return {"tls-server-end-point": certificate.end_point} if certificate is not None and certificate.end_point else {}

    def _is_for_us(self, named: tuple[bytes, ...] | None) -> bool:
        """False for a client that would speak other protocols than SMTP, which is told so (RFC 7301 §3.2)."""
        if named is None:
            return True
        self._hello = None
        if not named or any(name in ALPN_NAMES for name in named):
            return True
        self.ended = True
        self._owner.put(NO_APPLICATION_PROTOCOL)
        shown = ", ".join(name[:20].decode("ascii", "replace") for name in named[:5])
        self._owner.tls_failed(f"the client wants to speak another protocol: {shown!r}")
        return False

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except (ssl.SSLError, ValueError) as error:
            self._break(error)
        else:
            self.is_on = True
            self._flush()
            self._owner.tls_is_on(self._facts())

    def _read(self) -> bytes:
        pieces = []
        try:
            while piece := self._object.read(_PIECE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except (ssl.SSLError, ValueError) as error:
            self._break(error)
        self._flush()
        return b"".join(pieces)

    def _break(self, error: Exception) -> None:
        self.ended = True
        # The alert that says why (RFC 8446 §6).
        self._flush()
        self._owner.tls_failed(in_words(error))

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._owner.put(self._outgoing.read())

    def _facts(self) -> TlsFacts:
        name, _, bits = self._object.cipher() or ("", "", 0)
        certificate = facts_of_peer(self._object)
        return TlsFacts(
            version=self._object.version() or "",
            cipher=name,
            bits=bits,
            server_name=self._served.name_of(self._object),
            alpn=self._object.selected_alpn_protocol() or "",
            certificate=certificate,
            verified=certificate is not None,
        )


def in_words(error: Exception) -> str:
    """An error of TLS in one line, for the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate: {error.verify_message or error.reason}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__
