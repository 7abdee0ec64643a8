"""``[[listener]]``: an address, the service that is found there, and what differs there from the other tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .securing import CertificateTable, TlsPolicy
from .values import Endpoint

# "smtp" takes mail from anybody, "submission" from our users with STARTTLS, "submissions" from them with TLS from the first octet
# (RFC 6409, RFC 8314), "lmtp" from our own relays (RFC 2033).
Service = Literal["smtp", "submission", "submissions", "lmtp"]


@dataclass(slots=True)
class ListenerTable:
    """``[[listener]]``.

    Args:
        name: unique; bindings refer to it.
        address: where it listens.
        service: "smtp" for mail from anybody, "submission" and "submissions" (TLS from the first octet) for mail of our users, "lmtp" for
            mail from our own relays.
        tls: "none", "offer" (STARTTLS), "require" (nothing is served before it), or "implicit" (TLS from the first octet); "" for what
            the service stands for: where there is a certificate, "smtp" and "lmtp" offer it and "submission" requires it; "submissions" is
            implicit.
        certificates: in the place of those of ``[tls]``.
        client_certificates: "none", "ask" or "require"; "" as in ``[tls]``.
        client_ca_file: as in ``[tls]``, which holds without it.
        proxy: addresses and networks of balancers: connections from there begin with a PROXY header, and are what it says.
    """

    name: str
    address: Endpoint
    service: Service = "smtp"
    tls: TlsPolicy = ""
    certificates: list[CertificateTable] = field(default_factory=list)
    client_certificates: Literal["", "none", "ask", "require"] = ""
    client_ca_file: Path | None = None
    proxy: list[str] = field(default_factory=list)
