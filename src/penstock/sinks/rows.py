"""What the rows of a table mean to a directory.

The first column holds destinations: NULL, "" or the address itself is a mailbox; else addresses, separated by commas or spaces, for whom it
stands. Several rows of one address are added up. A column ``owner`` is the envelope sender of what goes to the members of a list; all other
columns are attributes of the recipient.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from penstock import Address
from penstock.errors import AddressError

from .lookup import Entry, parsed

_OWNER = "owner"


def entry_of(key: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Entry:
    """The entry that rows make.

    Args:
        key: what was looked up.
        columns: their names; the first one holds destinations.
        rows: what was found, at least one.
    """
    domain = key.rpartition("@")[2]
    addresses: dict[Address, None] = {}
    attributes: dict[str, Any] = {}
    owner: Address | None = None
    mailbox = False
    try:
        for row in rows:
            texts = _texts(row[0])
            mailbox = mailbox or not texts
            addresses.update(dict.fromkeys(parsed(texts, domain)))
            for name, value in zip(columns[1:], row[1:], strict=False):
                if name == _OWNER:
                    owner = Address.parse(str(value)) if value else owner
                else:
                    attributes[name] = _plain(value)
    except AddressError as error:
        return Entry(problem=f"the destination of {key} cannot be used: {error}")
    others = tuple(a for a in addresses if f"{a.local.lower()}@{a.domain}" != key)
    return Entry(others, mailbox or len(others) < len(addresses), attributes, owner)


def _texts(value: Any) -> list[str]:
    """The texts of a first column, which may be an array; no empty ones."""
    if value is None:
        return []
    values = value if isinstance(value, list | tuple) else [value]
    return [text for one in values if one is not None and (text := str(one).strip())]


def _plain(value: Any) -> Any:
    """A value as plain data, as it has to be to travel with a message."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime.datetime | datetime.date | decimal.Decimal | uuid.UUID):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
