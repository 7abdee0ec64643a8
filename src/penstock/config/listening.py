"""``[[listener]]``: an address, the service that is found there, and what differs there from the other tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from ..wire.smtp.extension import STANDARD
from ..wire.smtp.extension_message import MESSAGES, SUBMISSION
from .securing import CertificateTable, TlsPolicy
from .values import Endpoint

_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9.:_-]{0,255}")
# "smtp" takes mail from anybody, "submission" from our users with STARTTLS, "submissions" from them with TLS from the first octet
# (RFC 6409, RFC 8314), "lmtp" from our own relays (RFC 2033).
Service = Literal["smtp", "submission", "submissions", "lmtp"]


_MODE = re.compile(r"0?[0-7]{3}")


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
        socket_mode: the rights of the file of a Unix socket, in octal: connecting takes the right to write.
        socket_group: its group, by name or number; "" for that of the server.
        proxy: addresses and networks of balancers: connections from there begin with a PROXY header, and are what it says.
        without: keywords of EHLO that are not offered, such as "CHUNKING"; what they stand for is refused.
        no_soliciting: classes of solicitation that are refused (NO-SOLICITING), such as "org.example:ADV:ADLT".
        xclient: addresses and networks of filters and gateways that may say who the client behind them is (XCLIENT, XFORWARD).
        etrn: addresses and networks of clients that may ask for the mail of domains that we relay for to be sent now (ETRN).
        atrn: customers who log in here may fetch the mail of their domains (ATRN), which ``fetched_by`` of a domain names.
        limits: keys of ``[limits]`` that are other ones here; what is counted is counted together with the other listeners.
    """

    name: str
    address: Endpoint
    service: Service = "smtp"
    tls: TlsPolicy = ""
    certificates: list[CertificateTable] = field(default_factory=list)
    client_certificates: Literal["", "none", "ask", "require"] = ""
    client_ca_file: Path | None = None
    socket_mode: str = "0660"
    socket_group: str = ""
    proxy: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    no_soliciting: list[str] = field(default_factory=list)
    xclient: list[str] = field(default_factory=list)
    etrn: list[str] = field(default_factory=list)
    atrn: bool = False
    limits: dict[str, Any] = field(default_factory=dict)


def check_service(listener: ListenerTable, where: str) -> None:
    """Refuses what does not fit the service or the address of a listener. Raises ConfigError."""
    if not _MODE.fullmatch(listener.socket_mode):
        raise ConfigError(f"{where}.socket_mode", f"{listener.socket_mode!r} is no mode of a file", "write octal digits, such as '0660'")
    local = listener.address.startswith("unix:")
    if not local and (listener.socket_group or listener.socket_mode != "0660"):
        what = "socket_mode and socket_group are for the file of a Unix socket"
        raise ConfigError(where, what, "leave them out, or listen on 'unix:/run/...'")
    if local and listener.proxy:
        raise ConfigError(f"{where}.proxy", "clients of a Unix socket have no address, so none is a balancer's", "leave it out")
    check_keywords(listener.without, f"{where}.without")
    for word in listener.no_soliciting:
        if not _CLASS.fullmatch(word):
            raise ConfigError(f"{where}.no_soliciting", f"{word!r} is no class of solicitation", "write one such as 'org.example:ADV'")


def check_keywords(without: list[str], where: str) -> None:
    """Refuses keywords that are not offered anyway, or that other keys switch off. Raises ConfigError."""
    known = {row.keyword for row in (*STANDARD, *MESSAGES, *SUBMISSION) if row.keyword != "AUTH"}
    for keyword in without:
        if keyword.upper() in ("AUTH", "STARTTLS"):
            raise ConfigError(where, f"{keyword.upper()} is not switched off here", "leave out [auth] stores, or write tls = 'none'")
        if keyword.upper() not in known:
            raise ConfigError(where, f"{keyword!r} is not offered anyway", f"there are: {', '.join(sorted(known))}")
