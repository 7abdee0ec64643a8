"""SCRAM (RFC 5802, RFC 7677), the client's side: never sends the password, and lets nobody be the server who does not know the user."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from ...errors import SaslError
from .base import ChannelBindings
from .prepare import prepare
from .saslname import escaped
from .scram import HASHES, MOST_MESSAGE, NONCE, PLUS, attributes, base64, fresh_nonce, keyed, unbase64, xor

# RFC 5802 §5.1: "at least 4096"; and a server must not be able to keep us busy.
FEWEST, MOST_ITERATIONS = 4096, 600_000
_PREFERRED = ("tls-exporter", "tls-server-end-point", "tls-unique")


class ScramClient:
    """One exchange.

    Args:
        mechanism: with "-PLUS" or without.
        user, password: in clear.
        bindings: of the TLS connection; empty without one.
        nonce: makes our part of the nonce.
    """

    __slots__ = ("_bare", "_bindings", "_hash", "_header", "_nonce", "_password", "_signature", "_step", "name")

    def __init__(self, mechanism: str, user: str, password: str, bindings: ChannelBindings, nonce: Callable[[], str] = fresh_nonce) -> None:
        self.name = mechanism
        self._hash = HASHES[mechanism.removesuffix(PLUS)]
        self._password = prepare(password).encode()
        self._bindings = bindings.data
        self._nonce = nonce()
        self._header = self._gs2()
        self._bare = f"n={escaped(prepare(user))},r={self._nonce}"
        self._signature = b""
        self._step = 0

    def initial(self) -> bytes:
        """The first message."""
        return (self._header + self._bare).encode()

    def respond(self, challenge: bytes) -> bytes:
        """The last message; then nothing, to the server's proof."""
        if len(challenge) > MOST_MESSAGE:
            raise SaslError("the server's message is too long")
        try:
            text = challenge.decode()
        except UnicodeDecodeError:
            raise SaslError("the server's message is not UTF-8") from None
        self._step += 1
        if self._step == 1:
            return self._prove(text)
        if self._step == 2:
            self._check(text)
            return b""
        raise SaslError("the server asks on")

    def finish(self) -> None:
        """Raises SaslError when the server has not proven that it knows the user (RFC 5802 §5)."""
        if self._step != 2:
            raise SaslError("the server says that we are in, and has not proven who it is")

    def _gs2(self) -> str:
        if self.name.endswith(PLUS):
            kind = next((name for name in _PREFERRED if name in self._bindings), "")
            if not kind:
                raise SaslError("there is no channel to bind to")
            return f"p={kind},,"
        # With a channel at hand, "-PLUS" was not used because the server did not offer it: "y" lets it notice when it did.
        return "y,," if self._bindings else "n,,"

    def _channel(self) -> bytes:
        kind = self._header.partition(",")[0].removeprefix("p=")
        return self._header.encode() + self._bindings.get(kind, b"")

    def _prove(self, server_first: str) -> bytes:
        nonce, salt, count = attributes(server_first, "r", "s", "i")
        if not nonce.startswith(self._nonce) or nonce == self._nonce or not NONCE.fullmatch(nonce):
            raise SaslError("the server's nonce does not go on from ours")
        if not count.isascii() or not count.isdecimal() or len(count) > 9 or not FEWEST <= int(count) <= MOST_ITERATIONS:
            raise SaslError("the server wants too few iterations, or too many")
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, unbase64(salt), int(count))
        client_key = keyed(self._hash, salted, b"Client Key")
        without = f"c={base64(self._channel())},r={nonce}"
        signed = f"{self._bare},{server_first},{without}".encode()
        proof = xor(client_key, keyed(self._hash, hashlib.new(self._hash, client_key).digest(), signed))
        self._signature = keyed(self._hash, keyed(self._hash, salted, b"Server Key"), signed)
        return f"{without},p={base64(proof)}".encode()

    def _check(self, server_final: str) -> None:
        if server_final.startswith("e="):
            raise SaslError("the server refuses the exchange")
        (signature,) = attributes(server_final, "v")
        if not hmac.compare_digest(unbase64(signature), self._signature):
            raise SaslError("the server does not know the user: it is not whom it claims to be")
