"""CRAM-MD5 (RFC 2195): off unless somebody wants it, since the server must keep passwords in clear, and MD5 is what it is."""

from __future__ import annotations

import hmac
import re
import secrets

from ...errors import SaslError
from .base import Challenge, Failure, PlainSecret, Secret, Success, Talk
from .prepare import name, prepare

_DIGEST = re.compile(rb"[0-9a-f]{32}")


def digest(password: str, challenge: bytes) -> bytes:
    """The keyed digest of a challenge, in hexadecimal (RFC 2195 §2)."""
    return hmac.new(prepare(password).encode(), challenge, "md5").hexdigest().encode()


def cram_md5(hostname: str) -> Talk:
    """The server's side.

    Args:
        hostname: ours; with the random digits before it, it makes a challenge that was never there before.
    """
    challenge = f"<{secrets.randbits(64)}.{secrets.randbits(64)}@{hostname}>".encode()
    response: bytes = yield Challenge(challenge)
    user_octets, _, given = response.rpartition(b" ")
    if not _DIGEST.fullmatch(given):
        raise SaslError("the response of CRAM-MD5 has no digest")
    user = name(user_octets, "name")
    answer = yield Secret(user)
    # As much work for a user who does not exist.
    wanted = digest(answer.password if isinstance(answer, PlainSecret) else secrets.token_hex(8), challenge)
    if hmac.compare_digest(wanted, given) and isinstance(answer, PlainSecret):
        return Success(answer.user)
    return Failure("wrong name or password", user=user)


class CramClient:
    """The client's side of CRAM-MD5."""

    name = "CRAM-MD5"
    __slots__ = ("_password", "_told", "_user")

    def __init__(self, user: str, password: str) -> None:
        self._user = prepare(user).encode()
        self._password = password
        self._told = False

    def initial(self) -> None:
        """The server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """The name and the digest."""
        if self._told:
            raise SaslError("CRAM-MD5 has one challenge, not two")
        self._told = True
        return self._user + b" " + digest(self._password, challenge)

    def finish(self) -> None:
        """The server proves nothing."""
