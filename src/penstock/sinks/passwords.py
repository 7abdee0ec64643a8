"""Hashes of passwords with Argon2id (RFC 9106), made and compared in threads, a few at a time: each costs memory and time on purpose.

Who does not exist costs as much as who does: against a hash that nobody has the password of.
"""

from __future__ import annotations

import asyncio
import importlib
import secrets
from typing import Any

from penstock.errors import ConfigError

# The OWASP cheat sheet's least of memory: 19 MiB and two passes; 20 ms or so of one core.
TIME, MEMORY, LANES = 2, 19_456, 1
# More would take more memory than they gain time on the cores that there are.
AT_A_TIME = 2
# What somebody else's hash may cost at most: KiB of memory and passes.
_MOST_MEMORY, _MOST_TIME = 1024 * 1024, 64


class Passwords:
    """Makes hashes and compares passwords with them.

    Args:
        where: who needs it, for the error.

    Raises: ConfigError when argon2-cffi is not installed.
    """

    def __init__(self, where: str) -> None:
        try:
            self._driver: Any = importlib.import_module("argon2")
        except ImportError:
            raise ConfigError(where, "argon2-cffi is not installed", "pip install 'penstock[auth]'") from None
        self._hasher: Any = self._driver.PasswordHasher(TIME, MEMORY, LANES)
        self._room = asyncio.Semaphore(AT_A_TIME)
        self._nobody = ""

    def hash(self, password: str) -> str:
        """A hash; takes some milliseconds."""
        made: str = self._hasher.hash(password)
        return made

    async def is_right(self, hashed: str, password: str) -> bool:
        """Whether a hash is that of a password; "" for the hash of nobody, which takes as long. Raises ValueError for what is no hash."""
        async with self._room:
            return await asyncio.to_thread(self._compare, hashed, password)

    def _compare(self, hashed: str, password: str) -> bool:
        if not hashed:
            # Made once, and not when the server starts: many have no such store.
            self._nobody = self._nobody or self.hash(secrets.token_urlsafe(16))
        errors = self._driver.exceptions
        try:
            asked = self._driver.extract_parameters(hashed or self._nobody)
            if asked.memory_cost > _MOST_MEMORY or asked.time_cost > _MOST_TIME:
                raise ValueError("the hash asks for more memory or time than there is")
            self._hasher.verify(hashed or self._nobody, password)
        except errors.VerifyMismatchError:
            return False
        except (errors.InvalidHashError, errors.VerificationError):
            # Without the library's words, which may have the hash in them.
            raise ValueError("the hash cannot be read") from None
        return bool(hashed)
