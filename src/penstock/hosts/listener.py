"""Listening sockets: made once by the supervisor, one a worker, all on the same port.

With SO_REUSEPORT the kernel spreads connections over the workers' sockets. The supervisor keeps them all open, so what was queued for a
worker that died waits for its successor and is not refused, and no worker needs the right to bind a low port."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import ConfigError
from .local import Rights, is_local, open_local

BACKLOG = 1024
_HINTS = {
    errno.EADDRINUSE: "another server may be listening there",
    errno.EADDRNOTAVAIL: "this machine does not have that address; 0.0.0.0 stands for all that it has",
    errno.EACCES: "a port below 1024 needs root, or the capability CAP_NET_BIND_SERVICE",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Args:
        name: the listener's name.
        host: an IP address, or ``unix:`` and a path.
        port: 0 to 65535; 0 takes a free one.
        rights: who may connect to a path.
    """

    name: str
    host: str
    port: int
    rights: Rights = field(default=Rights())


def open_sockets(address: Address, count: int) -> list[socket.socket]:
    """That many listening sockets on one port, or as often the one at a path. Raises ConfigError when the address cannot be had."""
    if is_local(address.host):
        return [open_local(address.name, address.host, address.rights)] * count
    sockets: list[socket.socket] = []
    port = address.port
    try:
        if port:
            # SO_REUSEPORT would let two servers of one user share a port without a word: first see that it is free.
            _open(address.host, port, reuse=False).close()
        for _ in range(count):
            sockets.append(_open(address.host, port, reuse=True))
            port = sockets[0].getsockname()[1]
    except OSError as error:
        for made in sockets:
            made.close()
        where = f"listener.{address.name}.address"
        raise ConfigError(where, f"cannot listen on {address.host}:{port}: {error.strerror}", _HINTS.get(error.errno or 0, "")) from None
    return sockets


def _open(host: str, port: int, reuse: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        if reuse:
            sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def serve(sock: socket.socket, factory: Callable[[], asyncio.Protocol]) -> asyncio.AbstractServer:
    """Accepts connections on a listening socket."""
    loop = asyncio.get_running_loop()
    if sock.family == socket.AF_UNIX:
        return await loop.create_unix_server(factory, sock=sock, backlog=BACKLOG)
    return await loop.create_server(factory, sock=sock, backlog=BACKLOG)
