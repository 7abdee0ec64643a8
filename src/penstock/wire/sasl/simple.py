"""The mechanisms that send what they have: PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login) and EXTERNAL (RFC 4422 appendix A)."""

from __future__ import annotations

from ...errors import SaslError
from .base import Certificate, Challenge, Failure, Known, Password, Success, Talk
from .prepare import decoded, name, prepare

# What every server says, and some clients compare.
_USERNAME, _PASSWORD = b"Username:", b"Password:"


def plain(initial: bytes | None) -> Talk:
    """The server's side of PLAIN: ``[authzid] UTF8NUL authcid UTF8NUL passwd`` (RFC 4616 §2)."""
    message = initial if initial is not None else (yield Challenge(b""))
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise SaslError("the message of PLAIN has not three parts")
    authorize_as, user = decoded(parts[0], "authorization identity"), name(parts[1], "name")
    password = name(parts[2], "password")
    return (yield from _judged(Password(user, password, prepare(authorize_as))))


def login(initial: bytes | None) -> Talk:
    """The server's side of LOGIN, which has no initial response; clients that send the name as one are understood."""
    user = name(initial if initial is not None else (yield Challenge(_USERNAME)), "name")
    password = name((yield Challenge(_PASSWORD)), "password")
    return (yield from _judged(Password(user, password)))


def external(initial: bytes | None) -> Talk:
    """The server's side of EXTERNAL: the client's certificate says who it is, the message whom it wants to act as."""
    wanted = decoded(initial if initial is not None else (yield Challenge(b"")), "authorization identity")
    answer = yield Certificate(prepare(wanted))
    return Success(answer.user) if isinstance(answer, Known) else Failure("the certificate stands for nobody", user=wanted)


def _judged(password: Password) -> Talk:
    answer = yield password
    return Success(answer.user) if isinstance(answer, Known) else Failure("wrong name or password", user=password.user)


class PlainClient:
    """The client's side of PLAIN.

    Args:
        user, password: in clear text; prepared here.
    """

    name = "PLAIN"
    __slots__ = ("_message",)

    def __init__(self, user: str, password: str) -> None:
        self._message = b"\0" + prepare(user).encode() + b"\0" + prepare(password).encode()

    def initial(self) -> bytes:
        """All that there is to say."""
        return self._message

    def respond(self, challenge: bytes) -> bytes:
        """There is nothing to be asked."""
        raise SaslError("PLAIN has no challenges")

    def finish(self) -> None:
        """The server proves nothing."""


class LoginClient:
    """The client's side of LOGIN, which answers the first challenge with the name and the second with the password, whatever they say."""

    name = "LOGIN"
    __slots__ = ("_answers",)

    def __init__(self, user: str, password: str) -> None:
        self._answers = [prepare(password).encode(), prepare(user).encode()]

    def initial(self) -> None:
        """The server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """The name, then the password."""
        if not self._answers:
            raise SaslError("LOGIN has two challenges, not three")
        return self._answers.pop()

    def finish(self) -> None:
        """The server proves nothing."""


class ExternalClient:
    """The client's side of EXTERNAL: the certificate says it all."""

    name = "EXTERNAL"
    __slots__ = ("_authorize_as",)

    def __init__(self, authorize_as: str = "") -> None:
        self._authorize_as = prepare(authorize_as).encode()

    def initial(self) -> bytes:
        """Whom to act as; empty for whom the certificate names."""
        return self._authorize_as

    def respond(self, challenge: bytes) -> bytes:
        """There is nothing to be asked."""
        raise SaslError("EXTERNAL has no challenges")

    def finish(self) -> None:
        """The server proves nothing."""
