"""What stores have in common that hand the password to somebody who compares it: a directory's server, PAM, Dovecot."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Any, ClassVar

from penstock import Sink, on
from penstock.events import Credentials
from penstock.verdicts import Authenticated, Defer, Reject

from .credentials import UNAVAILABLE, WRONG, Seldom
from .lookup import LookupFailed


class PasswordElsewhere(Sink[Any]):
    """Answers about passwords, by ``ask``, and about nothing else: nobody gives out the keys that SCRAM needs."""

    kinds: ClassVar[frozenset[str]] = frozenset({"password"})

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._seldom = Seldom()

    @abstractmethod
    async def ask(self, user: str, password: str, client_ip: str) -> str | None:
        """The user's name when the password is right, "" when it is wrong, None when the user is unknown or that is not told.

        Raises: LookupFailed, OSError, TimeoutError when there is nobody to ask.
        """

    @property
    def seconds(self) -> float:
        """How long that may take."""
        return float(self.settings.seconds)

    @on(Credentials)
    async def check(self, event: Credentials) -> Authenticated | Reject | Defer | None:
        """Has the password compared. An empty one never is: LDAP takes it for "nobody", who is welcome (RFC 4513 §5.1.2)."""
        if event.kind != "password" or not event.password or not event.user or "\0" in event.user + event.password:
            return None
        try:
            async with asyncio.timeout(self.seconds):
                user = await self.ask(event.user, event.password, event.session.client_ip)
            return Authenticated(user) if user else WRONG if user is not None else None
        except (LookupFailed, OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            # The words of a library may have the password in them; those of ours do not.
            self._seldom.say(self.log, error if isinstance(error, LookupFailed) else LookupFailed(type(error).__name__))
            return UNAVAILABLE
