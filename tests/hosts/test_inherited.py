"""Socket activation: sockets that whoever started us had open already go to the listener of their name, or of their address."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from penstock.errors import ConfigError
from penstock.hosts.inherited import Inherited, inherited, listening, take
from penstock.hosts.listener import Address

# Far above what pytest has open; the kernel gives numbers from below.
FIRST = 700


@pytest.fixture
def passed() -> Iterator[list[socket.socket]]:
    """Two listening sockets whose descriptors are FIRST and the one after it."""
    made = []
    for number in range(2):
        sock = socket.create_server(("127.0.0.1", 0))
        os.dup2(sock.fileno(), FIRST + number)
        made.append(sock)
    yield made
    for number, sock in enumerate(made):
        sock.close()
        try:
            os.close(FIRST + number)
        except OSError:
            continue


def _environment(count: int, names: str = "", pid: int | None = None) -> dict[str, str]:
    found = {"LISTEN_PID": str(os.getpid() if pid is None else pid), "LISTEN_FDS": str(count), "PATH": "/bin"}
    return {**found, "LISTEN_FDNAMES": names} if names else found


def test_sockets_are_taken_with_their_names_and_the_variables_are_gone(passed: list[socket.socket]) -> None:
    """No child of ours takes them for its own, and none inherits the sockets but those that are told of them."""
    environment = _environment(2, "mx:submission")
    found = inherited(environment, FIRST)
    assert [one.name for one in found] == ["mx", "submission"]
    assert [one.address for one in found] == [sock.getsockname() for sock in passed]
    assert environment == {"PATH": "/bin"}
    assert not any(one.sock.get_inheritable() for one in found)
    for one in found:
        one.sock.detach()


@pytest.mark.parametrize("environment", [{}, _environment(1, pid=1), _environment(0), _environment(10**6), {"LISTEN_FDS": "1"}])
def test_what_is_not_meant_for_us_is_left(environment: dict[str, str]) -> None:
    """LISTEN_PID is another's, or there is nothing."""
    assert inherited(environment, FIRST) == []
    assert not environment.keys() & {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}


def test_what_does_not_listen_is_refused_by_name(passed: list[socket.socket]) -> None:
    """A pipe, a socket of the file system, one of UDP, one that is connected."""
    reads, writes = os.pipe()
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    local = socket.socket(socket.AF_UNIX)
    connected = socket.create_connection(passed[0].getsockname())
    try:
        for at, (descriptor, why) in enumerate(
            (
                (reads, "no socket"),
                (datagram.fileno(), "no socket of TCP"),
                (local.fileno(), "no socket of TCP"),
                (connected.fileno(), "not listen"),
            ),
            FIRST + 10,
        ):
            os.dup2(descriptor, at)
            with pytest.raises(ConfigError, match=why) as refused:
                inherited(_environment(1, "mx"), at)
            assert "mx" in refused.value.where
    finally:
        for one in (datagram, local, connected):
            one.close()
        os.close(reads)
        os.close(writes)


def _given(*names: str) -> list[Inherited]:
    return [Inherited(name, socket.create_server(("127.0.0.1", 0))) for name in names]


def test_a_name_goes_before_an_address() -> None:
    """All sockets of the listener's name are its; else the one at its address; else it opens its own."""
    given = _given("mx", "penstock.socket", "mx")
    everything = list(given)
    port = given[1].address[1]
    assert take(given, Address("mx", "127.0.0.1", port)) == [everything[0].sock, everything[2].sock]
    assert take(given, Address("other", "127.0.0.1", port)) == [everything[1].sock]
    assert given == []
    assert take(_given("x"), Address("mx", "127.0.0.1", 0)) == []
    for one in everything:
        one.sock.close()


def test_workers_share_what_was_given_and_get_sockets_of_their_own_otherwise() -> None:
    """One socket for all, or one a worker on one port."""
    given = _given("mx", "left over")
    found = listening([Address("mx", "127.0.0.1", 0), Address("lmtp", "127.0.0.1", 0)], 3, given)
    (name, shared), (other, own) = found
    assert (name, other) == ("mx", "lmtp")
    assert len(set(shared)) == 1
    assert len(set(own)) == len(own) == 3
    assert len({sock.getsockname() for sock in own}) == 1
    assert [one.name for one in given] == ["left over"]
    for sock in (*shared, *own, *(one.sock for one in given)):
        sock.close()
