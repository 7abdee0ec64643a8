"""The envelope: who sent it, to whom, and what the client asked for on MAIL and RCPT.

The names are those of RFC 5321 and RFC 3461. Parameters that Penstock does not know are kept as they came, since "it is the job of the next
one to judge them" is how extensions travel; what a sink adds to a recipient travels in ``properties``.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgspec

from .address import NULL, Address

# RFC 3461 §4.1: NOTIFY=NEVER must stand alone; the others may be combined.
NOTIFY_VALUES = frozenset({"never", "success", "failure", "delay"})


class Recipient(msgspec.Struct):
    """One recipient of a message; a sink edits it in place.

    Args:
        address: where it goes now.
        original: the address that the client gave in RCPT; "" when a sink added the recipient.
        notify: lower-case words of NOTIFY, empty for the default (RFC 3461 §4.1).
        orcpt: the ORCPT value as ``type;address``, decoded, or "" (RFC 3461 §4.2).
        parameters: further RCPT parameters as they came, by upper-case name.
        properties: for sinks; travels with the recipient through rewriting, forks and restarts. Values must be plain data.
        route: the next hop or delivery that was given to this recipient, such as "[192.0.2.1]:25" or "pipe:/usr/bin/vacation"; "" for what
            the address says. Only directories and sinks set it, never a client.
        variant: which variant of the message it belongs to, "" for the common one.
        reason: why it was not served at the last try, "" before the first.
    """

    address: Address
    original: str = ""
    notify: frozenset[str] = frozenset()
    orcpt: str = ""
    parameters: dict[str, str] = {}
    properties: dict[str, Any] = {}
    route: str = ""
    variant: str = ""
    reason: str = ""

    def copy(self) -> Recipient:
        """A copy that shares nothing changeable with this one."""
        properties = deepcopy(self.properties) if self.properties else {}
        return Recipient(
            self.address, self.original, self.notify, self.orcpt, dict(self.parameters), properties, self.route, self.variant, self.reason
        )


class MailParameters(msgspec.Struct):
    """What the client asked for on MAIL.

    Args:
        size: SIZE in octets, or None (RFC 1870 §6).
        body: "7BIT", "8BITMIME", "BINARYMIME", or "" when not given (RFC 6152, RFC 3030).
        smtputf8: SMTPUTF8 was given (RFC 6531 §3.4).
        ret: "FULL", "HDRS" or "" (RFC 3461 §4.3).
        envid: ENVID, decoded, or "" (RFC 3461 §4.4).
        other: further parameters as they came, by upper-case name.
        requiretls: it may only travel within TLS whose certificate holds, to servers that promise the same (RFC 8689).
        by: seconds from its arrival within which it is to be delivered, or None (RFC 2852); below 0 it is late already.
        by_mode: "R" to return it when that is over, "N" to tell the sender and go on, "" without ``by``.
        by_trace: the sender wants to hear of each relay on the way.
        hold_for: seconds for which it is kept before anybody tries to deliver it, or None (RFC 4865).
        hold_until: until when, as a date and time of RFC 3339 in UTC, or "".
        priority: from -9 to 9, or None when nobody said (RFC 6710).
        solicit: classes of solicitation that the sender says it is of, in lower case (RFC 3865).
    """

    size: int | None = None
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    other: dict[str, str] = {}
    requiretls: bool = False
    by: int | None = None
    by_mode: str = ""
    by_trace: bool = False
    hold_for: int | None = None
    hold_until: str = ""
    priority: int | None = None
    solicit: frozenset[str] = frozenset()

    def copy(self) -> MailParameters:
        """A copy that shares nothing changeable with this one."""
        return msgspec.structs.replace(self, other=dict(self.other))


class Envelope(msgspec.Struct):
    """Sender, recipients and what was asked for (RFC 5321 §2.3.1)."""

    sender: Address = NULL
    recipients: list[Recipient] = []
    parameters: MailParameters = msgspec.field(default_factory=MailParameters)

    def copy(self) -> Envelope:
        """A copy that shares nothing changeable with this one."""
        return Envelope(self.sender, [r.copy() for r in self.recipients], self.parameters.copy())
