"""One address on its way through the directories, and what a directory may say of it."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from ..mail.address import Address
from ..mail.envelope import Recipient
from .recipients import as_address, as_recipient
from .verdict import Bounce

Decision = Literal["", "resolved", "rewritten", "expanded", "forwarded", "delivered-by", "failed", "deferred"]


@dataclass(slots=True)
class Item:
    """An address that is to be resolved.

    The methods decide it; the last decision counts. What is not decided by anybody stays as it is, and a local address that no
    directory knows
    fails or not as the domain's settings say.

    Args:
        address: the address.
        kind: "sender" or "recipient".
        recipient: the recipient with its properties, for reading; None for the sender.
        attributes: what directories found about it, plain data; goes on with the recipient as ``properties["attributes"]``.
        trail: the addresses that led here, the first one first; who is in it again is a loop.
        decision: what was decided, "" while nothing is.
        members: where it leads to, when it was rewritten, expanded or forwarded.
        route: the next hop or delivery that was given to it, e.g. "pipe:/usr/bin/vacation alice".
        sender: the envelope sender of what goes to the members, or None for the message's own (RFC 5321 §3.9.2).
        status: the enhanced status when it failed or was put off.
        text: why.
    """

    address: Address
    kind: Literal["sender", "recipient"] = "recipient"
    recipient: Recipient | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    trail: tuple[str, ...] = ()
    decision: Decision = ""
    members: tuple[Address, ...] = ()
    route: str = ""
    sender: Address | None = None
    status: str = ""
    text: str = ""

    @property
    def decided(self) -> bool:
        """Whether somebody decided it."""
        return bool(self.decision)

    def resolve(self) -> None:
        """Says that the address exists, as it is."""
        self._decide("resolved")

    def rewrite(self, address: Address | str) -> None:
        """Puts another address of the same mailbox in its place, which is asked about in turn."""
        self._decide("rewritten", (as_recipient(address) if self.kind == "recipient" else as_address(address),))

    def expand(self, members: Iterable[Address | str], *, sender: Address | str | None = None) -> None:
        """Puts the members of a distribution list in its place.

        Args:
            members: addresses; may be lists in turn. None at all is a failure later, not a silent loss.
            sender: who gets reports about the members, usually the list's owner; None for the message's sender (RFC 5321 §3.9.2).
        """
        self._decide("expanded", tuple(as_recipient(a) for a in members))
        self.sender = as_address(sender) if sender is not None else None

    def forward(self, addresses: Iterable[Address | str], *, keep: bool = False) -> None:
        """Sends to other addresses in its place, or beside it.

        Args:
            addresses: where to.
            keep: True when the mailbox itself gets the message too.
        """
        kept = (self.address,) if keep else ()
        self._decide("forwarded", (*kept, *(as_recipient(a) for a in addresses)))

    def deliver_by(self, route: str) -> None:
        """Gives it a next hop or delivery of its own.

        Args:
            route: a next hop such as "lmtp:[127.0.0.1]:24", or "pipe:COMMAND", "file:PATH", or another word that a sink of
                LocalDelivery knows.
        """
        self._decide("delivered-by")
        self.route = route

    def fail(self, status: str = "5.1.1", text: str = "The address does not exist") -> None:
        """Says that it cannot be delivered to: the sender hears of it."""
        Bounce(status, text)
        self._decide("failed")
        self.status, self.text = status, text

    def defer(self, text: str = "The directory cannot be asked", status: str = "4.4.3") -> None:
        """Says that it cannot be known now: this recipient is tried again later."""
        Bounce(status, text)
        self._decide("deferred")
        self.status, self.text = status, text

    def copy(self) -> Item:
        """A copy that shares nothing changeable with this one."""
        recipient = self.recipient.copy() if self.recipient is not None else None
        return Item(
            self.address, self.kind, recipient, deepcopy(self.attributes), self.trail, self.decision, self.members, self.route, self.sender,
            self.status, self.text,
        )  # fmt: skip

    def _decide(self, decision: Decision, members: tuple[Address, ...] = ()) -> None:
        self.decision, self.members = decision, members
        self.route, self.sender, self.status, self.text = "", None, "", ""
