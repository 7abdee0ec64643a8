"""A message's recipients as a sink edits them: a list to add to, remove from, and change in place.

Rejected: the original's way, where a sink had to build a new list and forgot somebody. What is not touched stays, with its properties and
its DSN parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import overload

from ..errors import AddressError
from ..mail.address import Address
from ..mail.envelope import NOTIFY_VALUES, Recipient


class Recipients:
    """The recipients of one message, in order.

    Args:
        items: the recipients to edit; they are not copied.
    """

    __slots__ = ("items",)

    def __init__(self, items: list[Recipient]) -> None:
        self.items = items

    def add(
        self, address: Address | str, *, notify: Iterable[str] = (), orcpt: str = "", properties: dict[str, object] | None = None
    ) -> Recipient:
        """Adds a recipient and returns it; one that is there already is returned as it is.

        Args:
            address: where to send a copy.
            notify: "never", or any of "success", "failure", "delay" (RFC 3461 §4.1).
            orcpt: the original recipient as ``type;address`` (RFC 3461 §4.2).
            properties: plain data that travels with it.

        Raises: AddressError; ValueError for an unknown word in ``notify``.
        """
        parsed = as_recipient(address)
        words = as_notify(notify)
        present = self.find(parsed)
        if present:
            return present
        added = Recipient(parsed, notify=words, orcpt=orcpt, properties=dict(properties or {}))
        self.items.append(added)
        return added

    def find(self, address: Address | str) -> Recipient | None:
        """The recipient with this address, or None."""
        parsed = as_address(address)
        return next((r for r in self.items if r.address == parsed), None)

    def remove(self, recipient: Recipient | Address | str) -> None:
        """Removes a recipient, given as itself or by address; raises ValueError when it is not there."""
        found = self.find(recipient) if not isinstance(recipient, Recipient) else recipient
        for index, item in enumerate(self.items):
            if item is found:
                del self.items[index]
                return
        raise ValueError(f"{recipient} is not among the recipients")

    def __iter__(self) -> Iterator[Recipient]:
        return iter(list(self.items))

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Recipient: ...
    @overload
    def __getitem__(self, index: slice) -> list[Recipient]: ...
    def __getitem__(self, index: int | slice) -> Recipient | list[Recipient]:
        return self.items[index]

    def __contains__(self, wanted: object) -> bool:
        if isinstance(wanted, Recipient):
            return any(item is wanted for item in self.items)
        return isinstance(wanted, Address | str) and self.find(wanted) is not None

    def __repr__(self) -> str:
        return f"Recipients({[str(r.address) for r in self.items]})"


def as_address(address: Address | str) -> Address:
    """The address itself, or parsed from text; raises AddressError, for an Address with line ends in it too, or TypeError for neither."""
    if isinstance(address, str):
        return Address.parse(address)
    if not isinstance(address, Address):
        raise TypeError(f"an address is an Address or its text, not {address!r}")
    address.check()
    return address


def as_notify(words: Iterable[str]) -> frozenset[str]:
    """The words of NOTIFY in lower case (RFC 3461 §4.1); raises ValueError for others, or TypeError where there are no words."""
    if isinstance(words, str):
        raise TypeError(f"notify takes a set of words, not the text {words!r}")
    lower = frozenset(word.lower() for word in words)
    if lower - NOTIFY_VALUES or ("never" in lower and len(lower) > 1):
        raise ValueError(f"notify takes 'never' alone, or some of 'success', 'failure', 'delay'; not {sorted(lower)}")
    return lower


def as_recipient(address: Address | str) -> Address:
    """The address itself, or parsed from text; raises AddressError, also for the null path, which nobody can be sent to."""
    parsed = as_address(address)
    if parsed.is_null:
        raise AddressError("a recipient cannot be the null path")
    return parsed


def tidy(recipient: Recipient) -> None:
    """Makes of a recipient that a sink edited one that can be kept; raises AddressError, ValueError, TypeError when it cannot be.

    A type checker refuses text in the place of an address, or a list of words, but Python lets them through.
    """
    recipient.address = as_recipient(recipient.address)
    recipient.notify = as_notify(recipient.notify)
