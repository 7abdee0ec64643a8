"""What is known of the TLS of a session, as plain values: what sinks see, what goes into the Received field, what is kept of a certificate.

No keys and no secrets are in them: what ties a login to the connection (RFC 5056) is with the connection, and nobody is shown it.
"""

from __future__ import annotations

import msgspec


class CertificateFacts(msgspec.Struct, frozen=True):
    """A certificate that the other side showed.

    Args:
        subject: as RFC 4514 writes it, most specific part first: "CN=mx.example.com,O=Example".
        issuer: likewise.
        names: the DNS names that it is for.
        fingerprint: SHA-256 of the certificate, in lower-case hexadecimal.
        serial: the serial number, in upper-case hexadecimal.
        expires: when it ends, in seconds since 1970.
    """

    subject: str
    issuer: str = ""
    names: tuple[str, ...] = ()
    fingerprint: str = ""
    serial: str = ""
    expires: float = 0.0


class TlsFacts(msgspec.Struct, frozen=True):
    """TLS as it was agreed on.

    Args:
        version: "TLSv1.3" or "TLSv1.2".
        cipher: the cipher suite, in the words of OpenSSL.
        bits: how strong its key is.
        server_name: the name that the client asked for (SNI), "" for none.
        alpn: the protocol that was agreed on (RFC 7301), "" for none.
        certificate: what the other side showed of itself, None for nothing.
        verified: its certificate leads to an authority that we trust.
    """

    version: str
    cipher: str = ""
    bits: int = 0
    server_name: str = ""
    alpn: str = ""
    certificate: CertificateFacts | None = None
    verified: bool = False

    def __str__(self) -> str:
        return self.version
