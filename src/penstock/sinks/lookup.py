"""What a directory's answer means: the same for a row of a table, an entry of LDAP and a line of a file.

Not found is an answer, and so is "found, and it is a mailbox", "found, and it stands for others". That a directory cannot be asked is none:
it puts off what it was asked about, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from penstock import Address
from penstock.errors import AddressError
from penstock.events import Item


class LookupFailed(Exception):
    """A directory could not be asked, or what it answered cannot be understood; the text is for the log alone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a directory found.

    Args:
        addresses: those for whom the address stands; empty when it is a mailbox.
        mailbox: whether the address is a mailbox that gets its copy, whatever else it stands for; so it is, too, when it is one of its own
            ``addresses``.
        attributes: what else is known, as plain data; goes on with the recipient.
        owner: who gets the reports about the members of a list; None for the message's sender.
        problem: why the entry cannot be used, "" when it can be.
    """

    addresses: tuple[Address, ...] = ()
    mailbox: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    owner: Address | None = None
    problem: str = ""


def decide(item: Item, entry: Entry, *, null_sender: bool) -> None:
    """Decides an item as its entry says.

    Args:
        item: the address.
        entry: what was found.
        null_sender: whether the message is a report: it keeps its sender, or reports about reports would come (RFC 5321 §4.5.5).
    """
    if entry.attributes:
        item.attributes.update(entry.attributes)
    others = tuple(dict.fromkeys(member for member in entry.addresses if not _same(member, item.address)))
    itself = entry.mailbox or len(others) < len(set(entry.addresses))
    if entry.problem:
        item.defer("The directory's entry for this address cannot be used", "4.3.5")
    elif not others:
        item.resolve()
    elif entry.owner is not None and not null_sender and not itself:
        item.expand(others, sender=entry.owner)
    elif itself or len(others) == 1:
        item.forward(others, keep=itself)
    else:
        item.expand(others)


def parsed(texts: Iterable[str], domain: str) -> tuple[Address, ...]:
    """The addresses in texts that may hold several, separated by commas or spaces.

    Args:
        texts: e.g. the values of a column.
        domain: where names without a domain are.

    Raises: AddressError.
    """
    found: dict[Address, None] = {}
    for text in texts:
        for word in text.replace(",", " ").split() if '"' not in text else [text.strip()]:
            address = Address.parse(word if "@" in word else f"{word}@{domain}")
            if address.is_null:
                raise AddressError("the null path stands among the destinations")
            found[address] = None
    return tuple(found)


def _same(one: Address, other: Address) -> bool:
    return one.domain == other.domain and one.local.lower() == other.local.lower()
