"""One user as a store keeps them: hashes and keys, and the file of a line a user in which ``penstock user`` writes them.

JSON a line, since a name may have any character, and since a key that comes later breaks nobody's file. No password stands in it, unless
somebody wants CRAM-MD5, which needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from penstock.errors import ConfigError
from penstock.verdicts import Authenticated, Keys, PlainPassword

from .watched import read_text

LARGEST = 64 * 1024 * 1024


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One user.

    Args:
        user: the name.
        password: a hash of Argon2, as "$argon2id$v=19$m=19456,t=2,p=1$salt$hash"; "" for none.
        keys: the keys of SCRAM, as RFC 5803 writes them.
        clear: the password itself, for CRAM-MD5 alone; "" for none.
        disabled: the user exists and is not let in.
    """

    user: str
    password: str = ""
    keys: list[str] = []
    clear: str = ""
    disabled: bool = False

    def __repr__(self) -> str:
        return f"Account({self.user!r})"

    def keys_for(self, mechanism: str) -> Keys | None:
        """The keys of a mechanism; None when there are none. Raises ValueError for keys that cannot be read."""
        found = next((text for text in self.keys if text.startswith(f"{mechanism}$")), None)
        return Keys.parse(self.user, found) if found is not None else None

    def secret(self) -> PlainPassword | None:
        """The password itself; None when it is not kept."""
        return PlainPassword(self.user, self.clear) if self.clear else None

    def check(self) -> None:
        """Raises ValueError for an account that could never be used."""
        Authenticated(self.user)
        for text in self.keys:
            Keys.parse(self.user, text)
        if self.password and not self.password.startswith("$argon2"):
            raise ValueError("password is a hash of Argon2, '$argon2id$...'")


def folded(user: str) -> str:
    """The name by which a user is found: capital and small letters mean the same."""
    return user.casefold()


def read_accounts(path: Path) -> dict[str, Account]:
    """The accounts of a file, by folded name. Raises ConfigError that names the line and never what is in it."""
    accounts: dict[str, Account] = {}
    for number, line in enumerate(read_text(path, LARGEST).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            account = _decoder.decode(line)
            account.check()
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(f"{path}:{number}", f"this is no account: {error}", "'penstock user' writes such lines") from None
        if folded(account.user) in accounts:
            raise ConfigError(f"{path}:{number}", f"{account.user!r} is there twice", "take one of the lines out")
        accounts[folded(account.user)] = account
    return accounts


def encoded(accounts: Iterable[Account]) -> bytes:
    """The file that has these accounts."""
    return b"".join(msgspec.json.encode(account) + b"\n" for account in accounts)


_decoder = msgspec.json.Decoder(Account)
