"""The tables about mail that goes out: next hops, delivery, DNS, retries and reports; part of the schema, apart for the length of the file.

Nothing here is needed for ordinary mail: without any of these tables mail goes to the MX hosts of its domain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .securing import TlsVersion
from .values import Duration, Rate, Secret, Size

TlsLevel = Literal["none", "may", "encrypt", "verify"]


@dataclass(slots=True)
class RetryTable:
    """``[retry]``, and ``retry`` within ``[route."..."]``.

    Args:
        intervals: how long to wait before the first, second ... next try; the last one repeats.
        expire: when to give up and tell the sender.
        jitter: how much an interval may vary, as a fraction.
        glitch: how long a queue rests after its first, second ... failure to reach the server, before ``intervals`` hold for it.
        delay_notice: how old a message is when its sender is told of the delay; 0 for never.
    """

    intervals: list[Duration] = field(default_factory=lambda: [Duration(900), Duration(1800), Duration(3600), Duration(14400)])
    expire: Duration = Duration(5 * 86400)
    jitter: float = 0.1
    glitch: list[Duration] = field(default_factory=lambda: [Duration(60), Duration(60), Duration(60)])
    delay_notice: Duration = Duration(4 * 3600)


@dataclass(slots=True)
class DnsTable:
    """``[dns]``.

    Args:
        servers: name servers as ``"192.0.2.53"`` or ``"192.0.2.53:5353"``; those of /etc/resolv.conf when empty.
        timeout: how long one name server is waited for, once.
        attempts: how often a server that does not answer is asked.
        cache: how many records are remembered.
        hosts: addresses of hosts by name, asked before DNS.
        client_names: look for the host name of each client before it is greeted; one counts that leads back to its address.
    """

    servers: list[str] = field(default_factory=list)
    timeout: Duration = Duration(5)
    attempts: int = 3
    cache: int = 50_000
    hosts: dict[str, list[str]] = field(default_factory=dict)
    client_names: bool = False


@dataclass(slots=True)
class DeliveryTable:
    """``[delivery]``: what holds for every destination, unless its ``[route."..."]`` says otherwise; numbers are for each worker.

    Args:
        hostname: how we call ourselves to other servers; "" for the server's hostname.
        smart_host: the next hop of all mail that is neither local nor has a route; "" for the MX hosts of each domain.
        tls: "none", "may" (where it is offered), "encrypt" (always), or "verify" (always, with a certificate that holds).
        tls_minimum: the oldest version of TLS that is spoken, "TLSv1.2" or "TLSv1.3".
        tls_certificate: our certificate for servers that ask for one, in PEM; None for none.
        tls_key: its key; None where it is in the same file.
        ca_file: certificates to verify with, in PEM; None for the system's.
        sessions: connections at the same time, to all destinations.
        connections: of these, to one destination.
        messages_per_connection: messages after which a connection is closed.
        recipients: recipients of one transaction.
        rate: messages to one destination, such as "100/min"; "" for no limit.
        idle: how long a connection is kept for a further message.
        connect: how long a connection may take to come about.
        greeting: how long the server may take with its banner, and to answer EHLO, MAIL, RCPT and the like.
        data: how long it may take to answer DATA.
        block: how long it may take to take a piece of content.
        content: how long it may take to answer the whole content.
        ipv4: use IPv4.
        ipv6: use IPv6, where this machine has it.
        source_ipv4: the local address for IPv4; "" for any.
        source_ipv6: the local address for IPv6; "" for any.
        own_addresses: addresses and networks of this server: mail whose MX leads there would come back for ever.
        chunking: use BDAT where it is offered.
        port: the port of servers found by MX; another one is for development, where 25 is not to be had.
        bare_newlines: what becomes of a CR or LF that stands alone in content: "convert" or "refuse".
    """

    hostname: str = ""
    smart_host: str = ""
    tls: TlsLevel = "may"
    tls_minimum: TlsVersion = "TLSv1.2"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    ca_file: Path | None = None
    sessions: int = 500
    connections: int = 20
    messages_per_connection: int = 100
    recipients: int = 100
    rate: Rate = Rate(0)
    idle: Duration = Duration(5)
    connect: Duration = Duration(30)
    greeting: Duration = Duration(300)
    data: Duration = Duration(120)
    block: Duration = Duration(180)
    content: Duration = Duration(600)
    ipv4: bool = True
    ipv6: bool = True
    source_ipv4: str = ""
    source_ipv6: str = ""
    own_addresses: list[str] = field(default_factory=lambda: ["127.0.0.0/8", "::1"])
    chunking: bool = True
    port: int = 25
    bare_newlines: Literal["convert", "refuse"] = "convert"


@dataclass(slots=True)
class RouteTable:
    """``[route."example.org"]``, ``[route.".example.org"]`` with all below it, or ``[route."*"]``; what is missing is as in ``[delivery]``.

    Args:
        next_hop: "relay.example:587" (by its MX, or its addresses), "[192.0.2.1]:25" (without MX), "lmtp:[127.0.0.1]:24",
            "lmtp:/run/lmtp"; "" for the MX hosts of the domain.
        message_class: a class that gets a queue of its own at that next hop.
        schedule: when its queue is worked on: "" always, "on-demand", or times such as "mon-fri 20:00-06:00, sat-sun".
        tls: as in ``[delivery]``.
        tls_implicit: TLS begins with the first octet, without STARTTLS; None for what the port says: 465 does.
        tls_minimum: as in ``[delivery]``.
        tls_certificate: as in ``[delivery]``.
        tls_key: as in ``[delivery]``.
        user: the name to log in with; "" for no login, or for the one that our certificate gives.
        password: the password for it.
        token: a bearer token in its place, for OAUTHBEARER and XOAUTH2.
        token_file: a file with the token, read anew for each session.
        mechanisms: of SASL, which may be used; all when empty. EXTERNAL, which shows our certificate, must be named.
        auth_without_tls: allow to log in without TLS, which may send the password in the clear.
        connections: as in ``[delivery]``.
        messages_per_connection: as in ``[delivery]``.
        recipients: as in ``[delivery]``.
        rate: as in ``[delivery]``.
        source_ipv4: as in ``[delivery]``.
        source_ipv6: as in ``[delivery]``.
        chunking: as in ``[delivery]``.
        retry: a retry schedule of its own.
    """

    next_hop: str = ""
    message_class: str = ""
    schedule: str = ""
    tls: TlsLevel | None = None
    tls_implicit: bool | None = None
    tls_minimum: TlsVersion | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    user: str = ""
    password: Secret = Secret("")
    token: Secret = Secret("")
    token_file: Path | None = None
    mechanisms: list[str] = field(default_factory=list)
    auth_without_tls: bool = False
    connections: int | None = None
    messages_per_connection: int | None = None
    recipients: int | None = None
    rate: Rate | None = None
    source_ipv4: str | None = None
    source_ipv6: str | None = None
    chunking: bool | None = None
    retry: RetryTable | None = None


@dataclass(slots=True)
class NoticesTable:
    """``[notices]``: the reports that are sent about messages (DSNs).

    Args:
        double_bounce: who gets a report that cannot be delivered: an address, or "" for nobody, as a log line.
        return_full: of messages up to this size the whole content goes back with a failure when the sender asked for it or did not say;
            of larger ones the header.
        templates: a folder with texts in the place of ours: failed.txt, delayed.txt, success.txt; None for ours.
    """

    double_bounce: str = ""
    return_full: Size = Size(50 * 1024)
    templates: Path | None = None
