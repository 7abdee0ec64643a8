"""The trace field that every server puts on top of a message (RFC 5321 §4.4)."""

from __future__ import annotations

from functools import lru_cache
from time import gmtime

from ...mail.message import MessageRecord

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=4)
def mail_date(seconds: int) -> str:
    """A time as mail writes it, in UTC (RFC 5322 §3.3); not by strftime, whose names follow the locale."""
    t = gmtime(seconds)
    return f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"


def received_field(record: MessageRecord, hostname: str, extended: bool) -> bytes:
    """The Received field for a message that came by SMTP.

    Args:
        record: the message with its envelope complete.
        hostname: our name.
        extended: the client said EHLO.

    The ``for`` clause is left out for several recipients: it "MUST NOT" tell one of them of another (RFC 5321 §7.2).
    """
    # RFC 6531 §4.3 registers UTF8SMTP.
    protocol = "UTF8SMTP" if record.envelope.parameters.smtputf8 else "ESMTP" if extended else "SMTP"
    literal = f"IPv6:{record.client_ip}" if ":" in record.client_ip else record.client_ip
    recipients = record.envelope.recipients
    target = f"\r\n\tfor <{recipients[0].address}>" if len(recipients) == 1 else ""
    client = f"{record.client_name} " if record.client_name else ""
    return (
        f"Received: from {record.helo or 'unknown'} ({client}[{literal}])\r\n"
        f"\tby {hostname} with {protocol} id {record.id}{target};\r\n"
        f"\t{mail_date(int(record.received))}\r\n"
    ).encode()
