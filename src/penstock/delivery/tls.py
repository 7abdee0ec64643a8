"""TLS contexts for sessions in which we are the client, made once for each kind of wish, and anew when a file changes.

"may" and "encrypt" take any certificate: who cannot be verified is still better served by encryption than without it (RFC 7435). "verify"
wants a chain to an authority and the right name. Nothing older than TLS 1.2 is spoken (RFC 8996).
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

from ..events.handed import openable
from ..wire.tls import TlsFacts
from ..wire.x509 import facts_of
from .settings import TlsSettings

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
# RFC 8314 §3.3: "submissions", the port on which TLS comes with the first octet.
_SUBMISSIONS = 465


def begins_with_tls(settings: TlsSettings, port: int) -> bool:
    """Whether TLS begins with the first octet, as it is said or as the port says."""
    return port == _SUBMISSIONS if settings.implicit is None else settings.implicit


def client_context(settings: TlsSettings, verify: bool, alone: bool = False) -> ssl.SSLContext:
    """The context; loading the system's authorities takes milliseconds, so it is kept until one of its files changes.

    Args:
        settings: the files and the oldest version.
        verify: chain and name of the certificate are checked.
        alone: TLS comes with the first octet, so that nothing but ALPN says which protocol is meant.

    Raises: OSError when a file cannot be read; ssl.SSLError when it does not hold what it should.
    """
    files = (settings.authorities if verify else None, settings.certificate, settings.key)
    return _context(verify, files, tuple(map(_stamp, files)), settings.minimum, alone)


@lru_cache(maxsize=64)
def _context(
    verify: bool, files: tuple[Path | None, Path | None, Path | None], stamps: tuple[object, ...], minimum: str, alone: bool
) -> ssl.SSLContext:
    authorities, certificate, key = files
    if verify:
        context = ssl.create_default_context(cafile=None if authorities is None else str(openable(authorities)))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = _VERSIONS[minimum]
    if certificate is not None:
        context.load_cert_chain(openable(certificate), openable(key or certificate), password="")
    if alone:
        # After STARTTLS both sides have spoken SMTP already; and a server that knows other names only would hang up.
        context.set_alpn_protocols(["smtp"])
    return context


def _stamp(path: Path | None) -> object:
    """What changes with a file."""
    try:
        seen = path.stat() if path is not None else None
    except OSError as error:
        return error.errno
    return (seen.st_ino, seen.st_mtime_ns, seen.st_size) if seen is not None else None


def facts_of_session(secured: ssl.SSLObject, name: str) -> TlsFacts:
    """What was agreed on with a server.

    Args:
        secured: the TLS of the connection.
        name: the name that was asked for.
    """
    cipher, _, bits = secured.cipher() or ("", "", 0)
    der = secured.getpeercert(binary_form=True)
    return TlsFacts(
        version=secured.version() or "",
        cipher=cipher,
        bits=bits,
        server_name=name,
        alpn=secured.selected_alpn_protocol() or "",
        certificate=facts_of(der) if der else None,
        verified=secured.context.verify_mode is ssl.CERT_REQUIRED,
    )
