"""The verdict about some of a message's recipients, when its content is known; apart from the others for the length of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..mail.address import Address
from .recipients import as_address
from .verdict import Defer, Reject, Verdict


@dataclass(frozen=True, slots=True)
class RefuseRecipients(Verdict):
    """Refuses some recipients of a message that the others get, and goes on with the next binding.

    In LMTP and with PRDR each of them is answered for itself. Elsewhere there is one reply for all: a ``Defer`` then defers the whole
    message, and of those with a ``Reject`` the sender hears by a DSN, unless nobody is left, which refuses the message.

    Args:
        recipients: the answer for each that is refused, by its address as ``event.message.recipients`` has it.

    Source: RFC 2033 §4.2, draft-hall-prdr-00.
    """

    recipients: Mapping[str, Reject | Defer]

    def __init__(self, recipients: Mapping[Address, Reject | Defer] | Mapping[str, Reject | Defer]) -> None:
        given: object = recipients
        if not isinstance(given, Mapping) or not given:
            raise TypeError(f"RefuseRecipients: recipients is a dictionary with at least one address, not {recipients!r}")
        for verdict in recipients.values():
            if not isinstance(verdict, Reject | Defer):
                raise TypeError(f"RefuseRecipients: a recipient is refused with Reject or Defer, not {verdict!r}")
        object.__setattr__(self, "recipients", {str(as_address(address)): verdict for address, verdict in recipients.items()})
