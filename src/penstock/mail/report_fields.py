"""The part of a report that programs read: fields of the message, then a group of fields for each recipient (RFC 3464 §2.2, §2.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import ip_address
from typing import Literal

from .envelope import Envelope, Recipient
from .reply import Reply
from .report_part import MAX_TEXT, Part, address_text, encoded, folded, safe, xtext

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]

# RFC 3463 §2: class "." subject "." detail.
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
# The classes that an action may have, the first for when none was given (RFC 3464 §2.3.4).
_CLASSES: dict[Action, str] = {"failed": "54", "delayed": "4", "delivered": "2", "relayed": "2", "expanded": "2"}
_TYPE = re.compile(r"[!-:<-~]{1,40}")
# So many lines of a reply are repeated.
_MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Reported:
    """What a report says of one recipient.

    Args:
        recipient: who.
        action: what became of it.
        status: the enhanced status code, e.g. "5.1.1" (RFC 3463).
        text: the reason, in words of ours.
        reply: what the remote server said, None when nobody did.
        remote: its host name, or "".
        tried: when it was tried last, in seconds since 1970; 0 for never.
        until: up to when it is tried again, in seconds since 1970; 0 for not at all.
    """

    recipient: Recipient
    action: Action
    status: str = ""
    text: str = ""
    reply: Reply | None = None
    remote: str = ""
    tried: float = 0.0
    until: float = 0.0

    @property
    def code(self) -> str:
        """The status as it may stand in a report about this action."""
        classes = _CLASSES[self.action]
        return self.status if _STATUS.fullmatch(self.status) and self.status[0] in classes else f"{classes[0]}.0.0"


@dataclass(frozen=True, slots=True)
class About:
    """Which message a report is about, for its fields.

    Args:
        hostname: the reporting server.
        message_id: the queue id of the message.
        envelope: its envelope.
        received: when it came, in seconds since 1970.
    """

    hostname: str
    message_id: str
    envelope: Envelope
    received: float


def status_part(about: About, reported: list[Reported], utf8: bool) -> Part:
    """The part; message/global-delivery-status where it holds more than ASCII, which it only does with ``utf8`` (RFC 6533 §4.4)."""
    groups = [_of_message(about, utf8), *(_of_recipient(one, utf8) for one in reported)]
    data = "\r\n".join(groups).encode()
    return Part("message/delivery-status" if data.isascii() else "message/global-delivery-status", *encoded(data, utf8))


def date(seconds: float) -> str:
    """A time in seconds since 1970 as a date of RFC 5322 §3.3."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC))


def _of_message(about: About, utf8: bool) -> str:
    fields = []
    if about.envelope.parameters.envid:
        fields.append(folded("Original-Envelope-Id", safe(about.envelope.parameters.envid, utf8)))
    fields.append(folded("Reporting-MTA", f"dns; {safe(about.hostname, False)}"))
    fields.append(folded("Arrival-Date", date(about.received)))
    fields.append(folded("X-Penstock-Queue-ID", safe(about.message_id, False)))
    return "".join(fields)


def _of_recipient(one: Reported, utf8: bool) -> str:
    fields = []
    # "If no ORCPT parameter was provided for this recipient, the Original-Recipient field MUST NOT appear" (RFC 3461 §6.3).
    if one.recipient.orcpt:
        fields.append(folded("Original-Recipient", _original(one.recipient.orcpt, utf8)))
    fields.append(folded("Final-Recipient", address_text(str(one.recipient.address), utf8)))
    fields.append(f"Action: {one.action}\r\n")
    fields.append(f"Status: {one.code}\r\n")
    if one.remote:
        fields.append(folded("Remote-MTA", f"dns; {_mta(one.remote)}"))
    if one.reply is not None:
        fields.append(_diagnostic(one.reply, utf8))
    elif one.text:
        fields.append(folded("Diagnostic-Code", f"x-penstock; {safe(one.text, utf8)}"))
    if one.tried:
        fields.append(folded("Last-Attempt-Date", date(one.tried)))
    if one.until:
        fields.append(folded("Will-Retry-Until", date(one.until)))
    return "".join(fields)


def _mta(name: str) -> str:
    """A host as an MTA-name of type dns; "a domain-literal containing the internet protocol address is acceptable" (RFC 3461 §9.3)."""
    try:
        address = ip_address(name)
    except ValueError:
        return safe(name, False, 255)
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def _original(orcpt: str, utf8: bool) -> str:
    """The value of ORCPT, which is decoded already; one of type utf-8 is encoded again where it has to be (RFC 6533 §4.1)."""
    kind, semicolon, address = orcpt.partition(";")
    if not semicolon or not _TYPE.fullmatch(kind) or not kind.isascii():
        kind, address = "rfc822", orcpt
    if address.isascii() and kind.lower() != "utf-8":
        return f"{kind};{safe(address, False)}"
    return f"utf-8;{safe(address, True) if utf8 else xtext(address)}"


def _diagnostic(reply: Reply, utf8: bool) -> str:
    """A reply as it was, each line after the first behind a space (RFC 3461 §9.2)."""
    lines = reply.lines[:_MOST_LINES]
    enhanced = f"{reply.enhanced} " if _STATUS.fullmatch(reply.enhanced) else ""
    texts = [safe(line, utf8, MAX_TEXT - 40) for line in lines]
    code = reply.code if 200 <= reply.code <= 599 else 500
    shown = [f"{code}{' ' if number == len(texts) - 1 else '-'}{enhanced}{text}" for number, text in enumerate(texts)]
    return "Diagnostic-Code: smtp; " + "\r\n ".join(line.rstrip() for line in shown) + "\r\n"
