"""What answers ``Credentials`` beside yes and no: what a server keeps of a password, so that a mechanism can go on with it.

Whoever keeps users gives out what the mechanism needs and no more: SCRAM is served with keys from which the password cannot be had.
"""

from __future__ import annotations

import binascii
import hmac
import re
import secrets
from dataclasses import dataclass, field

from ..errors import SaslError
from ..wire.sasl.scram import ITERATIONS, keys_of
from .verdict import MAX_USER, Verdict, must_be

# By the size of the hash, which is all that the keys themselves tell.
_MECHANISMS = {20: "SCRAM-SHA-1", 32: "SCRAM-SHA-256"}
# RFC 5803 §2: scheme "$" iterations ":" salt "$" stored key ":" server key.
_TEXT = re.compile(r"(SCRAM-SHA-1|SCRAM-SHA-256)\$([0-9]{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
_SALT = 16


def _check_user(verdict: Keys | PlainPassword) -> None:
    must_be(verdict, "user", str)
    if not verdict.user or not verdict.user.isprintable() or len(verdict.user) > MAX_USER:
        raise ValueError(f"{type(verdict).__name__}: user should be 1 to {MAX_USER} printable characters")


@dataclass(frozen=True, slots=True)
class Keys(Verdict):
    """The keys of a user for SCRAM: the client has yet to prove that it knows the password (RFC 5802 §3).

    Args:
        user: the name by which sinks, log and ``Match(user=...)`` know the user from then on.
        salt: with which the keys were made.
        iterations: as often as was hashed.
        stored_key: proves that the client knows the password.
        server_key: proves that we know the user.
    """

    user: str
    salt: bytes = field(repr=False)
    iterations: int = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_user(self)
        for name in ("salt", "stored_key", "server_key"):
            must_be(self, name, bytes)
        must_be(self, "iterations", int)
        if not self.salt or self.iterations < 1:
            raise ValueError("Keys: salt or iterations are missing")
        if len(self.stored_key) not in _MECHANISMS or len(self.server_key) != len(self.stored_key):
            raise ValueError("Keys: these are not the keys of SCRAM-SHA-1 or SCRAM-SHA-256")

    @property
    def mechanism(self) -> str:
        """ "SCRAM-SHA-1" or "SCRAM-SHA-256"."""
        return _MECHANISMS[len(self.stored_key)]

    @classmethod
    def of(cls, user: str, password: str, mechanism: str = "SCRAM-SHA-256", iterations: int = ITERATIONS) -> Keys:
        """The keys of a password, with a fresh salt; takes some milliseconds.

        Args:
            user: the user's name.
            password: in clear.
            mechanism: "SCRAM-SHA-1" or "SCRAM-SHA-256".
            iterations: how often is hashed, here and in each client.

        Raises: ValueError for a password that cannot be one (RFC 4013), or another mechanism.
        """
        if mechanism not in _MECHANISMS.values():
            raise ValueError(f"there are no keys for {mechanism}")
        try:
            made = keys_of(user, password, mechanism, secrets.token_bytes(_SALT), iterations)
        except SaslError as error:
            raise ValueError(str(error)) from None
        return cls(user, made.salt, made.iterations, made.stored_key, made.server_key)

    @classmethod
    def parse(cls, user: str, text: str) -> Keys:
        """Keys as ``text`` writes them, which is how PostgreSQL keeps them too. Raises ValueError.

        Source: RFC 5803 §2.
        """
        found = _TEXT.fullmatch(text)
        if not found:
            raise ValueError("keys look like 'SCRAM-SHA-256$iterations:salt$stored-key:server-key' (RFC 5803)")
        try:
            salt, stored, server = (binascii.a2b_base64(part, strict_mode=True) for part in (found[3], found[4], found[5]))
        except binascii.Error:
            raise ValueError("salt or keys are not base64") from None
        keys = cls(user, salt, int(found[2]), stored, server)
        if keys.mechanism != found[1]:
            raise ValueError(f"the keys are not those of {found[1]}")
        return keys

    def proves(self, password: str) -> bool:
        """Whether these are the keys of a password; takes some milliseconds."""
        try:
            made = keys_of(self.user, password, self.mechanism, self.salt, self.iterations)
        except SaslError:
            return False
        return hmac.compare_digest(made.stored_key, self.stored_key)

    def text(self) -> str:
        """The keys in one line (RFC 5803 §2); as good as the password to whoever can serve SCRAM with them, so they are kept secret."""
        salt, stored, server = (binascii.b2a_base64(part, newline=False).decode() for part in (self.salt, self.stored_key, self.server_key))
        return f"{self.mechanism}${self.iterations}:{salt}${stored}:{server}"


@dataclass(frozen=True, slots=True)
class PlainPassword(Verdict):
    """The password of a user in clear, for CRAM-MD5, which cannot do with less (RFC 2195).

    Args:
        user: the name by which sinks, log and ``Match(user=...)`` know the user from then on.
        password: the password.
    """

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        _check_user(self)
        must_be(self, "password", str)
        if not self.password:
            raise ValueError("PlainPassword: the password is empty")
