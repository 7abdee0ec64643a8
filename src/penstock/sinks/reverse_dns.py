"""Refuses clients without a host name of their own: much of what has none is somebody's television, sending spam.

Needs ``client_names`` in ``[dns]``, so that names are looked for. A name counts when it leads back to the address. Many honest servers have
none, too; so the answer is temporary by default, for an administrator who looks at his log before he makes it ``reject``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from penstock import Sink, on
from penstock.events import RcptTo
from penstock.verdicts import Defer, Reject

from .wildcard import wildcard


@dataclass(frozen=True, slots=True)
class ReverseDnsSettings:
    """Whom to refuse, and how.

    Args:
        action: "defer" or "reject".
        generic: names that say no more than an address, as providers give them to all, such as ``*.dyn.example.net``, where ``*`` stands
            for any characters; a client that has such a name is refused as if it had none.
    """

    action: Literal["defer", "reject"] = "defer"
    generic: list[str] = field(default_factory=list)


class ReverseDns(Sink[ReverseDnsSettings]):
    """Refuses at RCPT, so that the log names sender and recipient; never who has logged in, nor mail for a postmaster.

    Raises: ValueError for a pattern that every name meets.
    """

    def __init__(self, settings: ReverseDnsSettings) -> None:
        super().__init__(settings)
        if any(not pattern.strip("*.") for pattern in settings.generic):
            raise ValueError("generic: a pattern that any name meets would refuse everybody; write one such as '*.dyn.example.net'")
        self._generic = [wildcard(pattern) for pattern in settings.generic]

    @on(RcptTo, blocking=False)
    def look(self, event: RcptTo) -> Defer | Reject | None:
        """Looks at the name."""
        session, name = event.session, event.session.client_name
        if session.user or not session.client_ip or event.recipient.address.local.lower() == "postmaster":
            return None
        # RFC 7372 §3.3: X.7.25, "Reverse DNS validation failed".
        if not name:
            return self._refuse("Your address has no host name that leads back to it")
        if any(pattern.fullmatch(name.lower()) for pattern in self._generic):
            return self._refuse("The host name of your address is one as all customers have it")
        return None

    def _refuse(self, text: str) -> Defer | Reject:
        return Reject(550, "5.7.25", text) if self.settings.action == "reject" else Defer(450, "4.7.25", text)
