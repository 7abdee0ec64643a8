"""Servers that mean harm: what they say is never more than text, and no more of it is kept than there is room for."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from delivery.stand import Stand, hop_settings, sent
from penstock import Sink, on
from penstock.events import SessionStart

FLOOD = 64 * 1024 * 1024
# What the kernel keeps of a connection at both ends, with room to spare.
KERNEL = 24 * 1024 * 1024


class Talker:
    """A server that takes everything and then talks without end; ``written`` is how much of that it could get rid of.

    Args:
        after: the verb behind whose answer it begins to talk.
    """

    def __init__(self, after: str) -> None:
        self._after = after
        self.written = 0
        self.talking = asyncio.Event()

    async def __aenter__(self) -> Talker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        with contextlib.suppress(OSError):
            writer.write(b"220 talker.example\r\n")
            while line := await reader.readline():
                verb = line[:4].upper().decode()
                if verb == "DATA":
                    writer.write(b"354 go on\r\n")
                    while await reader.readline() not in (b".\r\n", b""):
                        pass
                writer.write(b"250 2.0.0 yes\r\n")
                if verb == self._after:
                    await self._talk(writer)
            writer.close()

    async def _talk(self, writer: asyncio.StreamWriter) -> None:
        # After its answer was heard, so that it is nobody's.
        await asyncio.sleep(0.05)
        self.talking.set()
        line = b"250-" + b"x" * 60_000 + b"\r\n"
        while self.written < FLOOD:
            writer.write(line)
            await writer.drain()
            self.written += len(line)


async def test_an_idle_session_does_not_listen_without_end() -> None:
    """Nobody looks at what a server says between two messages, so it must not be kept."""
    async with Talker("DATA") as remote, Stand(f"[127.0.0.1]:{remote.port}", settings=hop_settings(idle=1.0)) as stand:
        assert sent(await stand.deliver(stand.mail()))
        await asyncio.wait_for(remote.talking.wait(), 5)
        await stand.until(lambda: not stand.destination.sessions, "the session is over")
        assert remote.written < KERNEL


async def test_what_a_server_says_while_a_sink_thinks_is_not_all_kept() -> None:
    """A sink may take its time."""

    class Thinks(Sink):
        @on(SessionStart)
        async def think(self, event: SessionStart) -> None:
            await asyncio.sleep(1.0)

    async with Talker("EHLO") as remote, Stand(f"[127.0.0.1]:{remote.port}", Thinks()) as stand:
        results = await stand.deliver(stand.mail())
        assert not sent(results)
        assert remote.written < KERNEL


async def test_a_server_that_is_slow_to_be_read_is_read_to_its_end() -> None:
    """Holding back is not giving up: an answer that is longer than what may wait is heard whole."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(b"220 far.example\r\n")
            while line := await reader.readline():
                if line[:4].upper() == b"EHLO":
                    for _ in range(2_000_000 // 1000):
                        writer.write(b"250-X" + b"x" * 900 + b"\r\n")
                elif line[:4].upper() == b"DATA":
                    writer.write(b"354 go on\r\n")
                    while await reader.readline() not in (b".\r\n", b""):
                        pass
                writer.write(b"250 2.0.0 yes\r\n")
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Stand(f"[127.0.0.1]:{server.sockets[0].getsockname()[1]}") as stand:
        assert sent(await stand.deliver(*(stand.mail() for _ in range(3))))
