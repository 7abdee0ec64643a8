"""Reading contents back from the disk: in blocks, each checked, wherever the content is at that moment.

A content can be moved to a younger segment while somebody reads it. So a read that finds its segment retired, or octets that do not match,
asks once more where the content is; only octets that are wrong at their present place are damage.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable

from ...errors import StorageDamaged
from ...mail.content import CHUNK
from .files import SpoolFolder
from .format import Place
from .segments import Segments


class ContentStore:
    """Where contents are read from, for all StoredContents of a spool.

    Args:
        folder: the spool's folder.
        segments: its segments.
        locate: tells from any thread where a content is now, or None when it is gone.
    """

    def __init__(self, folder: SpoolFolder, segments: Segments, locate: Callable[[str], Place | None]) -> None:
        self.folder = folder
        self.segments = segments
        self.locate = locate

    def fetch(self, place: Place, start: int, length: int) -> bytes | None:
        """Octets of a content, unchecked; None when its segment was freed.

        Raises: OSError.
        """
        if place.file:
            descriptor = os.open(self.folder.large / place.file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(descriptor, length, start)
            finally:
                os.close(descriptor)
        segment = self.segments.get(place.segment)
        if segment is None:
            return None
        data = segment.read(place.offset + start, length)
        return None if segment.retired else data

    def set_aside(self, content_id: str, place: Place) -> str:
        """Keeps the damaged octets of a content in ``damaged/``; the path, or "" when nothing could be kept."""
        try:
            if place.file:
                return self.folder.set_aside_link(self.folder.large / place.file)
            data = self.fetch(place, 0, place.size)
        except OSError:
            return ""
        name = f"content-{content_id}@{place.segment}-{place.offset}"
        return self.folder.set_aside_bytes(name, data) if data else ""


class StoredContent:
    """A Content in the journal or in a file of its own."""

    __slots__ = ("_id", "_place", "_store")
    in_memory = False

    def __init__(self, store: ContentStore, content_id: str, place: Place) -> None:
        self._store = store
        self._id = content_id
        self._place = place

    @property
    def size(self) -> int:
        return self._place.size

    @property
    def place(self) -> Place:
        """Where it was last found."""
        return self._place

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        end = self.size if length < 0 else min(self.size, offset + length)
        if offset >= end:
            return b""
        first, last = offset // CHUNK, (end - 1) // CHUNK
        data = self._blocks(first, last)
        return data[offset - first * CHUNK : end - first * CHUNK]

    def open_file(self) -> tuple[int, bytes] | None:
        """A new descriptor to read, and the checksums of the blocks, when the content has a file of its own; else None. Raises OSError."""
        place = self._place
        if not place.file:
            return None
        return os.open(self._store.folder.large / place.file, os.O_RDONLY | os.O_CLOEXEC), place.checksums

    def _blocks(self, first: int, last: int) -> bytes:
        start = first * CHUNK
        length = min((last + 1) * CHUNK, self.size) - start
        while True:
            place = self._place
            reason = "damaged"
            try:
                data = self._store.fetch(place, start, length)
            except FileNotFoundError:
                data, reason = None, "gone"
            if data is not None and _whole(data, length, place.checksums[first * 4 : (last + 1) * 4]):
                return data
            now = self._store.locate(self._id)
            if now is None or now == place:
                break
            self._place = now
        where = f"large/{place.file}" if place.file else f"journal segment {place.segment} at {place.offset}"
        raise StorageDamaged(f"content {self._id} in {where} is {reason}", self._store.set_aside(self._id, place))


class Restated(StoredContent):
    """A large content whose file stays, named again by a younger record so that the older record may go."""

    __slots__ = ()


def _whole(data: bytes, length: int, checksums: bytes) -> bool:
    if len(data) != length:
        return False
    view = memoryview(data)
    sums = (zlib.crc32(view[at : at + CHUNK]) for at in range(0, length, CHUNK))
    return all(checksum == int.from_bytes(checksums[4 * number : 4 * number + 4], "little") for number, checksum in enumerate(sums))
