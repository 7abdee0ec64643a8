"""What the row of a table says of a user: by the names of its columns, so that a query can fit itself to any table.

``name`` is the user, ``password`` a hash of Argon2, ``scram_sha_256`` and ``scram_sha_1`` keys as RFC 5803 and PostgreSQL write them,
``clear`` the password itself, ``disabled`` keeps the user out. All but ``name`` and ``password`` may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping

from .accounts import Account
from .lookup import LookupFailed

_KEYS = ("scram_sha_256", "scram_sha_1")


def account_of(user: str, row: Mapping[str, object]) -> Account:
    """The account that a row makes.

    Args:
        user: the name that was looked up, for a row without one.
        row: value by column.

    Raises: LookupFailed for a row that cannot be used; without what is in it.
    """
    known = {name.lower(): value for name, value in row.items()}
    if "password" not in known and not any(name in known for name in _KEYS) and "clear" not in known:
        raise LookupFailed("the query gives no column password, scram_sha_256, scram_sha_1 or clear")
    keys = [text for name in _KEYS if (text := _text(known, name))]
    account = Account(_text(known, "name") or user, _text(known, "password"), keys, _text(known, "clear"), bool(known.get("disabled")))
    try:
        account.check()
    except ValueError as error:
        raise LookupFailed(f"a row cannot be used: {error}") from None
    return account


def _text(row: Mapping[str, object], column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LookupFailed(f"the column {column} is no text")
    return value
