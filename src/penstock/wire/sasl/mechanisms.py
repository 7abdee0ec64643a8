"""All mechanisms by name, and which of them is the best."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ...errors import SaslError
from .base import UNBOUND, ChannelBindings, ClientMechanism, ServerExchange, ServerMechanism
from .bearer import OAuthBearerClient, XOAuth2Client, oauthbearer, xoauth2
from .cram import CramClient, cram_md5
from .scram import PLUS, ScramServer
from .scram_client import ScramClient
from .simple import ExternalClient, LoginClient, PlainClient, external, login, plain

# In order of preference; those that have a password prove it first without sending it.
NAMES = (
    "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "PLAIN", "LOGIN",
    "CRAM-MD5",
)  # fmt: skip
# What is offered unless somebody says otherwise: all but CRAM-MD5, which needs passwords in clear.
DEFAULT = NAMES[:-1]
_SIMPLE = {"PLAIN": plain, "LOGIN": login, "EXTERNAL": external, "XOAUTH2": xoauth2, "OAUTHBEARER": oauthbearer}


@dataclass(frozen=True, slots=True)
class ServerSide:
    """What a server's machines are told of the connection.

    Args:
        hostname: ours.
        bindings: of the TLS connection.
        offered: the mechanisms that EHLO named, in upper case.
        pepper: keeps made-up salts the same; a secret of the server.
    """

    hostname: str
    bindings: ChannelBindings = UNBOUND
    offered: Collection[str] = ()
    pepper: bytes = field(default=b"", repr=False)


def server(name: str, side: ServerSide) -> ServerMechanism:
    """The server's side of a mechanism. Raises SaslError for one that there is not."""
    if name in _SIMPLE:
        return ServerExchange(_SIMPLE[name])
    if name == "CRAM-MD5":
        return ServerExchange(lambda _: cram_md5(side.hostname))
    if name in NAMES:
        plus_offered = name.removesuffix(PLUS) + PLUS in side.offered
        return ServerExchange(ScramServer(name, side.bindings, plus_offered, side.pepper).talk)
    raise SaslError(f"there is no mechanism {name}")


@dataclass(frozen=True, slots=True)
class Login:
    """What a client logs in with; "" for what it does not have.

    Args:
        user: the name.
        password: for it.
        token: a bearer token.
        certificate: one was shown in the TLS handshake, and may speak for us.
        host, port: that we speak to.
        bindings: of the TLS connection.
    """

    user: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    certificate: bool = False
    host: str = ""
    port: int = 0
    bindings: ChannelBindings = UNBOUND

    def serves(self, name: str) -> bool:
        """Whether it has what a mechanism needs."""
        if name in ("OAUTHBEARER", "XOAUTH2"):
            return bool(self.token)
        if name == "EXTERNAL":
            return self.certificate
        return bool(self.password) and (not name.endswith(PLUS) or bool(self.bindings.data))


_CLIENTS: dict[str, Callable[[Login], ClientMechanism]] = {
    "PLAIN": lambda have: PlainClient(have.user, have.password),
    "LOGIN": lambda have: LoginClient(have.user, have.password),
    "CRAM-MD5": lambda have: CramClient(have.user, have.password),
    "EXTERNAL": lambda have: ExternalClient(have.user),
    "XOAUTH2": lambda have: XOAuth2Client(have.user, have.token),
    "OAUTHBEARER": lambda have: OAuthBearerClient(have.user, have.token, have.host, have.port),
}


def choose(offered: Collection[str], have: Login, allowed: Collection[str] = NAMES) -> str:
    """The best mechanism that both sides can; "" for none.

    Args:
        offered: by the server, in upper case.
        have: what we log in with.
        allowed: those that may be used.
    """
    return next((name for name in NAMES if name in offered and name in allowed and have.serves(name)), "")


def client(name: str, have: Login) -> ClientMechanism:
    """The client's side of a mechanism. Raises SaslError for one that there is not, and for names that cannot be said."""
    if name not in NAMES:
        raise SaslError(f"there is no mechanism {name}")
    make = _CLIENTS.get(name)
    return make(have) if make is not None else ScramClient(name, have.user, have.password, have.bindings)
