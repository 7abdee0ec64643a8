"""TLS on connections to us: certificates by the name that the client asks for, and the layer between a socket and the machine.

Over ``ssl.MemoryBIO`` and not the loop's own TLS: what came before the handshake (a PROXY header, the STARTTLS line) is in our hands, so
that exactly what belongs to TLS is given to it; and the network of the test kit can have it too.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TlsServing:
    """What a listener does with TLS.

    Args:
        context: with the certificates.
        implicit: TLS begins with the first octet (RFC 8314), not with STARTTLS.
        required: nothing but greetings, STARTTLS, NOOP and QUIT is served without it (RFC 3207 §4).
    """

    context: ssl.SSLContext
    implicit: bool = False
    required: bool = False
