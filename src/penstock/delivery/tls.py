"""TLS contexts for sessions in which we are the client, made once for each kind of wish.

"may" and "encrypt" take any certificate: who cannot be verified is still better served by encryption than without it (RFC 7435). "verify"
wants a chain to an authority and the right name. Nothing older than TLS 1.2 is spoken (RFC 8996); that is OpenSSL's and Python's default.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=64)
def client_context(verify: bool, authorities: Path | None) -> ssl.SSLContext:
    """The context; loading the system's authorities takes milliseconds, so it is kept.

    Args:
        verify: chain and name of the certificate are checked.
        authorities: a file of certificates in PEM that are trusted; None for those of the system.

    Raises: OSError when the file cannot be read; ssl.SSLError when there is no certificate in it.
    """
    if verify:
        return ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
