"""``[tls]``: certificates, and what is asked of TLS on connections to us; part of the schema, apart for the length of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class CertificateTable:
    """An entry of ``certificates``.

    Args:
        certificate: a file with the certificate and its chain, in PEM.
        key: the file with its key; None when it is in the same file.
    """

    certificate: Path
    key: Path | None = None


@dataclass(slots=True)
class TlsTable:
    """``[tls]``.

    Args:
        certificates: one or more; a client that names a host (SNI) gets the one that is for it, others the first. TLS is offered when there
            is one.
    """

    certificates: list[CertificateTable] = field(default_factory=list)
