"""How we hold sessions with remote servers: one value a queue, so that configuration can say something else of each destination.

Every default is what an administrator would expect of an MTA that was told nothing: TLS where it is offered, no password, the times of
RFC 5321 §4.5.3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..events.outbound import TLS_LEVELS, TlsLevel
from ..wire.sasl.mechanisms import NAMES
from ..wire.smtp.client_settings import ClientLimits, Timeouts
from .source import SourceAddresses

# What becomes of content with octets above 127 where 8BITMIME is not offered.
EightBit = Literal["convert", "bounce", "send"]
BareNewlines = Literal["convert", "refuse"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What we log in with (RFC 4954).

    Args:
        user: the name.
        password: never printed.
        in_clear: the password may be sent without TLS.
        token: a bearer token, for OAUTHBEARER and XOAUTH2; never printed.
        token_file: a file with the token, read for each session, since whoever refreshes it writes it anew.
        certificate: our certificate may speak for us (EXTERNAL).
        mechanisms: those that may be used.
    """

    user: str
    password: str = field(repr=False)
    in_clear: bool = False
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    certificate: bool = False
    mechanisms: tuple[str, ...] = NAMES


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What we ask of TLS.

    Args:
        level: "none" never, "may" where it is offered and whatever the certificate says, "encrypt" always, "verify" always and with a
            certificate that holds.
        authorities: a file of certificates that "verify" trusts, in PEM; None for those of the system.
        name: the name that "verify" wants in the certificate; "" for the host that was connected to.
        implicit: TLS begins with the first octet, without STARTTLS; None where the port says so, 465 (RFC 8314 §3.3).
        minimum: the oldest version that is spoken.
        certificate: ours, for servers that ask for one, in PEM; None for none.
        key: its key; None where it is in the same file.

    Raises: ValueError for an unknown level.
    """

    level: TlsLevel = "may"
    authorities: Path | None = None
    name: str = ""
    implicit: bool | None = None
    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.level not in TLS_LEVELS:
            raise ValueError(f"tls is one of {', '.join(TLS_LEVELS)}, not {self.level!r}")


@dataclass(frozen=True, slots=True)
class HopTimeouts:
    """How long to wait for what, in seconds.

    Args:
        connect: for a connection to one address; 30 as in Postfix (smtp_connect_timeout).
        handshake: for the TLS handshake.
        opening: for everything from the connection to the end of EHLO, STARTTLS and AUTH, however lively the server is meanwhile.
        answers: for each answer.
        transaction: for one transaction in all, beside the time that its content takes at ``rate``: a server that answers each command at
            the last moment could hold a message of 1,000 recipients for days.
        rate: octets a second that content must flow with at least; 500 as in Postfix (smtp_min_data_rate).

    Source: RFC 5321 §4.5.3.2.
    """

    connect: float = 30
    handshake: float = 60
    opening: float = 900
    answers: Timeouts = field(default=Timeouts())
    transaction: float = 3600
    rate: float = 500


@dataclass(frozen=True, slots=True)
class HopLimits:
    """How much of what.

    Args:
        addresses: IP addresses that are connected to for one message, 5 as in Postfix (smtp_mx_address_limit).
        sessions: of these, servers that answered and then failed, 2 as in Postfix (smtp_mx_session_limit).
        messages: of one connection; receivers dislike connections that never end.
        recipients: of one transaction; 100 is what every server must take (RFC 5321 §4.5.3.1.8).
        age: seconds after which a connection takes no further message; 300 as in Postfix (smtp_connection_reuse_time_limit).
        idle: seconds that a connection waits for a further message.
        replies: what a server can make us keep.
    """

    addresses: int = 5
    sessions: int = 2
    messages: int = 100
    recipients: int = 100
    age: float = 300
    idle: float = 2
    replies: ClientLimits = field(default=ClientLimits())


@dataclass(frozen=True, slots=True)
class HopSettings:
    """How sessions for one queue are held.

    Args:
        hostname: our name in EHLO (RFC 5321 §4.1.1.1).
        tls: what we ask of TLS.
        credentials: what we log in with, None for nothing.
        timeouts: how long to wait.
        limits: how much of what.
        source: our addresses that connections begin from.
        pipelining: commands are grouped where the server offers it (RFC 2920).
        chunking: BDAT is used where the server offers it (RFC 3030).
        eight_bit: what becomes of content with octets above 127 where 8BITMIME is not offered: "convert" (what cannot be converted bounces
            with 5.6.3), "bounce", or "send" as it is.
        bare_newlines: what to do with a CR or LF that is not part of a CRLF: "convert", or "refuse" (bounce with 5.6.0).
    """

    hostname: str
    tls: TlsSettings = field(default=TlsSettings())
    credentials: Credentials | None = None
    timeouts: HopTimeouts = field(default=HopTimeouts())
    limits: HopLimits = field(default=HopLimits())
    source: SourceAddresses = field(default=SourceAddresses())
    pipelining: bool = True
    chunking: bool = True
    eight_bit: EightBit = "convert"
    bare_newlines: BareNewlines = "convert"


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How deliveries to remote servers behave.

    Args:
        settings_for: the settings of a queue, by its name; called for each session, so that a change counts from the next one on.
    """

    settings_for: Callable[[str], HopSettings]
