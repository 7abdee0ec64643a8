"""Takes a message's content as it arrives: in memory up to a size, in the spool's own file beyond it.

So 50 MiB cost a few hundred KiB of memory, and a small message costs no file.
"""

from __future__ import annotations

from ...mail.content import Content, MemoryContent
from ...storage.base import ContentWriter, Spool

# How much is gathered before it goes to the file: fewer, larger writes.
GATHER = 256 * 1024


class Memory:
    """How much memory the contents under way may take together.

    One message may be small enough for memory, and ten thousand at once may not: beyond one limit each goes to disk as soon as a block of
    it is full, and beyond the other no new content is taken.

    Args:
        short: octets beyond which contents leave memory early.
        full: octets beyond which clients are asked to come later.
    """

    __slots__ = ("full", "short", "used")

    def __init__(self, short: int = 64 * 1024 * 1024, full: int = 512 * 1024 * 1024) -> None:
        self.short = short
        self.full = full
        self.used = 0

    @property
    def is_full(self) -> bool:
        """True when no new content should be taken."""
        return self.used > self.full

    @property
    def is_short(self) -> bool:
        """True when contents should leave memory."""
        return self.used > self.short


class Intake:
    """The content of one message while it comes.

    Args:
        spool: where a large one goes.
        prefix: what we put on top.
        in_memory: octets up to which it stays in memory.
        memory: what all contents under way share.
    """

    __slots__ = ("_gathered", "_in_memory", "_memory", "_pieces", "_prefix", "_spool", "_writer", "size")

    def __init__(self, spool: Spool, prefix: bytes, in_memory: int, memory: Memory) -> None:
        self._spool = spool
        self._in_memory = in_memory
        self._memory = memory
        self._pieces = [prefix]
        self._prefix = len(prefix)
        self._gathered = self.size = len(prefix)
        self._writer: ContentWriter | None = None
        memory.used += self._gathered

    @property
    def came(self) -> int:
        """Octets of content that the client sent."""
        return self.size - self._prefix

    def add(self, data: bytes) -> bool:
        """Takes octets; True when ``flush`` must be awaited before more come."""
        self._pieces.append(data)
        size = len(data)
        self._gathered += size
        self.size += size
        self._memory.used += size
        return self._gathered >= GATHER and (self._writer is not None or self.size > self._in_memory or self._memory.is_short)

    def start(self) -> bytes:
        """All octets so far, when none of them was flushed yet."""
        joined = b"".join(self._pieces)
        self._pieces = [joined]
        return joined

    async def flush(self) -> None:
        """Moves what was gathered to the spool's file. Raises StorageUnavailable."""
        if self._writer is None:
            self._writer = self._spool.writer()
        data = b"".join(self._pieces)
        self._let_go()
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
        self._let_go()
        if self._writer is not None:
            self._writer.abort()

    def _let_go(self) -> None:
        self._memory.used -= self._gathered
        self._pieces, self._gathered = [], 0
