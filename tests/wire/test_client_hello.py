"""The protocols that a client names are found in its hello, however it is cut; nothing that is no hello is waited for."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.wire.client_hello import ClientHello


def hello(*names: str) -> bytes:
    """What OpenSSL says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if names:
        context.set_alpn_protocols(list(names))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="mx.example.com")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def fed(octets: bytes, step: int) -> tuple[bytes, ...] | None:
    reading = ClientHello()
    found = None
    for at in range(0, len(octets), step):
        found = reading.feed(octets[at : at + step])
        if found is not None:
            break
    return found


def in_records(octets: bytes, size: int) -> bytes:
    """The same hello, in records of another size."""
    message = octets[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


@pytest.mark.parametrize("step", [1, 2, 5, 100, 10_000])
@pytest.mark.parametrize("names", [(), ("smtp",), ("h2", "http/1.1"), ("x" * 255,)])
def test_names_are_found_however_the_hello_is_cut(names: tuple[str, ...], step: int) -> None:
    wanted = tuple(name.encode() for name in names)
    assert fed(hello(*names), step) == wanted
    for size in (1, 3, 100):
        assert fed(in_records(hello(*names), size), step) == wanted


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO x",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x01\x02",
        b"\x80\x2e\x01\x03\x01",
    ],
)
def test_what_is_no_hello_is_not_waited_for(octets: bytes) -> None:
    assert fed(octets, 1) == ()


def test_a_part_of_a_hello_is_waited_for() -> None:
    whole = hello("smtp")
    for end in range(len(whole)):
        assert fed(whole[:end], 1000) is None


def test_a_hello_without_end_is_given_up() -> None:
    reading = ClientHello()
    assert any(reading.feed(b"\x16\x03\x01\x10\x00" + b"\x01\xff\xff\xff" + bytes(4092)) is not None for _ in range(10))


@settings(max_examples=500)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_octets_do_no_harm(octets: bytes, step: int) -> None:
    fed(octets, step)
    fed(b"\x16\x03\x01" + len(octets).to_bytes(2, "big") + octets, step)
    body = b"\x01" + len(octets).to_bytes(3, "big") + octets
    fed(b"\x16\x03\x01" + len(body).to_bytes(2, "big") + body, step)
