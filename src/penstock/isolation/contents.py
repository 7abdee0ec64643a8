"""Contents that go to another process without going through its socket: as a descriptor of memory, or of the spool's own file.

The file of the spool is opened anew, for reading only, and its checksums go with it, so that a damaged block is noticed where it is read.
What comes back from a sink process is taken only as memory that was sealed: nobody can change or shorten it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import zlib
from typing import Protocol, runtime_checkable

from ..errors import StorageDamaged
from ..mail.content import CHUNK, Content, MemoryContent, chunks
from .frames import INLINE, ContentFrame

# A sink may make of a message what it wants; larger than this nobody takes it.
MOST_CONTENT = 1024 * 1024 * 1024
# Copying so much takes a fraction of a millisecond, less than going to a thread.
_AT_ONCE = 256 * 1024
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@runtime_checkable
class InFile(Protocol):
    """A content that may have a file of its own."""

    def open_file(self) -> tuple[int, bytes] | None:
        """A new descriptor for reading, of a file that holds this content and nothing else, and the checksums of its blocks of 256 KiB.

        None where there is no such file. Raises OSError.
        """


class DescriptorContent:
    """A content behind a descriptor.

    Args:
        descriptor: to read from; belongs to this object.
        size: in octets.
        checksums: of its blocks, as the spool keeps them; "" for none.
    """

    __slots__ = ("_checksums", "_descriptor", "in_memory", "size")

    def __init__(self, descriptor: int, size: int, checksums: bytes = b"") -> None:
        self._descriptor = descriptor
        self._checksums = checksums
        self.size = size
        self.in_memory = False

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        end = self.size if length < 0 else min(self.size, offset + length)
        if offset >= end:
            return b""
        if not self._checksums:
            return self._exactly(offset, end)
        first, last = offset // CHUNK, (end - 1) // CHUNK
        data = self._exactly(first * CHUNK, min((last + 1) * CHUNK, self.size))
        view = memoryview(data)
        for number in range(first, last + 1):
            block = view[(number - first) * CHUNK : (number - first + 1) * CHUNK]
            if zlib.crc32(block).to_bytes(4, "little") != self._checksums[4 * number : 4 * number + 4]:
                raise StorageDamaged(f"a large content is damaged at {number * CHUNK}")
        return data[offset - first * CHUNK : end - first * CHUNK]

    def open_file(self) -> tuple[int, bytes] | None:
        """As ``InFile`` says."""
        return os.dup(self._descriptor), self._checksums

    def check_sealed(self) -> None:
        """Raises ValueError unless it is memory that nobody can change any more, and of the size that was said."""
        try:
            sealed = fcntl.fcntl(self._descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
        except OSError:
            sealed = False
        if not sealed or os.fstat(self._descriptor).st_size != self.size or self.size > MOST_CONTENT:
            raise ValueError("a content came that is not sealed, or not of the size that was said")

    def _exactly(self, start: int, end: int) -> bytes:
        pieces = []
        while start < end:
            piece = os.pread(self._descriptor, end - start, start)
            if not piece:
                raise StorageDamaged("a large content is shorter than it was")
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self._descriptor)


def give_at_once(content: Content, descriptors: list[int]) -> ContentFrame | None:
    """The content for another process, with its descriptor added to the others; None when that would take too long for the loop.

    Raises: OSError.
    """
    if not content.in_memory:
        opened = content.open_file() if isinstance(content, InFile) else None
        if opened is None:
            return None
        descriptors.append(opened[0])
        return ContentFrame(content.size, None, len(descriptors) - 1, opened[1])
    return None if content.size > _AT_ONCE else _copied(content, descriptors)


async def give(content: Content, descriptors: list[int]) -> ContentFrame:
    """As ``give_at_once``, in a thread where it takes long. Raises OSError, StorageDamaged."""
    at_once = give_at_once(content, descriptors)
    return at_once if at_once is not None else await asyncio.to_thread(_copied, content, descriptors)


def give_blocking(content: Content, descriptors: list[int]) -> ContentFrame:
    """As ``give``, for who may wait. Raises OSError, StorageDamaged."""
    return _copied(content, descriptors)


def take(frame: ContentFrame, descriptors: list[int]) -> Content:
    """The content of a frame that the server sent; takes its descriptor out of the list by putting -1 there. Raises ValueError."""
    if frame.data is not None:
        return MemoryContent(frame.data)
    if not 0 <= frame.descriptor < len(descriptors) or descriptors[frame.descriptor] < 0:
        raise ValueError("a content names a descriptor that is not there")
    descriptor, descriptors[frame.descriptor] = descriptors[frame.descriptor], -1
    return DescriptorContent(descriptor, frame.size, frame.checksums)


def take_sealed(frame: ContentFrame, descriptors: list[int]) -> Content:
    """The content of a frame that a sink process sent, if it is one that cannot change any more. Raises ValueError."""
    if frame.data is not None:
        return MemoryContent(frame.data)
    content = take(ContentFrame(frame.size, None, frame.descriptor), descriptors)
    assert isinstance(content, DescriptorContent)
    content.check_sealed()
    return content


def _copied(content: Content, descriptors: list[int]) -> ContentFrame:
    if content.size <= INLINE:
        return ContentFrame(content.size, content.read())
    descriptor = os.memfd_create("penstock-content", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for piece in chunks(content):
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    descriptors.append(descriptor)
    return ContentFrame(content.size, None, len(descriptors) - 1)
