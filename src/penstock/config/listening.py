"""``[[listener]]``: an address, the service that is found there, and what differs there from the other tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    """

    name: str
    address: Endpoint
    service: Service = "smtp"
