"""Large contents: each in a file of its own, written while it arrives, durable before the journal refers to it.

A file in ``large/`` that no record names was never committed; it is removed when the spool is opened. The octets are checked in blocks of
256 KiB, whose checksums are in the journal, so that a part can be read and trusted without reading 50 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import zlib
from pathlib import Path

from ...errors import StorageUnavailable
from ...mail.content import CHUNK, Content
from .files import storage_error


class LargeFile:
    """A file that grows and keeps the checksums of its blocks; blocking.

    Args:
        folder: the folder of large contents.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = secrets.token_hex(12)
        self.size = 0
        self.kept = False
        self._checksums: list[int] = []
        self._descriptor = os.open(folder / self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        self.let_go()

    def checksums(self) -> bytes:
        """The checksums of all blocks, as a Place keeps them."""
        return b"".join(checksum.to_bytes(4, "little") for checksum in self._checksums)

    def add(self, data: bytes) -> None:
        """Adds octets at the end; all but the last call must end at a multiple of the block.

        Raises: OSError.
        """
        view = memoryview(data)
        self._checksums += [zlib.crc32(view[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
        while view:
            written = os.pwrite(self._descriptor, view, self.size)
            self.size += written
            view = view[written:]

    def fileno(self) -> int:
        """The descriptor, for syncing."""
        return self._descriptor

    def read(self, offset: int, length: int) -> bytes:
        """Octets of the file, while it is open."""
        return os.pread(self._descriptor, length, offset)

    def let_go(self) -> None:
        """Closes the file and leaves it where it is."""
        descriptor = getattr(self, "_descriptor", -1)
        self._descriptor = -1
        if descriptor >= 0:
            os.close(descriptor)

    def remove(self) -> None:
        """Deletes the file, unless it is kept; never raises."""
        if not self.kept:
            with contextlib.suppress(OSError):  # an orphan then; the next open removes it
                (self.folder / self.name).unlink(missing_ok=True)


class LargeContent:
    """A finished large content before and while it is committed."""

    __slots__ = ("file",)
    in_memory = False

    def __init__(self, file: LargeFile) -> None:
        self.file = file

    @property
    def size(self) -> int:
        return self.file.size

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        return self.file.read(offset, max(self.size - offset, 0) if length < 0 else length)

    def open_file(self) -> tuple[int, bytes] | None:
        """A new descriptor for reading, and the checksums of the blocks; None when the file has gone. Raises OSError."""
        try:
            return os.open(self.file.folder / self.file.name, os.O_RDONLY | os.O_CLOEXEC), self.file.checksums()
        except FileNotFoundError:
            return None


class LargeWriter:
    """Takes one large content from the loop and writes it in a thread, a block at a time.

    Args:
        folder: the folder of large contents.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: LargeFile | None = None
        self._buffer = bytearray()
        self._over = False

    async def write(self, data: bytes) -> None:
        if self._over:
            raise StorageUnavailable("this content was finished or aborted already")
        self._buffer += data
        whole = len(self._buffer) // CHUNK * CHUNK
        if whole:
            block = bytes(self._buffer[:whole])
            del self._buffer[:whole]
            await asyncio.to_thread(self._add, block)

    async def finish(self) -> Content:
        await asyncio.to_thread(self._add, bytes(self._buffer))
        self._buffer.clear()
        self._over = True
        assert self._file is not None
        return LargeContent(self._file)

    def abort(self) -> None:
        self._over = True
        self._buffer.clear()
        if self._file is not None:
            self._file.remove()

    def _add(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = LargeFile(self._folder)
            self._file.add(data)
            if self._over and self._file is not None:
                self._file.remove()  # aborted while this thread was at work
        except OSError as error:
            raise storage_error(error, "cannot write a large content") from error


def copy_to_file(content: Content, folder: Path) -> LargeFile:
    """Copies any content into a file of its own.

    Raises: OSError; StorageDamaged when the content cannot be read.
    """
    file = LargeFile(folder)
    try:
        offset = 0
        while piece := content.read(offset, CHUNK):
            file.add(piece)
            offset += len(piece)
    except BaseException:
        file.remove()
        raise
    return file
