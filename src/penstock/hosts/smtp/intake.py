"""Takes a message's content as it arrives: in memory up to a size, in the spool's own file beyond it.

So 50 MiB cost a few hundred KiB of memory, and a small message costs no file.
"""

from __future__ import annotations

from ...mail.content import Content, MemoryContent
from ...storage.base import ContentWriter, Spool

# How much is gathered before it goes to the file: fewer, larger writes.
GATHER = 256 * 1024


class Intake:
    """The content of one message while it comes.

    Args:
        spool: where a large one goes.
        prefix: what we put on top.
        in_memory: octets up to which it stays in memory.
    """

    __slots__ = ("_gathered", "_in_memory", "_pieces", "_spool", "_writer", "size")

    def __init__(self, spool: Spool, prefix: bytes, in_memory: int) -> None:
        self._spool = spool
        self._in_memory = in_memory
        self._pieces = [prefix]
        self._gathered = self.size = len(prefix)
        self._writer: ContentWriter | None = None

    def add(self, data: bytes) -> bool:
        """Takes octets; True when ``flush`` must be awaited before more come."""
        self._pieces.append(data)
        self._gathered += len(data)
        self.size += len(data)
        return self._gathered >= GATHER and (self._writer is not None or self.size > self._in_memory)

    def start(self, limit: int) -> bytes:
        """The first octets, as far as they are still in memory."""
        joined = b"".join(self._pieces)
        if self._writer is None:
            self._pieces = [joined]
        return joined[:limit]

    async def flush(self) -> None:
        """Moves what was gathered to the spool's file. Raises StorageUnavailable."""
        if self._writer is None:
            self._writer = self._spool.writer()
        data = b"".join(self._pieces)
        self._pieces, self._gathered = [], 0
        if data:
            await self._writer.write(data)

    @property
    def spilled(self) -> bool:
        """True when the content is in a file, and ``finish`` has to wait."""
        return self._writer is not None

    def content(self) -> Content:
        """The whole content, when it is in memory."""
        return MemoryContent(b"".join(self._pieces))

    async def finish(self) -> Content:
        """The whole content, when it is in a file. Raises StorageUnavailable."""
        await self.flush()
        assert self._writer is not None
        return await self._writer.finish()

    def abort(self) -> None:
        """Gives up what came, or is not wanted after all."""
        self._pieces = []
        if self._writer is not None:
            self._writer.abort()
