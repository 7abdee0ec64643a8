"""Certificates of ours: read from their files, one context each, given to clients by the name that they ask for, and read again.

A session keeps the context that it began with; new files make new contexts, which the next session gets. Files that do not fit, say since
certbot has written only one of the two, leave in force what was there before.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import ConfigError
from ...events.handed import openable, read
from ...wire.tls import CertificateFacts
from ...wire.x509 import Certificate, facts_of, read_certificate

ClientCertificates = Literal["none", "ask", "require"]
# Nothing is registered for SMTP (RFC 7301 §6 has the registry); these are what Exim takes, and what clients say that say something.
ALPN_NAMES = (b"smtp", b"esmtp")
Stamp = tuple[tuple[int, ...], ...]
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate lies.

    Args:
        certificate: a file with it and its chain, in PEM.
        key: the file with its key.
    """

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class TlsRules:
    """What is asked of TLS on a connection to us.

    Args:
        minimum: the oldest version: "TLSv1.2" or "TLSv1.3". RFC 8996 forbids what is older.
        ciphers: of TLS 1.2, in the words of OpenSSL; "" for those of Python, which are all of forward secrecy.
        clients: whether clients are asked for a certificate, and whether they must have one.
        authorities: who may have signed it, in PEM; needed to ask.
    """

    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    ciphers: str = ""
    clients: ClientCertificates = "none"
    authorities: Path | None = None


class ServedObject(ssl.SSLObject):
    """The TLS of one session, with the name that the client asked for."""

    asked = ""


class Keyring:
    """Our certificates as they were read at one time.

    Args:
        files: where they lie, the first for clients that name no host or none of ours.
        rules: what is asked of TLS.

    Raises: ConfigError that names the file.
    """

    __slots__ = ("_by_context", "_names", "certificates", "context", "stamp")

    def __init__(self, files: tuple[CertificateFiles, ...], rules: TlsRules) -> None:
        # Taken before they are read: what changes meanwhile differs from it.
        self.stamp = stamp_of(files, rules)
        self.certificates: list[tuple[Path, Certificate]] = []
        self._by_context: dict[ssl.SSLContext, Certificate] = {}
        self._names: dict[str, ssl.SSLContext] = {}
        for one in files:
            context, certificate = _context(one, rules), _read(one.certificate)
            self._by_context[context] = certificate
            self.certificates.append((one.certificate, certificate))
            for name in certificate.facts.names:
                self._names.setdefault(name, context)
        self.context = next(iter(self._by_context))
        self.context.sslobject_class = ServedObject
        self.context.sni_callback = self._choose

    def certificate_of(self, served: ssl.SSLObject) -> Certificate | None:
        """Which one a session got."""
        return self._by_context.get(served.context)

    def name_of(self, served: ssl.SSLObject) -> str:
        """The name that the client asked for, "" for none."""
        return served.asked if isinstance(served, ServedObject) else ""

    def context_for(self, name: str) -> ssl.SSLContext:
        """The context for a name: its own, that of a wildcard for its leftmost label (RFC 6125 §6.4.3), or the first."""
        name = name.lower().rstrip(".")
        found = self._names.get(name) or self._names.get(f"*.{name.partition('.')[2]}")
        return found or self.context

    def _choose(self, served: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """RFC 6066 §3: a server that does not know the name may go on with another certificate, which SMTP clients prefer to nothing."""
        if name and isinstance(served, ServedObject):
            served.asked = name[:255]
            served.context = self.context_for(name)


class Certificates:
    """Our certificates, read again when their files change.

    Args:
        files: where they lie.
        rules: what is asked of TLS.

    Raises: ConfigError that names the file.
    """

    def __init__(self, files: tuple[CertificateFiles, ...], rules: TlsRules) -> None:
        self.files = files
        self.rules = rules
        self.current = Keyring(files, rules)

    def stamp(self) -> Stamp:
        """What the files look like now; it differs from that of ``current`` when they changed."""
        return stamp_of(self.files, self.rules)

    def read(self) -> Keyring:
        """What the files say now. Raises ConfigError.

        What was handed down to a server that gave root's rights up is what they said then, so it is no answer here.
        """
        for path in _paths(self.files, self.rules):
            if not os.access(path, os.R_OK):
                raise ConfigError("tls.certificates", f"the file {path} cannot be read by the user that the server runs as")
        return Keyring(self.files, self.rules)


def _paths(files: tuple[CertificateFiles, ...], rules: TlsRules) -> list[Path]:
    return [path for one in files for path in (one.certificate, one.key)] + ([rules.authorities] if rules.authorities else [])


def stamp_of(files: tuple[CertificateFiles, ...], rules: TlsRules) -> Stamp:
    """Which files there are, without reading them; behind the links that certbot moves."""
    found: list[tuple[int, ...]] = []
    for path in _paths(files, rules):
        try:
            seen = path.stat()
            found.append((seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size))
        except OSError as error:
            found.append((error.errno or 0,))
    return tuple(found)


def facts_of_peer(secured: ssl.SSLObject) -> CertificateFacts | None:
    """What the other side's certificate says, None when it has shown none."""
    der = secured.getpeercert(binary_form=True)
    return facts_of(der) if der else None


def _context(files: CertificateFiles, rules: TlsRules) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[rules.minimum]
    # A client that could make us negotiate again and again would cost us more than itself.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([name.decode() for name in ALPN_NAMES])
    try:
        context.load_cert_chain(openable(files.certificate), openable(files.key), password=_no_password)
    except OSError as error:
        raise ConfigError("tls.certificates", _why_not(files, error)) from None
    except _Locked:
        what = f"the key in {files.key} is encrypted, and there is nobody to ask for its password at the start"
        raise ConfigError("tls.certificates", what, "write it without: openssl pkey -in OLD -out NEW") from None
    if rules.ciphers:
        try:
            context.set_ciphers(rules.ciphers)
        except ssl.SSLError:
            raise ConfigError("tls.ciphers", f"OpenSSL knows no cipher in {rules.ciphers!r}") from None
    if rules.clients != "none" and rules.authorities is not None:
        context.verify_mode = ssl.CERT_REQUIRED if rules.clients == "require" else ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(openable(rules.authorities))
        except OSError as error:
            raise ConfigError("tls.client_ca_file", f"the file {rules.authorities} cannot be read: {_words(error)}") from None
    return context


class _Locked(Exception):
    """A key is encrypted."""


def _no_password() -> str:
    # Without this OpenSSL would ask at the terminal, and wait.
    raise _Locked


def _why_not(files: CertificateFiles, error: OSError) -> str:
    for path in (files.certificate, files.key):
        try:
            openable(path).open("rb").close()
        except OSError as unreadable:
            return f"the file {path} cannot be read: {_words(unreadable)}"
    if isinstance(error, ssl.SSLError) and error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return f"the key in {files.key} does not belong to the certificate in {files.certificate}"
    return f"the certificate in {files.certificate} with the key in {files.key} cannot be used: {_words(error)}"


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is not PEM").lower().replace("_", " ")
    return error.strerror or str(error)


def _read(path: Path) -> Certificate:
    """The first certificate of a file."""
    try:
        text = read(path).decode("ascii", "replace")
        begin, end = text.index("-----BEGIN CERTIFICATE-----"), text.index("-----END CERTIFICATE-----")
        return read_certificate(ssl.PEM_cert_to_DER_cert(text[begin : end + len("-----END CERTIFICATE-----")]))
    except (OSError, ValueError) as error:
        raise ConfigError("tls.certificates", f"the certificate in {path} cannot be read: {error}") from None
