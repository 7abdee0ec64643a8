"""``[tls]``: certificates, and what is asked of TLS on connections to us; part of the schema, apart for the length of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import ConfigError
from .values import Duration

if TYPE_CHECKING:
    from .listening import ListenerTable

TlsVersion = Literal["TLSv1.2", "TLSv1.3"]
ClientCertificates = Literal["none", "ask", "require"]
TlsPolicy = Literal["", "none", "offer", "require", "implicit"]


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
        minimum: the oldest version that is spoken, "TLSv1.2" or "TLSv1.3".
        ciphers: the cipher suites of TLS 1.2, as OpenSSL writes such lists; "" for Python's choice.
        client_certificates: "none", "ask" (a client that has none is welcome), or "require".
        client_ca_file: who may have signed the certificates of clients, in PEM; needed to ask for them.
        handshake: how long a handshake may take in all.
        refresh: how often the files are looked at for new certificates.
        warn_before: how long before its end a certificate is warned of.
    """

    certificates: list[CertificateTable] = field(default_factory=list)
    minimum: TlsVersion = "TLSv1.2"
    ciphers: str = ""
    client_certificates: ClientCertificates = "none"
    client_ca_file: Path | None = None
    handshake: Duration = Duration(30)
    refresh: Duration = Duration(30)
    warn_before: Duration = Duration(14 * 86400)


def tls_policy(table: TlsTable, listener: ListenerTable) -> Literal["none", "offer", "require", "implicit"]:
    """What a listener does with TLS: what it says, or what its service stands for, as far as there is a certificate.

    RFC 8314 §3.3: submission is either from the first octet in TLS (port 465), or by STARTTLS, and passwords never go in clear.
    """
    if listener.tls:
        return listener.tls
    if listener.service == "submissions":
        return "implicit"
    if not (listener.certificates or table.certificates):
        return "none"
    return "require" if listener.service == "submission" else "offer"


def check_tls(table: TlsTable, listeners: Sequence[ListenerTable], place: str) -> None:
    """Refuses TLS that could never be spoken; the files are looked at by who reads them. Raises ConfigError."""
    for name in ("handshake", "refresh", "warn_before"):
        if getattr(table, name) <= 0:
            raise ConfigError(f"{place}: tls.{name}", "it is above 0", "leave it out for the default")
    if table.client_certificates != "none" and table.client_ca_file is None:
        raise ConfigError(f"{place}: tls.client_certificates", "nobody says who may have signed them", "write client_ca_file, too")
    for one in listeners:
        where, policy = f"{place}: listener.{one.name}", tls_policy(table, one)
        if policy != "none" and not (one.certificates or table.certificates):
            what = f"there is no certificate for TLS ({policy!r})"
            hint = 'write [tls] with certificates = [{ certificate = "FILE", key = "FILE" }]'
            raise ConfigError(f"{where}.{'tls' if one.tls else 'service'}", what, hint)
        if one.service == "submissions" and policy != "implicit":
            what = f"'submissions' is TLS from the first octet, and not {policy!r}"
            raise ConfigError(f"{where}.tls", what, 'leave it out, or write service = "submission"')
        if (one.client_certificates or "none") != "none" and not (one.client_ca_file or table.client_ca_file):
            raise ConfigError(f"{where}.client_certificates", "nobody says who may have signed them", "write client_ca_file, too")
