"""What stores of users have in common: an account is looked up, and the answer is made of it that a mechanism wants.

A store says None to whom it does not know, so that the next one is asked; to a wrong password it says no, and that is the last word. A
store that cannot be asked puts the login off, and says so in the log: a password that holds must not be refused for good.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from typing import Any, ClassVar

from penstock import Sink, on
from penstock.events import Credentials
from penstock.verdicts import Authenticated, Defer, Keys, PlainPassword, Reject

from .accounts import Account
from .lookup import LookupFailed
from .passwords import Passwords

Answer = Authenticated | Keys | PlainPassword | Reject | Defer | None
# RFC 4954 §6.
WRONG = Reject(535, "5.7.8", "Authentication credentials invalid")
UNAVAILABLE = Defer(454, "4.7.0", "Temporary authentication failure")
_SELDOM = 60.0


class Seldom:
    """Says in the log that a store cannot be asked, once a minute."""

    def __init__(self) -> None:
        self._said = -_SELDOM

    def say(self, log: Any, error: Exception) -> None:
        """Writes the line, if it is time for it."""
        now = time.monotonic()
        if now - self._said >= _SELDOM:
            self._said = now
            log.error("credentials cannot be asked", error=str(error) or type(error).__name__)


class CredentialStore(Sink[Any]):
    """Answers from accounts that it finds by name.

    ``kinds`` are the questions that it can answer; the server offers mechanisms by them.

    Raises: ConfigError when argon2-cffi is not installed.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"password", "keys", "secret"})

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._passwords = Passwords(type(self).__name__)
        self._seldom = Seldom()

    @abstractmethod
    async def find(self, user: str) -> Account | None:
        """The account of a user, None when there is none. Raises LookupFailed."""

    @on(Credentials)
    async def check(self, event: Credentials) -> Authenticated | Keys | PlainPassword | Reject | Defer | None:
        """Answers about the users of this store."""
        if event.kind not in ("password", "keys", "secret"):
            return None
        try:
            account = await self.find(event.user)
            if event.kind == "password":
                return await self._password(account, event.password)
            return await self._keys(account, event) if account is not None else None
        except (LookupFailed, ValueError) as error:
            self._seldom.say(self.log, error)
            return UNAVAILABLE

    async def _password(self, account: Account | None, password: str) -> Authenticated | Reject | None:
        if account is None:
            await self._passwords.is_right("", password)
            return None
        if account.password or not (account.keys or account.clear):
            right = await self._passwords.is_right(account.password, password)
        else:
            # SCRAM's keys tell a password as well as its hash does.
            right = await asyncio.to_thread(_known_by, account, password)
        return Authenticated(account.user) if right and not account.disabled else WRONG

    async def _keys(self, account: Account, event: Credentials) -> Keys | PlainPassword | Reject | None:
        if account.disabled:
            return WRONG
        if event.kind == "secret":
            return account.secret()
        keys = account.keys_for(event.mechanism)
        if keys is None and account.clear:
            return await asyncio.to_thread(Keys.of, account.user, account.clear, event.mechanism)
        return keys


def _known_by(account: Account, password: str) -> bool:
    if account.clear:
        return Keys.of(account.user, account.clear).proves(password)
    return Keys.parse(account.user, account.keys[0]).proves(password)
