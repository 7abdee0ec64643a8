"""The event of a login with a mechanism that ships: whoever keeps users is asked about one.

The mechanisms differ in what they ask; a store answers what it can, and says None to the rest, which is for the next one.
"""

from __future__ import annotations

from typing import Literal

from ..wire.sasl import base
from ..wire.tls import CertificateFacts
from . import verdict as v
from .event import Answered, SessionEvent
from .secret import Secret
from .verdict_login import Keys, PlainPassword
from .work import Facts

Kind = Literal["password", "keys", "secret", "token", "certificate"]
_KINDS: dict[type[base.Ask], Kind] = {
    base.Password: "password",
    base.Keys: "keys",
    base.Secret: "secret",
    base.Token: "token",
    base.Certificate: "certificate",
}


class Credentials(SessionEvent, Answered[v.Authenticated | Keys | PlainPassword | v.Reject | v.Defer | v.Disconnect]):
    """A client wants to log in with a mechanism that ships; ``kind`` says what is asked, and with it which answer is a yes.

    "password": is ``password`` that of ``user``? Authenticated. "keys": the SCRAM keys of ``user``? Keys, those of ``mechanism``.
    "secret": the password of ``user``, for CRAM-MD5? PlainPassword. "token": does ``token`` hold, and for ``user`` if it is not ""?
    Authenticated. "certificate": whom does ``certificate`` stand for? Authenticated. A store that does not know the user, or the kind,
    says None, and the next one is asked. ``mechanism`` is without "-PLUS"; ``authorize_as`` is whom the user wants to act as, "" for
    nobody else: only a handler that says Authenticated with that name allows it.
    """

    __slots__ = ("_secret", "authorize_as", "kind", "mechanism", "user")

    def __init__(self, facts: Facts, mechanism: str, asked: base.Ask) -> None:
        super().__init__(facts)
        self.mechanism = mechanism.removesuffix("-PLUS")
        self.kind: Kind = _KINDS[type(asked)]
        self.user: str = getattr(asked, "user", "")
        self.authorize_as: str = getattr(asked, "authorize_as", "")
        self._secret: str = getattr(asked, "password", "") or getattr(asked, "token", "")

    @property
    def password(self) -> Secret:
        """The password that was sent, "" where the kind is another; never shown by repr."""
        return Secret(self._secret if self.kind == "password" else "")

    @property
    def token(self) -> Secret:
        """The bearer token that was sent, "" where the kind is another; never shown by repr."""
        return Secret(self._secret if self.kind == "token" else "")

    @property
    def certificate(self) -> CertificateFacts | None:
        """The client's certificate, when it leads to an authority that we trust; None where the kind is another."""
        tls = self.session.tls if self.kind == "certificate" else None
        return tls.certificate if tls is not None and tls.verified else None
