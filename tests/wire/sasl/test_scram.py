"""SCRAM against the vectors of its RFCs, and against those who would be in the middle."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import SaslError
from penstock.wire.sasl.base import UNBOUND, Challenge, ChannelBindings, Failure, Keys, ScramKeys, ServerExchange, Success
from penstock.wire.sasl.scram import ScramServer, keys_of
from penstock.wire.sasl.scram_client import ScramClient

VECTORS = Path(__file__).parents[2] / "vectors" / "scramp" / "exchanges.json"
EXCHANGES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["exchanges"]
CHANNEL = ChannelBindings({"tls-server-end-point": b"certificate"})


def bindings(pair: list[str] | None) -> ChannelBindings:
    return ChannelBindings({pair[0]: pair[1].encode()}) if pair else UNBOUND


def keys(vector: dict[str, Any]) -> ScramKeys:
    mechanism = vector["mechanism"].removesuffix("-PLUS")
    return keys_of(vector["username"], vector["password"], mechanism, base64.b64decode(vector["salt"]), vector["iterations"])


@pytest.mark.parametrize("vector", EXCHANGES, ids=lambda v: v["cfirst"])
def test_the_client_says_what_the_vector_says(vector: dict[str, Any]) -> None:
    """RFC 5802 §5 and RFC 7677 §3 are among them."""
    client = ScramClient(
        vector["mechanism"], vector["username"], vector["password"], bindings(vector["binding"]), lambda: vector["c_nonce"]
    )
    assert client.initial().decode() == vector["cfirst"]
    assert client.respond(vector["sfirst"].encode()).decode() == vector["cfinal"]
    assert client.respond(vector["sfinal"].encode()) == b""
    client.finish()


@pytest.mark.parametrize("vector", EXCHANGES, ids=lambda v: v["cfirst"])
def test_the_server_says_what_the_vector_says(vector: dict[str, Any]) -> None:
    side = ScramServer(vector["mechanism"], bindings(vector["server_binding"]), False, nonce=lambda: vector["s_nonce"])
    machine = ServerExchange(side.talk)
    assert machine.start(vector["cfirst"].encode()) == Keys(vector["username"], vector["mechanism"].removesuffix("-PLUS"))
    assert machine.answer(keys(vector)) == Challenge(vector["sfirst"].encode())
    assert machine.respond(vector["cfinal"].encode()) == Challenge(vector["sfinal"].encode())
    assert machine.respond(b"") == Success(vector["username"])


@pytest.mark.parametrize("vector", EXCHANGES, ids=lambda v: v["cfirst"])
def test_what_the_server_keeps_is_what_the_vector_says(vector: dict[str, Any]) -> None:
    if "stored_key" in vector:
        made = keys(vector)
        assert base64.b64encode(made.stored_key).decode() == vector["stored_key"]
        assert base64.b64encode(made.server_key).decode() == vector["server_key"]


def first(message: str, plus: bool = False, offered: bool = True, channel: ChannelBindings = CHANNEL) -> object:
    side = ScramServer("SCRAM-SHA-256-PLUS" if plus else "SCRAM-SHA-256", channel, offered)
    return ServerExchange(side.talk).start(message.encode())


@pytest.mark.parametrize(
    ("message", "plus"),
    [
        ("y,,n=user,r=abc", False),  # it could bind, and was not told that we can
        ("p=tls-server-end-point,,n=user,r=abc", False),  # bound without -PLUS
        ("n,,n=user,r=abc", True),  # -PLUS without being bound
        ("y,,n=user,r=abc", True),
        ("p=tls-unique,,n=user,r=abc", True),  # a type that this connection does not have
        ("p=,,n=user,r=abc", True),
        ("n,,n=user", False),
        ("n,,r=abc,n=user", False),
        ("n,,m=x,n=user,r=abc", False),  # a mandatory extension (RFC 5802 §5.1)
        ("n,,n=us=er,r=abc", False),
        ("n,,n=,r=abc", False),
        ("n,,n=user,r=", False),
        ("n,,n=user,r=a b", False),
        ("n,b=x,n=user,r=abc", False),
        ("n", False),
        ("", False),
        ("n,,n=user,r=" + "a" * 300, False),
    ],
)
def test_a_first_message_that_breaks_the_rules_is_refused(message: str, plus: bool) -> None:
    end = first(message, plus)
    assert isinstance(end, Failure)
    assert end.malformed


def test_a_client_that_could_bind_may_say_so_where_we_cannot() -> None:
    assert first("y,,n=user,r=abc", offered=False) == Keys("user", "SCRAM-SHA-256")


def test_the_identity_to_act_as_is_handed_on() -> None:
    assert first("n,a=li=2Cst,n=user,r=abc") == Keys("user", "SCRAM-SHA-256", "li,st")


def test_a_stranger_has_a_salt_that_stays_the_same_and_is_his_own() -> None:
    """And another one with another pepper, so that nobody can work it out."""

    def salt(user: str, pepper: bytes = b"pepper") -> str:
        machine = ServerExchange(ScramServer("SCRAM-SHA-256", UNBOUND, False, pepper).talk)
        machine.start(f"n,,n={user},r=abc".encode())
        challenge = machine.answer(None)
        assert isinstance(challenge, Challenge)
        return challenge.data.decode().split(",", 1)[1]

    assert salt("mallory") == salt("mallory")
    assert len({salt("mallory"), salt("trudy"), salt("mallory", b"other")}) == 3


@pytest.mark.parametrize("change", ["c=biws", "r=", "p="])
def test_a_last_message_of_another_exchange_is_refused(change: str) -> None:
    """Another channel, another nonce, another proof."""
    machine = ServerExchange(ScramServer("SCRAM-SHA-256", UNBOUND, False).talk)
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", UNBOUND)
    machine.start(client.initial())
    challenge = machine.answer(keys_of("user", "pencil", "SCRAM-SHA-256", b"salt" * 4, 4096))
    assert isinstance(challenge, Challenge)
    last = client.respond(challenge.data).decode()
    other = {"c=biws": last.replace("c=biws", "c=eSws"), "r=": last.replace("r=", "r=x"), "p=": last[:-5] + "AAAA="}[change]
    assert isinstance(machine.respond(other.encode()), Failure)


@pytest.mark.parametrize(
    "message",
    ["", "r=abc", "r=other,s=c2FsdA==,i=4096", "r=abc,s=c2FsdA==,i=4096", "r=abcd,s=c2FsdA==,i=4095", "r=abcd,s=c2FsdA==,i=600001",
     "r=abcd,s=c2FsdA==,i=999999999999", "r=abcd,s=c2FsdA==,i=-1", "r=abcd,s=c2FsdA==,i=\u0664\u0660\u0669\u0666\u0660",
     "r=abcd,s=*,i=4096", "m=x,r=abcd,s=c2FsdA==,i=4096", "r=ab,cd,s=c2FsdA==,i=4096"],
)  # fmt: skip
def test_a_server_that_breaks_the_rules_gets_no_proof(message: str) -> None:
    """Least of all one that makes us hash for ever."""
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", UNBOUND, lambda: "abc")
    with pytest.raises(SaslError):
        client.respond(message.encode())


def test_a_server_that_does_not_know_the_user_is_not_believed() -> None:
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", UNBOUND, lambda: "abc")
    client.respond(b"r=abcd,s=c2FsdA==,i=4096")
    with pytest.raises(SaslError, match="not proven"):
        client.finish()
    with pytest.raises(SaslError, match="does not know"):
        client.respond(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")


def test_a_relayed_exchange_is_refused_when_it_is_bound_to_the_channel() -> None:
    """Somebody between us has TLS with each of us, and hands on what we say: the two ends saw different certificates."""
    client = ScramClient("SCRAM-SHA-256-PLUS", "user", "pencil", ChannelBindings({"tls-server-end-point": b"his"}))
    machine = ServerExchange(ScramServer("SCRAM-SHA-256-PLUS", CHANNEL, True).talk)
    machine.start(client.initial())
    challenge = machine.answer(keys_of("user", "pencil", "SCRAM-SHA-256", b"salt" * 4, 4096))
    assert isinstance(challenge, Challenge)
    end = machine.respond(client.respond(challenge.data))
    assert isinstance(end, Failure)
    assert "channel" in end.reason
