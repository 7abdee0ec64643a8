"""SCRAM (RFC 5802, RFC 7677), the server's side, and what both sides compute.

The server keeps keys from which the password cannot be had, and proves that it has them. A user who does not exist gets a salt of his own
all the same, always the same one, and fails at the end as a wrong password does: a stranger learns nothing of who there is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable

from ...errors import SaslError
from .base import Challenge, ChannelBindings, Failure, Keys, ScramKeys, Success, Talk
from .prepare import MOST, decoded, prepare
from .saslname import unescaped

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
# RFC 7677 §4: "the hash iteration-count SHOULD be at least 15000" is for servers; below 4096 a client should not go (RFC 5802 §5.1).
ITERATIONS = 15_000
# printable = %x21-2B / %x2D-7E, all but the comma (RFC 5802 §7); nobody needs longer ones.
NONCE = re.compile(r"[!-+\--~]{1,256}")
# RFC 5801 §4: cb-name = 1*(ALPHA / DIGIT / "." / "-").
_FLAG = re.compile(r"n|y|p=([A-Za-z0-9.-]{1,64})")
MOST_MESSAGE = 4 * MOST
PLUS = "-PLUS"


def fresh_nonce() -> str:
    """A nonce of 18 random octets."""
    return secrets.token_urlsafe(18)


def keys_of(user: str, password: str, mechanism: str, salt: bytes, iterations: int) -> ScramKeys:
    """What a server keeps of a password (RFC 5802 §3).

    Args:
        user: the user's name.
        password: in clear.
        mechanism: "SCRAM-SHA-1" or "SCRAM-SHA-256".
        salt: random octets, 16 or so.
        iterations: how often is hashed; takes that long, here and in each client.

    Raises: SaslError for a password that cannot be one.
    """
    name = HASHES[mechanism]
    salted = hashlib.pbkdf2_hmac(name, prepare(password, stored=True).encode(), salt, iterations)
    stored = hashlib.new(name, keyed(name, salted, b"Client Key")).digest()
    return ScramKeys(user, salt, iterations, stored, keyed(name, salted, b"Server Key"))


def keyed(name: str, key: bytes, text: bytes) -> bytes:
    """HMAC(key, text)."""
    return hmac.digest(key, text, name)


def xor(one: bytes, other: bytes) -> bytes:
    """The exclusive or of two strings of one length."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def attributes(text: str, *letters: str) -> list[str]:
    """The values of the attributes that a message begins with, in this order; further ones are extensions, which are passed over.

    Raises: SaslError when one is missing, or for the mandatory extension ``m=``, which nobody has defined (RFC 5802 §5.1).
    """
    parts = text.split(",")
    if len(parts) > 32 or any(part.startswith("m=") for part in parts):
        raise SaslError("an extension is demanded that there is not")
    if len(parts) < len(letters) or any(not part.startswith(f"{letter}=") for part, letter in zip(parts, letters, strict=False)):
        raise SaslError("a message lacks an attribute, or has another in its place")
    return [part[2:] for part in parts[: len(letters)]]


def unbase64(text: str) -> bytes:
    """Octets from an attribute. Raises SaslError."""
    try:
        return a2b_base64(text.encode(), strict_mode=True)
    except (Error, UnicodeEncodeError):
        raise SaslError("an attribute is not base64") from None


def base64(octets: bytes) -> str:
    """Octets as they stand in an attribute."""
    return b2a_base64(octets, newline=False).decode()


class ScramServer:
    """What a server knows before a client comes.

    Args:
        mechanism: with "-PLUS" or without.
        bindings: of the TLS connection; empty without one.
        plus_offered: the "-PLUS" variant is offered on this connection.
        pepper: keeps made-up salts the same between workers and restarts; nobody else may know it.
        nonce: makes the server's part of the nonce.
    """

    __slots__ = ("_bindings", "_hash", "_mechanism", "_nonce", "_pepper", "_plus", "_plus_offered")

    def __init__(
        self, mechanism: str, bindings: ChannelBindings, plus_offered: bool, pepper: bytes = b"", nonce: Callable[[], str] = fresh_nonce
    ) -> None:
        self._mechanism = mechanism.removesuffix(PLUS)
        self._plus = mechanism.endswith(PLUS)
        self._hash = HASHES[self._mechanism]
        self._bindings = bindings.data
        self._plus_offered = plus_offered
        self._pepper = pepper
        self._nonce = nonce

    def talk(self, initial: bytes | None) -> Talk:
        """The exchange (RFC 5802 §5)."""
        first = _text(initial if initial is not None else (yield Challenge(b"")))
        header, authorize_as, bare = _split_first(first)
        binding = self._binding(header)
        user_text, theirs = attributes(bare, "n", "r")
        user = prepare(unescaped(user_text))
        if not user or not NONCE.fullmatch(theirs):
            raise SaslError("the first message has no name, or no nonce")
        answer = yield Keys(user, self._mechanism, authorize_as)
        keys = answer if isinstance(answer, ScramKeys) else self._made_up(user)
        nonce = theirs + self._nonce()
        server_first = f"r={nonce},s={base64(keys.salt)},i={keys.iterations}"
        final = _text((yield Challenge(server_first.encode())))
        proof = self._read_final(final, header.encode() + binding, nonce)
        signed = f"{bare},{server_first},{final.rpartition(',p=')[0]}".encode()
        if not self._proven(keys, signed, proof) or not isinstance(answer, ScramKeys):
            return Failure("wrong name or password", user=user)
        yield Challenge(b"v=" + base64(keyed(self._hash, keys.server_key, signed)).encode())
        return Success(keys.user)

    def _binding(self, header: str) -> bytes:
        """The channel binding data that the client must have seen too (RFC 5802 §6)."""
        flag = header.partition(",")[0]
        if flag.startswith("p="):
            if not self._plus:
                raise SaslError("channel binding is used without -PLUS")
            data = self._bindings.get(flag[2:])
            if data is None:
                raise SaslError("channel binding of a type that there is not")
            return data
        if self._plus:
            raise SaslError("-PLUS is used without channel binding")
        # "y": the client would bind, and believes that we cannot. If we said that we can, somebody between us has left it out.
        if flag == "y" and self._plus_offered:
            raise SaslError("the offer of channel binding did not arrive: somebody is between us")
        return b""

    def _read_final(self, final: str, channel: bytes, nonce: str) -> bytes:
        """The client's proof. Raises SaslError when channel or nonce are not those of this exchange."""
        without, found, proof = final.rpartition(",p=")
        if not found:
            raise SaslError("the last message has no proof")
        bound, repeated = attributes(without, "c", "r")
        if not hmac.compare_digest(unbase64(bound), channel):
            raise SaslError("the channel is another one")
        if not hmac.compare_digest(repeated.encode(), nonce.encode()):
            raise SaslError("the nonce is another one")
        octets = unbase64(proof)
        if len(octets) != hashlib.new(self._hash).digest_size:
            raise SaslError("the proof has another length")
        return octets

    def _proven(self, keys: ScramKeys, signed: bytes, proof: bytes) -> bool:
        if len(keys.stored_key) != len(proof):
            return False
        client_key = xor(proof, keyed(self._hash, keys.stored_key, signed))
        return hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), keys.stored_key)

    def _made_up(self, user: str) -> ScramKeys:
        """Keys of a user who does not exist: nobody has a password for them."""
        salt = hmac.digest(self._pepper, f"salt {self._mechanism} {user}".encode(), "sha256")[:16]
        random = secrets.token_bytes(hashlib.new(self._hash).digest_size)
        return ScramKeys(user, salt, ITERATIONS, random, random)


def _text(message: bytes) -> str:
    if len(message) > MOST_MESSAGE:
        raise SaslError("a message is too long")
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise SaslError("a message is not UTF-8") from None


def _split_first(first: str) -> tuple[str, str, str]:
    """The GS2 header with its commas, whom the client wants to act as, and the rest (RFC 5802 §7)."""
    parts = first.split(",", 2)
    if len(parts) != 3 or not _FLAG.fullmatch(parts[0]) or (parts[1] and not parts[1].startswith("a=")):
        raise SaslError("the GS2 header cannot be read")
    authorize_as = prepare(unescaped(decoded(parts[1][2:].encode(), "authorization identity")))
    return f"{parts[0]},{parts[1]},", authorize_as, parts[2]
