"""Bearer tokens that are JWTs (RFC 7519): for OAUTHBEARER and XOAUTH2, checked against the issuer's keys without asking anybody.

A token says itself how it is signed, and that is not believed: each key has the algorithms that it is for, and a token that names another
one is refused. So a public key is never taken for a shared secret, and "none" is nobody's algorithm (RFC 8725 §3.1, §3.2).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from penstock import Sink, on
from penstock.errors import ConfigError
from penstock.events import Credentials
from penstock.verdicts import Authenticated, Reject

from .credentials import WRONG
from .secret import FileSecret, read_secret
from .watched import Watch, WatchedFile, read_text

# By the kind of key; of each kind those that nobody should have to switch on.
_OF_KEY = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
    "oct": ("HS256", "HS384", "HS512"),
}
_LARGEST, _LONGEST = 1024 * 1024, 8192
# RFC 7518 §3.2: "A key of the same size as the hash output ... or larger MUST be used".
_LEAST_SECRET = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensSettings:
    """Whose tokens are taken, and what they say.

    Args:
        issuer: the claim ``iss`` that a token must have; "" for any, which only one key and no other service may stand for.
        audience: one of these must be in the claim ``aud``.
        jwks: a file with the issuer's keys as a JSON Web Key Set (RFC 7517), read again when it changes.
        key: a file with the issuer's public key, in PEM.
        secret: a secret that is shared with the issuer, for HS256: text, ``"${env:NAME}"``, or ``{ file = "PATH" }``.
        algorithms: those that are taken, of those that fit the kind of the key; empty for all that fit.
        user: the claim with the user's name.
        required: further claims that must be there, with these values.
        leeway: seconds by which clocks may differ.
        interval: seconds between two looks whether the file of keys changed.
    """

    audience: list[str]
    issuer: str = ""
    jwks: Path | None = None
    key: Path | None = None
    secret: str | FileSecret = field(default="", repr=False)
    algorithms: list[str] = field(default_factory=list)
    user: str = "email"
    required: dict[str, str] = field(default_factory=dict)
    leeway: float = 60.0
    interval: float = 5.0


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and what it is for.

    Args:
        name: the key id, "" for none.
        algorithms: that it may be used with.
        key: as the library has it.
    """

    name: str
    algorithms: tuple[str, ...]
    key: Any = field(repr=False)


class Tokens(Sink[TokensSettings]):
    """Lets in whom a token names.

    Raises: ConfigError when PyJWT is not installed, or there is no key; ValueError for settings that let anybody in.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token"})
    settings: TokensSettings

    def __init__(self, settings: TokensSettings) -> None:
        super().__init__(settings)
        try:
            self._jwt: Any = importlib.import_module("jwt")
            importlib.import_module("cryptography")
        except ImportError:
            raise ConfigError("Tokens", "PyJWT is not installed", "pip install 'penstock[auth]'") from None
        known = {name for names in _OF_KEY.values() for name in names}
        if wrong := set(settings.algorithms) - known:
            raise ValueError(f"algorithms: {min(wrong)!r} is none of {', '.join(sorted(known))}")
        if not settings.audience or not all(settings.audience):
            raise ValueError("audience: without one, tokens for any other service would let in here")
        if sum(bool(one) for one in (settings.jwks, settings.key, settings.secret)) != 1:
            raise ValueError("write one of jwks, key and secret")
        self._fixed: tuple[Key, ...] = ()
        self._file: WatchedFile[tuple[Key, ...]] | None = None
        self._watch = Watch(self.refresh, settings.interval)
        self._read_keys()

    async def start(self) -> None:
        """Begins to look after the file of keys."""
        if self._file is not None:
            self._watch.start()

    async def stop(self) -> None:
        """Ends that."""
        await self._watch.stop()

    def refresh(self) -> None:
        """Reads the file again if it changed; waits for the disk."""
        if self._file is not None and self._file.refresh() and self._file.error:
            self.log.error("keys of tokens cannot be used", error=self._file.error)

    @on(Credentials)
    def check(self, event: Credentials) -> Authenticated | Reject | None:
        """Checks a token. One that is not of this issuer may be another sink's; one that is, and does not hold, is refused."""
        if event.kind != "token" or len(event.token) > _LONGEST:
            return None
        try:
            claims = self._claims(str(event.token))
        except _NotOurs:
            return None
        except (self._jwt.exceptions.PyJWTError, ValueError, TypeError) as error:
            # The kind alone: the words may have claims in them.
            self.log.info("token refused", reason=type(error).__name__)
            return WRONG
        user = claims.get(self.settings.user)
        if not isinstance(user, str) or any(claims.get(name) != value for name, value in self.settings.required.items()):
            self.log.info("token refused", reason="claims are missing")
            return WRONG
        if event.user and event.user.casefold() != user.casefold():
            # RFC 7628 §3.1: whom the client wants to act as; it may only be whom the token is for.
            self.log.info("token refused", reason="it is for another user")
            return WRONG
        try:
            return Authenticated(user)
        except ValueError:
            return WRONG

    def _claims(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that holds. Raises _NotOurs, PyJWTError."""
        try:
            header = self._jwt.get_unverified_header(token)
        except self._jwt.exceptions.DecodeError:
            raise _NotOurs from None
        algorithm, name = header.get("alg"), header.get("kid")
        fitting = [key for key in self._keys() if algorithm in key.algorithms and (not key.name or name is None or key.name == name)]
        if not fitting:
            raise _NotOurs
        for number, key in enumerate(fitting, 1):
            try:
                return self._decoded(token, key, str(algorithm))
            except self._jwt.exceptions.InvalidSignatureError:
                if number == len(fitting):
                    raise
        raise _NotOurs

    def _decoded(self, token: str, key: Key, algorithm: str) -> Mapping[str, Any]:
        settings = self.settings
        wanted = ["exp", "aud", *(["iss"] if settings.issuer else [])]
        claims: Mapping[str, Any] = self._jwt.decode(
            token,
            key.key,
            # This one, which is one of the key's: never what the token says alone.
            algorithms=[algorithm],
            audience=settings.audience,
            issuer=settings.issuer or None,
            leeway=settings.leeway,
            options={"require": wanted, "verify_iss": bool(settings.issuer)},
        )
        return claims

    def _keys(self) -> Sequence[Key]:
        return self._fixed if self._file is None else self._file.value or ()

    def _read_keys(self) -> None:
        settings = self.settings
        if settings.secret:
            secret = read_secret("Tokens: secret", settings.secret).encode()
            if len(secret) < _LEAST_SECRET:
                raise ValueError(f"secret: it has {len(secret)} octets, and {_LEAST_SECRET} are the least (RFC 7518 §3.2)")
            self._fixed = (Key("", self._allowed("oct"), secret),)
            return
        path = settings.jwks or settings.key
        assert path is not None
        self._file = WatchedFile(path, self._jwks_of if settings.jwks else self._pem_of)
        self._file.refresh()
        if self._file.value is None:
            raise ConfigError(str(path), self._file.error.removeprefix(f"{path}: "))

    def _allowed(self, kind: str, named: str = "") -> tuple[str, ...]:
        """The algorithms that a kind of key may be used with; that which the key itself names, if it does."""
        fitting = [name for name in _OF_KEY.get(kind, ()) if not self.settings.algorithms or name in self.settings.algorithms]
        return tuple(name for name in fitting if not named or name == named)

    def _jwks_of(self, path: Path) -> tuple[Key, ...]:
        """The keys of a set. Raises ConfigError."""
        try:
            listed = json.loads(read_text(path, _LARGEST))["keys"]
            found = [self._jwk(one) for one in listed]
        except (ValueError, TypeError, KeyError, AttributeError, self._jwt.exceptions.PyJWTError) as error:
            raise ConfigError(str(path), f"this is no JSON Web Key Set: {type(error).__name__}") from None
        keys = tuple(key for key in found if key is not None and key.algorithms)
        if not keys:
            raise ConfigError(str(path), "there is no key for the algorithms that are taken")
        return keys

    def _jwk(self, one: Mapping[str, Any]) -> Key | None:
        """A key of a set; None for what is no public key to verify with. A shared secret has no place in such a file."""
        kind = str(one.get("kty", ""))
        if kind == "oct" or one.get("use", "sig") != "sig":
            return None
        algorithms = self._allowed(kind, str(one.get("alg", "")))
        return Key(str(one.get("kid", "")), algorithms, self._jwt.PyJWK(dict(one), algorithm=algorithms[0]).key) if algorithms else None

    def _pem_of(self, path: Path) -> tuple[Key, ...]:
        """The key of a file. Raises ConfigError."""
        serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
        try:
            key = serialization.load_pem_public_key(read_text(path, _LARGEST).encode())
        except (ValueError, TypeError) as error:
            raise ConfigError(str(path), f"this is no public key in PEM: {type(error).__name__}") from None
        kind = next((kind for name, kind in (("RSA", "RSA"), ("EC", "EC"), ("Elliptic", "EC"), ("Ed", "OKP")) if _is(key, name)), "")
        algorithms = self._allowed(kind)
        if not algorithms:
            raise ConfigError(str(path), "the key does not fit the algorithms that are taken")
        return (Key("", algorithms, key),)


class _NotOurs(Exception):
    """A token that no key of ours could have signed."""


def _is(key: object, name: str) -> bool:
    return type(key).__name__.lstrip("_").startswith(name)
