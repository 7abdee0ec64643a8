"""The mechanisms that carry a bearer token: OAUTHBEARER (RFC 7628) and its forerunner XOAUTH2, which Google and Microsoft ask for.

Whether a token holds is not known here: that is asked (``Token``). A refusal is a challenge of JSON, which the client answers with next to
nothing before it is refused for good (RFC 7628 §3.2.3).
"""

from __future__ import annotations

import re

from ...errors import SaslError
from .base import Challenge, Failure, Known, Success, Talk, Token
from .prepare import decoded, prepare
from .saslname import escaped, unescaped

# RFC 6750 §2.1: b64token, of which some run to several thousand characters.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")
_MOST = 12288
_END = b"\x01\x01"
_REFUSED = b'{"status":"invalid_token","schemes":"bearer"}'
_XREFUSED = b'{"status":"401","schemes":"bearer"}'


def xoauth2(initial: bytes | None) -> Talk:
    """The server's side of XOAUTH2: ``user=... ^A auth=Bearer ... ^A ^A``."""
    fields = _fields(initial if initial is not None else (yield Challenge(b"")))
    user = prepare(fields.get("user", ""))
    answer = yield Token(_token(fields), user)
    if isinstance(answer, Known):
        return Success(answer.user)
    yield Challenge(_XREFUSED)
    return Failure("the token does not hold", user=user)


def oauthbearer(initial: bytes | None) -> Talk:
    """The server's side of OAUTHBEARER: a GS2 header, then ``^A key=value ^A ... ^A`` (RFC 7628 §3.1)."""
    message = initial if initial is not None else (yield Challenge(b""))
    header, ctrl_a, rest = message.partition(b"\x01")
    if not ctrl_a:
        raise SaslError("the message of OAUTHBEARER has no key/value pairs")
    user = _gs2(header)
    answer = yield Token(_token(_fields(rest if rest != b"\x01" else b"")), user)
    if isinstance(answer, Known):
        return Success(answer.user)
    yield Challenge(_REFUSED)
    return Failure("the token does not hold", user=user)


def _gs2(header: bytes) -> str:
    """Whom the client wants to act as: gs2-header = ("n" / "y") "," ["a=" saslname] "," (RFC 5801 §4); there is no channel binding here."""
    parts = decoded(header, "GS2 header").split(",")
    if len(parts) != 3 or parts[0] not in ("n", "y") or parts[2] or (parts[1] and not parts[1].startswith("a=")):
        raise SaslError("the GS2 header cannot be read")
    return prepare(unescaped(parts[1][2:]))


def _fields(message: bytes) -> dict[str, str]:
    """``key=value ^A`` as often as need be, and ``^A`` at the end."""
    if len(message) > _MOST or not message.endswith(_END):
        raise SaslError("the key/value pairs have no end")
    try:
        pairs = message[: -len(_END)].decode().split("\x01")
    except UnicodeDecodeError:
        raise SaslError("the key/value pairs are not UTF-8") from None
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isascii() or not key.isalpha() or key.lower() in found or "\0" in value:
            raise SaslError("a key/value pair cannot be read")
        found[key.lower()] = value
    return found


def _token(fields: dict[str, str]) -> str:
    scheme, _, token = fields.get("auth", "").partition(" ")
    # RFC 6750 §2.1 with RFC 7235 §2.1: the name of the scheme is case-insensitive.
    if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token.strip(" ")):
        raise SaslError("there is no bearer token")
    return token.strip(" ")


class XOAuth2Client:
    """The client's side of XOAUTH2.

    Args:
        user: whose mailbox it is.
        token: that stands for it.
    """

    name = "XOAUTH2"
    __slots__ = ("_message",)

    def __init__(self, user: str, token: str) -> None:
        self._message = b"user=" + _clean(user) + b"\x01auth=Bearer " + _clean(token) + _END

    def initial(self) -> bytes:
        """All that there is to say."""
        return self._message

    def respond(self, challenge: bytes) -> bytes:
        """Acknowledges that the token was refused, so that the server can say so for good."""
        return b""

    def finish(self) -> None:
        """The server proves nothing."""


class OAuthBearerClient:
    """The client's side of OAUTHBEARER.

    Args:
        user: whom to act as, "" for whom the token names.
        token: the bearer token.
        host, port: that we speak to, "" and 0 to leave them out (RFC 7628 §3.1).
    """

    name = "OAUTHBEARER"
    __slots__ = ("_message",)

    def __init__(self, user: str, token: str, host: str = "", port: int = 0) -> None:
        header = b"n," + (b"a=" + escaped(prepare(user)).encode() if user else b"") + b",\x01"
        place = (b"host=" + _clean(host) + b"\x01" if host else b"") + (b"port=%d\x01" % port if port else b"")
        self._message = header + place + b"auth=Bearer " + _clean(token) + _END

    def initial(self) -> bytes:
        """All that there is to say."""
        return self._message

    def respond(self, challenge: bytes) -> bytes:
        """RFC 7628 §3.2.3: "the client MUST then send either an additional client response consisting of a single %x01"."""
        return b"\x01"

    def finish(self) -> None:
        """The server proves nothing."""


def _clean(text: str) -> bytes:
    if "\x01" in text or "\0" in text:
        raise SaslError("a name or token has control characters")
    return text.encode()
