"""Whom a client's certificate stands for: EXTERNAL within TLS (RFC 4422 appendix A), for machines that send mail without a password."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from penstock import Sink, on
from penstock.events import CertificateFacts, Credentials
from penstock.verdicts import Authenticated


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificatesSettings:
    """Who has which certificate.

    Args:
        users: the user, by the SHA-256 fingerprint in hexadecimal, with colons or without, by a DNS name that the certificate is for, or by
            the whole subject ("CN=printer,O=Example").
        names: True to let in each certificate under the first DNS name that it is for; it leads to an authority that we trust in any case.
    """

    users: dict[str, str] = field(default_factory=dict)
    names: bool = False


class ClientCertificates(Sink[ClientCertificatesSettings]):
    """Lets in whom a verified certificate names."""

    kinds: ClassVar[frozenset[str]] = frozenset({"certificate"})

    def __init__(self, settings: ClientCertificatesSettings) -> None:
        super().__init__(settings)
        self._users = {_folded(key): Authenticated(user) for key, user in settings.users.items()}

    @on(Credentials, blocking=False)
    def check(self, event: Credentials) -> Authenticated | None:
        """Looks the certificate up, the most exact of its names first."""
        certificate = event.certificate
        if certificate is None:
            return None
        for key in _keys(certificate):
            if key in self._users:
                return self._users[key]
        first = next(iter(certificate.names), "")
        return Authenticated(first.lower()) if self.settings.names and first and not first.startswith("*") else None


def _keys(certificate: CertificateFacts) -> Iterator[str]:
    yield _folded(certificate.fingerprint)
    yield _folded(certificate.subject)
    yield from map(_folded, certificate.names)


def _folded(key: str) -> str:
    bare = key.replace(":", "").lower()
    return bare if len(bare) == 64 and all(c in "0123456789abcdef" for c in bare) else key.lower()
