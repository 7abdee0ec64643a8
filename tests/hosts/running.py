"""The SMTP host and transport in the test's own loop, on a real socket, over a spool of the test's choice.

For what the whole server in a process of its own cannot show: sinks of the test's own, short timeouts, and what is in the spool meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from penstock import Sink
from penstock.events.binding import Bindings
from penstock.events.dispatch import Dispatcher
from penstock.events.plug import Plug
from penstock.events.work import MessageWork
from penstock.hosts.smtp.connection import Connection
from penstock.hosts.smtp.host import Services, SessionLimits, SmtpHost, SmtpSettings
from penstock.observe.log import get_log
from penstock.queue.policy import RetryPolicy
from penstock.queue.scheduler import SchedulerSettings
from penstock.storage.base import Query, Spool
from penstock.storage.identity import Identities
from penstock.storage.memory import MemorySpool
from penstock.transport.pipeline import Parts, Transport, TransportSettings
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.settings import ServerSettings


@dataclass
class Node:
    """What the server does for sinks, with a clock that a test can move."""

    spool: Spool
    name: str = "test"
    hostname: str = "mx.example.com"
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    ahead: float = 0.0
    transport: Transport | None = None

    def __post_init__(self) -> None:
        self.new_id = Identities(time.time).new

    def now(self) -> float:
        return time.time() + self.ahead

    async def submit(self, work: MessageWork) -> str:
        assert self.transport is not None
        return await self.transport.submit(work)

    def queue_depth(self, queue: str = "") -> int:
        return self.spool.count()

    def release_queue(self, queue: str) -> int:
        assert self.transport is not None
        return self.transport.release_queue(queue)

    async def reset_routes(self) -> int:
        assert self.transport is not None
        return await self.transport.reset_routes()


class Running:
    """A server in this loop; an async context manager. ``transport`` are further settings of transport, such as ``is_local``."""

    def __init__(
        self,
        *sinks: Sink[Any] | Plug,
        spool: Spool | None = None,
        sessions: SessionLimits | None = None,
        limits: Limits | None = None,
        in_memory: int = 1024 * 1024,
        active: int = 200,
        ready: int = 2000,
        **transport: Any,
    ) -> None:
        self.spool = spool or MemorySpool()
        self.node = Node(self.spool)
        plugs = [s if isinstance(s, Plug) else Plug(f"sink{n}", s) for n, s in enumerate(sinks)]
        self.bindings = Bindings(plugs)
        self.dispatcher = Dispatcher(get_log())
        parts = Parts(self.node, self.spool, self.dispatcher, get_log())
        scheduling = SchedulerSettings(active=active, ready=ready)
        settings = TransportSettings(RetryPolicy((0.02, 0.05), 3600.0, 0.0), scheduling, **transport)
        self.transport = self.node.transport = Transport(parts, self.bindings, settings)
        self.host = SmtpHost(Services(self.node, self.bindings, self.dispatcher, self.transport, self.spool, get_log()))
        verbs = frozenset(self.bindings.verbs) - frozenset(ServerSettings("x").table)
        wire = ServerSettings(self.node.hostname, limits or Limits(), verbs=verbs, mechanisms=tuple(self.bindings.mechanisms))
        self.settings = SmtpSettings("mx", wire, sessions or SessionLimits(), in_memory=in_memory)
        self.address = ("", 0)
        self._server: asyncio.AbstractServer | None = None
        self._clients: list[Client] = []

    async def __aenter__(self) -> Running:
        await self.spool.open()
        self.transport.start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self.host, self.settings), "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for client in self._clients:  # else the drain waits for them
            client.close()
        await self.host.drain(1.0)
        await self.transport.stop(1.0)
        await self.dispatcher.drain()
        await self.spool.close()

    async def client(self) -> Client:
        """A client that has read the banner."""
        client = await self.knock()
        client.banner = await client.reply()
        return client

    async def knock(self, **tls: Any) -> Client:
        """A client that has read nothing yet; with ``ssl`` and the like it speaks TLS from the first octet."""
        client = Client(*await asyncio.open_connection(*self.address[:2], **tls))
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        """All clients go."""
        while self._clients:
            self._clients.pop().close()

    def kept(self) -> list[Any]:
        """The entries in the spool."""
        return self.spool.select(Query()).entries

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits until something is so."""
        await until(condition, what)


async def until(condition: Callable[[], object], what: str, seconds: float = 5.0) -> None:
    """Waits until something is so; fails with ``what`` when it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.005)


class Client:
    """An SMTP client that says exactly what a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.banner = ""

    async def reply(self) -> str:
        """The next reply, its lines joined; "" when the connection is closed."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 5.0)).decode()
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, *lines: str) -> str:
        """Sends lines, each as one command; the reply to the last."""
        reply = ""
        for line in lines:
            self.writer.write(line.encode() + b"\r\n")
            reply = await self.reply()
        return reply

    async def send(self, content: bytes = b"Subject: hello\r\n\r\nHello.\r\n", *to: str, sender: str = "a@client.example") -> str:
        """A whole transaction; the reply to the content."""
        await self.say("EHLO client.example", f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{t}>" for t in to or ("bob@example.com",)), "DATA")
        self.writer.write(content + b".\r\n")
        return await self.reply()

    async def is_closed(self) -> bool:
        """Whether the server closed the connection."""
        return await asyncio.wait_for(self.reader.read(1), 5.0) == b""

    async def is_gone(self) -> bool:
        """Whether the server ended the connection, in whatever way, without another word."""
        try:
            return await self.is_closed()
        except ConnectionResetError:
            return True

    def reset(self) -> None:
        """Vanishes without a goodbye: the server gets a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()
