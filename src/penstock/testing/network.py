"""A network in memory: connections without sockets, and the faults that networks have.

What is written arrives in a later turn of the loop, in order, after the latency of the way; nothing is lost, until somebody resets. There
is no TLS here: no remote server offers STARTTLS, so all that goes out goes in clear.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from ipaddress import ip_address
from typing import Any, Final, Literal

from .virtual import OWNER

Reach = Literal["open", "refused", "silent", "unreachable"]
End = tuple[str, int]
_EOF: Final = b""
_ERRORS = {"refused": errno.ECONNREFUSED, "unreachable": errno.EHOSTUNREACH}


class MemoryTransport(asyncio.Transport):
    """One end of a connection in memory.

    Args:
        loop: the loop on which both ends are.
        here: our address and port.
        there: those of the other end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, here: End, there: End) -> None:
        super().__init__({"peername": there, "sockname": here})
        self.latency = 0.0
        self._loop = loop
        self._context: Context = copy_context()
        self._protocol: asyncio.BaseProtocol | None = None
        self._peer: MemoryTransport | None = None
        # What is on its way to us: when it arrives, and what it is; None is a reset.
        self._inbox: deque[tuple[float, bytes | None]] = deque()
        self._pumping = False
        self._paused = False
        self._closing = False
        self._ended = False
        self._lost = False

    def attach(self, protocol: asyncio.BaseProtocol, peer: MemoryTransport) -> None:
        """Says who reads here, and which end is the other one."""
        self._protocol, self._peer = protocol, peer

    # What protocols call.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if data and not self._closing and not self._ended:
            self._send(bytes(data))

    def write_eof(self) -> None:
        if not self._ended:
            self._ended = True
            self._send(_EOF)

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._closing:
            self.write_eof()
            self._closing = True
            self._loop.call_soon(self._lose, None, context=self._context)

    def abort(self) -> None:
        if not self._lost:
            self._closing = True
            self._send(None)
            self._loop.call_soon(self._lose, None, context=self._context)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._schedule()

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits here: what is written is on its way."""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (0, 0)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    # How it works.

    def _send(self, data: bytes | None) -> None:
        peer = self._peer
        if peer is None:
            return
        if peer.is_lost and data:
            # As the kernel does for what comes to a closed socket.
            self.arrive(None)
        else:
            peer.arrive(data, self.latency)

    @property
    def is_lost(self) -> bool:
        """True when nobody reads here any more."""
        return self._lost

    @property
    def peer(self) -> MemoryTransport:
        """The other end."""
        assert self._peer is not None
        return self._peer

    def cut(self) -> None:
        """Ends this end without a word to who reads here: its process is gone. The other end gets a reset."""
        if not self._lost:
            self._send(None)
            self._lost = self._closing = True
            self._inbox.clear()

    def arrive(self, data: bytes | None, latency: float = 0.0) -> None:
        """Something is on its way to this end; None is a reset."""
        due = self._loop.time() + latency
        if self._inbox:
            due = max(due, self._inbox[-1][0])
        self._inbox.append((due, data))
        self._schedule()

    def _schedule(self) -> None:
        if self._pumping or not self._inbox or self._lost:
            return
        self._pumping = True
        due = self._inbox[0][0]
        if due <= self._loop.time():
            self._loop.call_soon(self._pump, context=self._context)
        else:
            self._loop.call_at(due, self._pump, context=self._context)

    def _pump(self) -> None:
        self._pumping = False
        while self._inbox and not self._lost and self._inbox[0][0] <= self._loop.time():
            data = self._inbox[0][1]
            if data is not None and (self._paused or self._closing):
                if not self._closing:
                    return
                self._inbox.popleft()
                continue
            self._inbox.popleft()
            try:
                self._take(data)
            except Exception as error:
                self._loop.call_exception_handler({"message": "protocol failed", "exception": error, "transport": self})
                self.abort()
        self._schedule()

    def _take(self, data: bytes | None) -> None:
        protocol = self._protocol
        assert isinstance(protocol, asyncio.Protocol)
        if data is None:
            self._closing = True
            self._lose(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
        elif data:
            protocol.data_received(data)
        elif not protocol.eof_received():
            self.close()

    def _lose(self, error: Exception | None) -> None:
        if not self._lost and self._protocol is not None:
            self._lost = self._closing = True
            self._inbox.clear()
            self._protocol.connection_lost(error)


def connected(
    loop: asyncio.AbstractEventLoop, near: tuple[asyncio.BaseProtocol, End], far: tuple[asyncio.BaseProtocol, End], latency: float = 0.0
) -> MemoryTransport:
    """Connects two protocols, each with its address and port; the end of the first. ``latency`` is that of one way, in seconds."""
    here, there = MemoryTransport(loop, near[1], far[1]), MemoryTransport(loop, far[1], near[1])
    here.latency = there.latency = latency
    here.attach(near[0], there)
    there.attach(far[0], here)
    far[0].connection_made(there)
    near[0].connection_made(here)
    return here


class Network:
    """Who listens where, and how well each address can be reached; what nobody listens on refuses connections.

    Args:
        loop: the loop on which everything is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._listening: dict[End, Callable[[], asyncio.BaseProtocol]] = {}
        self._reach: dict[str, Reach] = {}
        self._latency: dict[str, float] = {}
        self._ports = 40_000
        self.connections: list[tuple[float, str, int]] = []

    def listen(self, address: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """Lets a server listen on an address."""
        self._listening[address, port] = factory

    def close(self, address: str, port: int) -> None:
        """Ends that."""
        self._listening.pop((address, port), None)

    def set_reach(self, address: str, reach: Reach, latency: float = 0.0) -> None:
        """Says what becomes of new connections to an address, and how long each way takes, in seconds."""
        self._reach[address], self._latency[address] = reach, latency

    def next_port(self) -> int:
        """A port that no client had before."""
        self._ports += 1
        return self._ports

    async def connect(
        self,
        real: Callable[..., Awaitable[Any]],
        factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        options: dict[str, Any],
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """What ``create_connection`` does here; on this machine's own addresses where nobody listens in memory, a real connection.

        Raises: OSError as a network does.
        """
        if (host, port) not in self._listening and host not in self._reach and _is_this_machine(host):
            found: tuple[asyncio.BaseTransport, asyncio.BaseProtocol] = await real(factory, host, port, **options)
            return found
        self.connections.append((self._loop.time(), host, port))
        reach, latency = self._reach.get(host, "open"), self._latency.get(host, 0.0)
        if latency:
            await asyncio.sleep(2 * latency)
        if reach == "silent":
            await self._loop.create_future()
        listening = self._listening.get((host, port))
        if reach != "open" or listening is None:
            number = _ERRORS.get(reach, errno.ECONNREFUSED)
            raise OSError(number, os.strerror(number))
        protocol = factory()
        source = options.get("local_addr") or ("192.0.2.25", 0)
        transport = connected(self._loop, (protocol, (source[0], self.next_port())), (listening(), (host, port)), latency)
        owner = OWNER.get()
        if owner is not None:
            owner.at_end.append(transport.cut)
        return transport, protocol


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
