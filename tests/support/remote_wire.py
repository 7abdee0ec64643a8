"""One accepted connection, held so closely that a script can misuse it: raw octets, FIN, RST, and TLS by hand.

asyncio's streams would close, buffer and negotiate politely; a remote that shall misbehave needs the socket itself. TLS goes
through ``ssl.MemoryBIO``, so that garbage can be put before, into and after a handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import struct

CHUNK = 65536
LONGEST_LINE = 1 << 20


class Gone(Exception):
    """The client ended the connection, or the script did."""


class Wire:
    """Reads and writes one socket, in clear or in TLS.

    Args:
        connection: accepted and non-blocking.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.buffer = bytearray()  # read from the client and not yet used
        self.tls: ssl.SSLObject | None = None
        self.server_name: str | None = None
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    async def line(self) -> bytes:
        """The next line with its end."""
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > LONGEST_LINE:
                raise Gone("an endless line")
            await self.more()
        return self.take(end + 1)

    async def fill(self, octets: int) -> None:
        """Reads until so many octets wait in the buffer."""
        while len(self.buffer) < octets:
            await self.more()

    def take(self, octets: int) -> bytes:
        """Octets from the buffer's start."""
        taken = bytes(self.buffer[:octets])
        del self.buffer[:octets]
        return taken

    async def more(self, octets: int = CHUNK) -> None:
        """Reads something into the buffer."""
        if self.tls is None:
            self.buffer += await self._receive(octets)
            return
        while True:
            try:
                plain = self.tls.read(octets)
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await self._receive(CHUNK))
                continue
            except ssl.SSLError as error:
                raise Gone(f"TLS: {error}") from error
            if not plain:
                raise Gone("the client ended TLS")
            self.buffer += plain
            return

    async def write(self, data: bytes) -> None:
        """Hands octets to the kernel."""
        if self.tls is None:
            await self.write_raw(data)
        elif data:
            self.tls.write(data)
            await self._flush()

    async def write_raw(self, data: bytes) -> None:
        """Octets beside TLS, if there is any."""
        try:
            await self._loop.sock_sendall(self._socket, data)
        except OSError as error:
            raise Gone(str(error)) from error

    async def handshake(self, context: ssl.SSLContext) -> None:
        """Turns to TLS; what the client sent before that is not for it, and is thrown away (RFC 3207 §5)."""
        self.buffer.clear()
        context.sni_callback = self._named
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await self._receive(CHUNK))
            except ssl.SSLError as error:
                with contextlib.suppress(Gone):
                    await self._flush()
                raise Gone(f"no TLS: {error}") from error
        await self._flush()
        self.tls = tls

    def _named(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.server_name = name

    async def _receive(self, octets: int) -> bytes:
        try:
            data = await self._loop.sock_recv(self._socket, octets)
        except OSError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("the client closed")
        return data

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self.write_raw(data)

    def hung_up(self) -> bool:
        """Whether the client closed, seen without reading."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))

    async def finish(self, seconds: float = 1.0) -> None:
        """FIN, then reads what the client still sends for a while: closing with octets unread would send RST instead."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(Gone, TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self._receive(CHUNK)
        self.close()

    async def say_goodbye(self) -> None:
        """TLS's close_notify, where there is TLS."""
        if self.tls is not None:
            with contextlib.suppress(ssl.SSLError, Gone):
                self.tls.unwrap()
            with contextlib.suppress(Gone):
                await self._flush()

    def reset(self) -> None:
        """RST: what was written and not yet delivered is lost."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Closes at once."""
        self._socket.close()
