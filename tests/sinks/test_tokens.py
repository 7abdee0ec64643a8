"""Bearer tokens: those that hold, and all the ways in which one may not (RFC 7519, RFC 8725)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ConfigError
from penstock.sinks.tokens import Tokens, TokensSettings
from penstock.testing import SinkTesters
from penstock.verdicts import Authenticated, Reject

jwt = pytest.importorskip("jwt")
from cryptography.hazmat.primitives import serialization  # noqa: E402 - only where there is PyJWT
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402 - as above

WRONG = Reject(535, "5.7.8", "Authentication credentials invalid")
ALICE = Authenticated("alice@example.com")
SECRET = "0123456789abcdef0123456789abcdef"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
ISSUER, AUDIENCE = "https://id.example.com", "mail"


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "nbf": now - 10, "email": "alice@example.com", "sub": "1234", **more}
    return {name: value for name, value in found.items() if value is not None}


def pem(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def jwk(key: Any, name: str = "", algorithm: str = "RS256", **more: str) -> dict[str, Any]:
    made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return made | ({"kid": name} if name else {}) | more


def signed(key: Any = RSA_KEY, algorithm: str = "RS256", headers: dict[str, str] | None = None, **more: Any) -> str:
    token: str = jwt.encode(claims(**more), key, algorithm, headers)
    return token


def forged(algorithm: str, key: bytes, **more: Any) -> str:
    """A token that a library would refuse to make."""
    parts = [json.dumps(part).encode() for part in ({"alg": algorithm, "typ": "JWT"}, claims(**more))]
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = hmac.digest(key, body, hashlib.sha256) if key else b""
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def with_key(folder: Path, key: Any = RSA_KEY, **more: Any) -> Tokens:
    path = folder / "key.pem"
    path.write_bytes(pem(key))
    return Tokens(TokensSettings(**{"issuer": ISSUER, "audience": [AUDIENCE], "key": path, **more}))


async def said(sink: Tokens, token: str, sink_tester: SinkTesters, user: str = "") -> Any:
    return await sink_tester(sink).credentials(user, kind="token", secret=token)


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (RSA_KEY, "PS256"), (EC_KEY, "ES256"), (ED_KEY, "EdDSA")])
async def test_a_token_that_holds_lets_in_whom_it_names(key: Any, algorithm: str, sink_tester: SinkTesters, tmp_path: Path) -> None:
    sink = with_key(tmp_path, key)
    assert await said(sink, signed(key, algorithm), sink_tester) == ALICE
    assert await said(sink, signed(key, algorithm), sink_tester, "Alice@example.com") == ALICE
    assert await said(sink, signed(key, algorithm), sink_tester, "bob@example.com") == WRONG
    assert await sink_tester(sink).credentials("alice@example.com", secret=signed(key, algorithm)) is None


async def test_a_shared_secret(sink_tester: SinkTesters) -> None:
    sink = Tokens(TokensSettings(audience=[AUDIENCE], secret=SECRET))
    assert await said(sink, signed(SECRET, "HS256"), sink_tester) == ALICE
    assert await said(sink, signed("x" * 32, "HS256"), sink_tester) == WRONG


@pytest.mark.parametrize(
    "more",
    [
        {"exp": 1}, {"exp": None}, {"exp": "never"}, {"nbf": 2**40}, {"aud": "other"}, {"aud": None},
        {"iss": "https://evil.example"}, {"iss": None},
        {"email": None}, {"email": 5}, {"email": ""}, {"email": "a\nb"}, {"email": "x" * 300}, {"email": ["alice@example.com"]},
    ],
    ids=str,
)  # fmt: skip
async def test_a_token_with_wrong_claims_is_refused(more: dict[str, Any], sink_tester: SinkTesters, tmp_path: Path) -> None:
    assert await said(with_key(tmp_path), signed(**more), sink_tester) == WRONG


async def test_further_claims_that_are_required(sink_tester: SinkTesters, tmp_path: Path) -> None:
    sink = with_key(tmp_path, required={"scope": "smtp"})
    assert await said(sink, signed(scope="smtp"), sink_tester) == ALICE
    assert await said(sink, signed(), sink_tester) == WRONG


async def test_no_signature_is_none_and_a_public_key_is_no_secret(sink_tester: SinkTesters, tmp_path: Path) -> None:
    """RFC 8725 §2.1: "none", and HS256 with the octets of the public key, which everybody has."""
    sink = with_key(tmp_path)
    for token in (
        forged("none", b""),
        forged("None", b""),
        forged("HS256", pem(RSA_KEY)),
        forged("HS256", pem(RSA_KEY).strip()),
        forged("RS256", b""),
        forged("RS256", pem(RSA_KEY)),
        signed()[:-4] + "AAAA",
        signed(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        signed(EC_KEY, "ES256"),
        "opaque-token",
        "a.b.c",
        "." * 8000,
        "x" * 9000,
    ):
        assert await said(sink, token, sink_tester) in (WRONG, None), token[:40]


async def test_a_set_of_keys_is_read_again_when_it_changes(sink_tester: SinkTesters, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode()}
    path.write_text(json.dumps({"keys": [jwk(RSA_KEY, "one"), jwk(EC_KEY, "two", "ES256", use="enc"), secret]}))
    sink = Tokens(TokensSettings(issuer=ISSUER, audience=[AUDIENCE], jwks=path))
    assert await said(sink, signed(headers={"kid": "one"}), sink_tester) == ALICE
    assert await said(sink, signed(), sink_tester) == ALICE
    assert await said(sink, signed(headers={"kid": "other"}), sink_tester) is None
    # A shared secret in the set is passed over, and so is a key for encryption.
    assert await said(sink, signed(SECRET, "HS256"), sink_tester) is None
    assert await said(sink, signed(EC_KEY, "ES256", {"kid": "two"}), sink_tester) is None
    path.write_text("{")
    sink.refresh()
    assert await said(sink, signed(headers={"kid": "one"}), sink_tester) == ALICE
    path.write_text(json.dumps({"keys": [jwk(ED_KEY, "three", "EdDSA")]}))
    sink.refresh()
    assert await said(sink, signed(headers={"kid": "one"}), sink_tester) is None
    assert await said(sink, signed(ED_KEY, "EdDSA", {"kid": "three"}), sink_tester) == ALICE


def test_settings_that_would_let_anybody_in_are_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(pem(RSA_KEY))
    for wrong in (
        {"audience": [], "secret": SECRET},
        {"audience": [""], "secret": SECRET},
        {"audience": ["mail"]},
        {"audience": ["mail"], "secret": "short"},
        {"audience": ["mail"], "secret": SECRET, "algorithms": ["none"]},
        {"audience": ["mail"], "secret": SECRET, "key": tmp_path / "key"},
        {"audience": ["mail"], "key": tmp_path / "key", "algorithms": ["HS256"]},
        {"audience": ["mail"], "key": tmp_path / "nothing"},
    ):
        with pytest.raises((ValueError, ConfigError)):
            Tokens(TokensSettings(**wrong))
