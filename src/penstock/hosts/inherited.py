"""Sockets that were open before we were: systemd's socket activation (sd_listen_fds(3)).

Whoever starts us opened the ports, so no right to open them is needed here; and while the server starts again they stay open, so no
client is refused. All workers accept on the same socket, since there is but one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from .listener import Address, open_sockets

# The first descriptor that is passed (SD_LISTEN_FDS_START).
FIRST = 3
_MOST = 1024


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening socket that we were given.

    Args:
        name: what FileDescriptorName= calls it; by default the name of the socket unit.
        sock: the socket.
    """

    name: str
    sock: socket.socket

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.sock.getsockname()[:2]
        return str(host), int(port)


def inherited(environment: MutableMapping[str, str], first: int = FIRST) -> list[Inherited]:
    """The sockets that this process was given; the variables are taken out, as they mean no child of ours.

    Args:
        environment: the process's.
        first: the first descriptor.

    Raises: ConfigError for what is no listening socket of TCP.
    """
    pid, count, names = (environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal() or not 0 < int(count) <= _MOST:
        return []
    named = names.split(":") if names else []
    found = []
    for number in range(int(count)):
        name = named[number] if number < len(named) else ""
        found.append(Inherited(name, _listening(first + number, name)))
    return found


def _listening(descriptor: int, name: str) -> socket.socket:
    where = f"LISTEN_FDS: {name or descriptor}"
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError:
        raise ConfigError(where, "this is no socket", "the socket unit has ListenStream= and nothing else") from None
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        raise ConfigError(where, "this is no socket of TCP", "write ListenStream= with an address and a port")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigError(where, "this socket does not listen", "write Accept=no in the socket unit")
    sock.setblocking(False)
    return sock


def listening(addresses: Sequence[Address], count: int, given: list[Inherited]) -> list[tuple[str, list[socket.socket]]]:
    """The sockets of each listener, as many as there are workers: those that were given, and new ones for the others.

    Args:
        addresses: the listeners.
        count: how many workers there are.
        given: sockets that were open before; what is taken is taken out.

    Raises: ConfigError when an address cannot be had.
    """
    found: list[tuple[str, list[socket.socket]]] = []
    for address in addresses:
        mine = take(given, address)
        found += [(address.name, [sock] * count) for sock in mine] or [(address.name, open_sockets(address, count))]
    return found


def take(given: list[Inherited], address: Address) -> list[socket.socket]:
    """Those that are for a listener, out of the list: all that have its name; else the one that listens at its address.

    A name may stand for several, as one socket unit may have an address of each family.
    """
    mine = [one for one in given if one.name == address.name]
    mine = mine or [one for one in given if address.port and one.address == (address.host, address.port)][:1]
    for one in mine:
        given.remove(one)
    return [one.sock for one in mine]
