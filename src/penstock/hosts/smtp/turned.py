"""A connection whose ends have changed their roles: the client is the server now, and we deliver to it (ATRN, RFC 2645 §5.3).

The octets pass between the customer and a Unix socket, to which the couriers of all workers connect as they would to any server, one
after the other. Rejected: handing over the file descriptor, since the keys of TLS would stay here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

# Octets of the customer that wait until a courier takes them.
MAX_WAITING = 64 * 1024
# How long the customer may take to say goodbye.
FAREWELL = 5.0


class Turned:
    """The octets of a turned connection.

    Args:
        connection: to the customer.
        hostname: how this server calls itself.
    """

    def __init__(self, connection: Connection, hostname: str) -> None:
        self._connection = connection
        self._hostname = hostname
        self._waiting = bytearray()
        self._came = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._ended = False
        self._held_back = False
        self._served = 0
        self._serving: asyncio.Task[None] | None = None

    # What the connection calls.

    def receive(self, data: bytes) -> None:
        """Octets of the customer, in clear; none at the end."""
        self._ended = self._ended or not data
        self._waiting += data
        if len(self._waiting) > MAX_WAITING and not self._held_back:
            self._held_back = True
            self._connection.hold_back(True)
        self._came.set()
        if self._ended:
            self._may_write.set()

    def let_write(self) -> None:
        """The customer takes octets again."""
        self._may_write.set()

    # What couriers get.

    @property
    def is_over(self) -> bool:
        """True when the customer is gone."""
        return self._ended or self._connection.is_lost

    @contextlib.asynccontextmanager
    async def open(self, path: Path) -> AsyncIterator[str]:
        """Opens the Unix socket behind which the customer is; its path. Raises OSError."""
        server = await asyncio.start_unix_server(self._take, sock=_listening(path))
        try:
            yield str(path)
        finally:
            server.close()
            _remove(path)
            if self._serving is not None:
                self._serving.cancel()

    async def say_goodbye(self) -> None:
        """QUIT, when nothing more is to be sent; whatever the customer answers."""
        # A customer from whom nobody took the greeting yet may not have sent it.
        greeted = self._served > 0 or await self._hear()
        self._waiting.clear()
        if greeted and not self.is_over:
            self._connection.pass_on(b"QUIT\r\n")
            await self._hear()

    async def _hear(self) -> bool:
        """Waits a moment for octets of the customer; whether there are any."""
        self._came.clear()
        if not self._waiting and not self.is_over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), FAREWELL)
        return bool(self._waiting)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A courier has connected."""
        if self._serving is not None or self.is_over:
            writer.close()
            return
        self._serving = asyncio.current_task()
        if self._served:
            # The customer has greeted the first one; RFC 5321 §4.1.4 lets every further one begin with EHLO.
            writer.write(f"220 {self._hostname} goes on\r\n".encode())
        self._served += 1
        answers = asyncio.get_running_loop().create_task(self._pass_answers(writer))
        try:
            while octets := await reader.read(65536):
                self._may_write.clear()
                if not self._connection.pass_on(octets):
                    await self._may_write.wait()
        except OSError:
            pass  # it gave up; how that left the connection it says itself
        finally:
            answers.cancel()
            self._serving = None
            writer.close()

    async def _pass_answers(self, writer: asyncio.StreamWriter) -> None:
        """The customer's answers go to the courier."""
        with contextlib.suppress(OSError):
            while True:
                self._came.clear()
                octets = bytes(self._waiting)
                self._waiting.clear()
                if self._held_back:
                    self._held_back = False
                    self._connection.hold_back(False)
                if octets:
                    writer.write(octets)
                    await writer.drain()
                elif self.is_over:
                    writer.close()
                    return
                else:
                    await self._came.wait()


def _listening(path: Path) -> socket.socket:
    """A Unix socket that is its owner's alone before anybody can connect."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o600)
    except OSError:
        sock.close()
        raise
    return sock


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
