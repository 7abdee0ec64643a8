"""The trace field that every server puts on top of a message (RFC 5321 §4.4)."""

from __future__ import annotations

from functools import lru_cache
from time import gmtime
from typing import Literal

from ...mail.address import Address
from ...mail.envelope import Envelope
from ...mail.idna import in_a_labels, in_u_labels
from ...mail.message import MessageRecord
from ...wire.tls import TlsFacts

Protocol = Literal["SMTP", "ESMTP", "LMTP"]
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=4)
def mail_date(seconds: int) -> str:
    """A time as mail writes it, in UTC (RFC 5322 §3.3); not by strftime, whose names follow the locale."""
    t = gmtime(seconds)
    return f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"


def protocol_of(base: Protocol, utf8: bool, tls: bool, user: bool) -> str:
    """The protocol type of the ``with`` clause (RFC 3848 for ESMTP and LMTP; RFC 6531 §4.3 for UTF8SMTP and UTF8LMTP).

    Args:
        base: what the client greeted with: HELO, EHLO or LHLO.
        utf8: the message is one of SMTPUTF8.
        tls: it came within TLS.
        user: its client had logged in.
    """
    if base == "SMTP":
        # Without EHLO there is no type that says more.
        return base
    return f"{base.replace('ESMTP', 'UTF8SMTP').replace('LMTP', 'UTF8LMTP') if utf8 else base}{'S' * tls}{'A' * user}"


def received_field(record: MessageRecord, hostname: str, base: Protocol, tls: TlsFacts | None = None, *, hidden: bool = False) -> bytes:
    """The Received field for a message that came by SMTP.

    Args:
        record: the message with its envelope complete.
        hostname: our name.
        base: what the client greeted with: HELO, EHLO or LHLO.
        tls: None where it came in clear.
        hidden: nothing is said of the client: where a user is when he writes is his own business.

    The ``for`` clause is left out for several recipients: it "MUST NOT" tell one of them of another (RFC 5321 §7.2). Domains are written
    in U-labels (RFC 6531 §3.7.3) only where a local part keeps the message from every server without SMTPUTF8: else this field would.
    """
    protocol = protocol_of(base, record.envelope.parameters.smtputf8, tls is not None, bool(record.user))
    literal = f"IPv6:{record.client_ip}" if ":" in record.client_ip else record.client_ip
    recipients = record.envelope.recipients
    wide = record.envelope.parameters.smtputf8 and _is_international(record.envelope)
    target = f"\r\n\tfor <{_written(recipients[0].address, wide)}>" if len(recipients) == 1 else ""
    name = f"{record.client_name} " if record.client_name else ""
    address = f"({name}[{literal}])" if literal else "(local)"
    # A comment in Postfix's words, which tools look for.
    secured = f"\t(using {tls.version} with cipher {tls.cipher} ({tls.bits}/{tls.bits} bits))\r\n" if tls is not None else ""
    client = "" if hidden else f"from {record.helo or 'unknown'} {address}\r\n{secured}\t"
    ours = in_u_labels(hostname) if wide else hostname
    return (f"Received: {client}by {ours} with {protocol} id {record.id}{target};\r\n\t{mail_date(int(record.received))}\r\n").encode()


def _is_international(envelope: Envelope) -> bool:
    """Whether an address needs SMTPUTF8 at every server: a domain has another form, a local part has none."""
    return not all(address.local.isascii() for address in (envelope.sender, *(one.address for one in envelope.recipients)))


def _written(address: Address, wide: bool) -> str:
    return str(address if wide or address.domain.isascii() else Address(address.local, in_a_labels(address.domain)))
