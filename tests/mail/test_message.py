"""The record of a message survives a restart whole, and a newer version reads what an older one wrote."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Address, Recipient
from penstock.mail.envelope import Envelope, MailParameters
from penstock.mail.message import MessageRecord, decode_record, encode_record

text = st.text(max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | text | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)
addresses = st.builds(Address, text, text)
recipients = st.builds(
    Recipient,
    addresses,
    original=text,
    notify=st.frozensets(text, max_size=3),
    orcpt=text,
    parameters=st.dictionaries(text, text, max_size=3),
    properties=st.dictionaries(text, plain, max_size=3),
)
parameters = st.builds(MailParameters, size=st.none() | st.integers(0, 2**40), body=text, smtputf8=st.booleans(), ret=text, envid=text)
records = st.builds(
    MessageRecord,
    id=text,
    received=st.floats(0, 2e9),
    envelope=st.builds(Envelope, addresses, st.lists(recipients, max_size=3), parameters),
    origin=st.sampled_from(["smtp", "submission-api", "pickup", "milter", "dsn", "sink"]),
    direction=st.sampled_from(["in", "out", "internal"]),
    size=st.integers(0, 2**40),
    header=st.none() | st.binary(max_size=50),
    body_offset=st.integers(0, 2**40),
    state=st.dictionaries(text, st.dictionaries(text, plain, max_size=3), max_size=3),
    done=st.lists(text, max_size=3),
    skip=st.lists(text, max_size=3),
    attempt=st.integers(0, 1000),
    generation=st.integers(0, 100),
    parent=text,
)


@given(records)
def test_a_record_comes_back_as_it_was(record: MessageRecord) -> None:
    assert decode_record(encode_record(record)) == record


@given(recipients)
def test_a_copy_of_a_recipient_is_equal_and_shares_nothing_that_changes(recipient: Recipient) -> None:
    copy = recipient.copy()
    assert copy == recipient
    before = recipient.copy()
    copy.properties["new"] = 1
    copy.parameters["new"] = "1"
    for value in copy.properties.values():
        if isinstance(value, list | dict):
            value.clear()
    assert recipient == before


def test_fields_that_a_newer_version_added_and_fields_that_an_older_one_did_not_know_do_no_harm() -> None:
    assert decode_record(msgspec.msgpack.encode({"id": "m1", "a_field_of_tomorrow": [1]})) == MessageRecord("m1")


def test_what_is_not_set_takes_no_room() -> None:
    assert set(msgspec.msgpack.decode(encode_record(MessageRecord("m1", envelope=Envelope(Address("a", "b")))))) == {"id", "envelope"}


@pytest.mark.parametrize("value", [object(), open, {1j}])
def test_what_is_not_plain_data_is_refused_when_it_is_written(value: object) -> None:
    with pytest.raises(TypeError):
        encode_record(MessageRecord("m1", state={"sink": {"value": value}}))


def test_two_records_share_no_state() -> None:
    one, other = MessageRecord("1"), MessageRecord("2")
    one.state["a"] = {}
    one.done.append("x")
    one.envelope.recipients.append(Recipient(Address("a", "b")))
    assert (other.state, other.done, other.envelope.recipients) == ({}, [], [])


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", msgspec.msgpack.encode({"id": 7})])
def test_octets_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_record(data)
