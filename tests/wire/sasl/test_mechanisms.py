"""Every mechanism: both sides agree, wrong passwords and strangers fail, broken messages are refused, and nothing secret is shown."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.errors import LocalProtocolError, SaslError
from penstock.wire.sasl.base import (
    UNBOUND,
    Certificate,
    Challenge,
    ChannelBindings,
    Failure,
    Keys,
    Known,
    Password,
    PlainSecret,
    Secret,
    Success,
    Token,
)
from penstock.wire.sasl.cram import digest
from penstock.wire.sasl.mechanisms import NAMES, Login, ServerSide, choose, client, server
from penstock.wire.sasl.prepare import prepare
from penstock.wire.sasl.scram import keys_of

from .exchanges import Users, joined

CHANNEL = ChannelBindings({"tls-server-end-point": b"the hash of a certificate"})
SIDE = ServerSide("mx.example.com", CHANNEL, NAMES, b"pepper")
TOKENS = ("OAUTHBEARER", "XOAUTH2")


def login(name: str, user: str = "alice", secret: str = "pencil") -> Login:
    bindings = CHANNEL if name.endswith("-PLUS") else UNBOUND
    return Login(user, secret, secret if name in TOKENS else "", name == "EXTERNAL", "mx.example.com", 587, bindings)


@pytest.mark.parametrize("name", NAMES)
def test_who_knows_the_password_is_let_in(name: str) -> None:
    users = Users({"alice": "pencil"}, "alice")
    assert joined(client(name, login(name)), server(name, SIDE), users) == Success("alice")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "EXTERNAL"])
@pytest.mark.parametrize("user", ["alice", "mallory"])
def test_a_wrong_password_and_a_stranger_fail_alike(name: str, user: str) -> None:
    """With as many messages, and nothing in the end that tells them apart."""
    end = joined(client(name, login(name, user, "pencils")), server(name, SIDE), Users({"alice": "pencil"}))
    assert isinstance(end, Failure)
    assert (end.malformed, end.user) == (False, user)
    assert "pencil" not in repr(end)


def test_a_certificate_that_stands_for_nobody_or_another_fails() -> None:
    for users in (Users({}), Users({}, "bob")):
        assert isinstance(joined(client("EXTERNAL", login("EXTERNAL")), server("EXTERNAL", SIDE), users), Failure)


@given(
    st.sampled_from([n for n in NAMES if n not in (*TOKENS, "EXTERNAL")]),
    st.text(min_size=1, max_size=40),
    st.text(min_size=1, max_size=40),
)
def test_any_name_and_password_that_can_be_prepared_is_understood(name: str, user: str, password: str) -> None:
    try:
        prepared = prepare(user), prepare(password, stored=True)
    except SaslError:
        assume(False)
        raise
    assume(all(prepared) and "\0" not in user + password)
    assume(len(user.encode()) < 200 and len(password.encode()) < 200)
    users = Users({prepared[0]: prepared[1]})
    assert joined(client(name, login(name, user, password)), server(name, SIDE), users) == Success(prepared[0])


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("SCRAM")])
@pytest.mark.parametrize("number", [1])
def test_a_changed_proof_is_refused(name: str, number: int) -> None:
    end = joined(client(name, login(name)), server(name, SIDE), Users({"alice": "pencil"}), spoil=number)
    assert isinstance(end, Failure)


@given(st.sampled_from(NAMES), st.lists(st.binary(max_size=80), min_size=1, max_size=5), st.booleans())
def test_whatever_a_client_sends_ends_in_one_of_the_known_ways(name: str, messages: list[bytes], initial: bool) -> None:
    """No exception leaves a server's machine, and the exchange has an end."""
    machine = server(name, SIDE)
    rest = list(messages)
    step = machine.start(rest.pop(0) if initial else None)
    users = Users({"alice": "pencil"}, "alice")
    for _ in range(12):
        if isinstance(step, Success | Failure):
            return
        step = machine.respond(rest.pop(0) if rest else b"") if isinstance(step, Challenge) else machine.answer(users.answer(step))
    raise AssertionError("the exchange has no end")


@given(st.sampled_from(NAMES), st.lists(st.binary(max_size=80), min_size=1, max_size=4))
def test_whatever_a_server_sends_is_answered_or_refused(name: str, challenges: list[bytes]) -> None:
    """Only SaslError leaves a client's machine."""
    machine = client(name, login(name))
    machine.initial()
    said: list[str] = []
    try:
        for challenge in challenges:
            machine.respond(challenge)
        machine.finish()
    except SaslError as error:
        said.append(str(error))
    assert "pencil" not in "".join(said)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"alice",
        b"\0alice",
        b"\0\0pencil",
        b"\0alice\0",
        b"\0alice\0pencil\0",
        b"\0\xff\0pencil",
        b"\0alice\0" + b"x" * 1025,
        b"\0a\x07\0b",
    ],
)
def test_a_malformed_plain_message_is_refused(message: bytes) -> None:
    """RFC 4616 §2."""
    end = server("PLAIN", SIDE).start(message)
    assert isinstance(end, Failure)
    assert end.malformed


def test_plain_as_in_its_rfc() -> None:
    """RFC 4616 §4: with and without an authorization identity."""
    assert server("PLAIN", SIDE).start(b"\0tim\0tanstaaftanstaaf") == Password("tim", "tanstaaftanstaaf")
    machine = server("PLAIN", SIDE)
    assert machine.start(None) == Challenge(b"")
    assert machine.respond(b"Ursel\0Kurt\0xipj3plmq") == Password("Kurt", "xipj3plmq", "Ursel")
    assert machine.answer(Known("Ursel")) == Success("Ursel")


def test_login_as_clients_speak_it() -> None:
    for initial in (None, b"alice"):
        machine = server("LOGIN", SIDE)
        step = machine.start(initial)
        if initial is None:
            assert step == Challenge(b"Username:")
            step = machine.respond(b"alice")
        assert step == Challenge(b"Password:")
        assert machine.respond(b"pencil") == Password("alice", "pencil")


def test_cram_md5_as_in_its_rfc() -> None:
    """RFC 2195 §2."""
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert digest("tanstaaftanstaaf", challenge) == b"b913a602c7eda7a495b4e6e7334d3890"
    assert client("CRAM-MD5", Login("tim", "tanstaaftanstaaf")).respond(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_oauthbearer_as_in_its_rfc() -> None:
    """RFC 7628 §4.1 and §4.3: a token that holds, and one that does not."""
    message = (
        b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    )
    have = Login("user@example.com", token="vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", host="server.example.com", port=143)
    assert client("OAUTHBEARER", have).initial() == message
    machine = server("OAUTHBEARER", SIDE)
    assert machine.start(message) == Token("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", "user@example.com")
    refused = machine.answer(None)
    assert isinstance(refused, Challenge)
    assert b'"status":"invalid_token"' in refused.data
    assert isinstance(machine.respond(b"\x01"), Failure)


def test_xoauth2_as_google_describes_it() -> None:
    token = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    message = f"user=someuser@example.com\x01auth=Bearer {token}\x01\x01".encode()
    have = Login("someuser@example.com", token=token)
    assert client("XOAUTH2", have).initial() == message
    assert server("XOAUTH2", SIDE).start(message) == Token(token, "someuser@example.com")


@pytest.mark.parametrize(
    "message",
    [b"auth=Bearer t t\x01\x01", b"auth=Bearer \x01\x01", b"user=\xff\x01auth=Bearer t\x01\x01",
     b"auth=Bearer " + b"t" * 13000 + b"\x01\x01", b"", b"user=a\x01auth=Bearer t", b"user=a\x01auth=Basic t\x01\x01",
     b"user=a\x01\x01", b"user=a\x01user=b\x01auth=Bearer t\x01\x01"],
)  # fmt: skip
def test_a_malformed_bearer_message_is_refused(message: bytes) -> None:
    for name, start in (("XOAUTH2", message), ("OAUTHBEARER", b"n,,\x01" + message)):
        end = server(name, SIDE).start(start)
        assert isinstance(end, Failure), name
        assert end.malformed


@pytest.mark.parametrize("text", ["pencil", "I\u00adX", "\u2168", "user", "USER", "\u00aa"])
def test_names_are_prepared_as_in_the_examples(text: str) -> None:
    """RFC 4013 §3."""
    expected = {"I\u00adX": "IX", "\u2168": "IX", "\u00aa": "a"}
    assert prepare(text) == expected.get(text, text)


@pytest.mark.parametrize("text", ["\u0007", "\u06271", "\u200e", "a\u0627"])
def test_names_that_are_prohibited_are_refused(text: str) -> None:
    """RFC 4013 §3, and §2.4 for the direction of writing."""
    with pytest.raises(SaslError) as caught:
        prepare(text)
    assert text not in str(caught.value)


def test_the_best_that_both_can_is_chosen() -> None:
    have = Login("alice", "pencil")
    assert choose(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "LOGIN"], have) == "SCRAM-SHA-256"
    assert choose(["PLAIN", "SCRAM-SHA-256-PLUS"], Login("alice", "pencil", bindings=CHANNEL)) == "SCRAM-SHA-256-PLUS"
    assert choose(["XOAUTH2", "PLAIN"], Login("alice", token="t")) == "XOAUTH2"
    assert choose(["XOAUTH2", "PLAIN"], have) == "PLAIN"
    assert choose(["EXTERNAL"], Login("", certificate=True)) == "EXTERNAL"
    assert choose(["PLAIN", "LOGIN"], have, ["LOGIN"]) == "LOGIN"
    assert choose(["NTLM", "GSSAPI"], have) == ""


def test_nothing_secret_is_in_a_repr() -> None:
    things = [Password("u", "pencil"), Token("pencil", "u"), PlainSecret("u", "pencil"), Login("u", "pencil", "pencil"), SIDE]
    things.append(keys_of("u", "pencil", "SCRAM-SHA-256", b"s" * 16, 4096))
    for thing in things:
        assert "pencil" not in repr(thing)
        assert "pepper" not in repr(thing)
        assert "key" not in repr(thing).lower().replace("scramkeys", "")


def test_a_machine_is_driven_in_order() -> None:
    machine = server("PLAIN", SIDE)
    with pytest.raises(LocalProtocolError):
        server("LOGIN", SIDE).answer(None)
    machine.start(b"\0alice\0pencil")
    with pytest.raises(LocalProtocolError):
        machine.respond(b"")
    with pytest.raises(LocalProtocolError):
        machine.start(None)


@pytest.mark.parametrize("make", [server, lambda name, _: client(name, login("PLAIN"))])
def test_a_mechanism_that_there_is_not_is_refused(make: object) -> None:
    with pytest.raises(SaslError):
        make("NTLM", SIDE)  # type: ignore[operator]


def test_each_question_is_one_that_a_store_can_answer() -> None:
    """By mechanism: what is asked."""
    kinds = {"PLAIN": Password, "LOGIN": Password, "CRAM-MD5": Secret, "EXTERNAL": Certificate, "XOAUTH2": Token, "OAUTHBEARER": Token}
    for name in NAMES:
        users = Users({"alice": "pencil"}, "alice")
        joined(client(name, login(name)), server(name, SIDE), users)
        assert [type(ask) for ask in users.asked] == [kinds.get(name, Keys)]
