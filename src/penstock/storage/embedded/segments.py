"""The files of the journal: numbered segments, spare ones for reuse, and the order in which they come and go.

A segment in use is ``journal/000000000012.segment``; a spare is ``journal/<any>.spare``. Making a segment writes its header, syncs it,
renames the file and syncs the directory, in this order: a file with a segment's name always has a whole header of its own, or nothing
acknowledged is in it.

A few spares are small. They are for removals alone, and no mail is taken without them: a spool that is full must be able to become empty,
also when each start of it needs a segment of its own.

Segments are freed strictly from the oldest. That is what makes the journal alone enough to rebuild everything: a removal is never
forgotten before the record that it removes.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ...errors import StorageError
from .files import NO_ROOM, SpoolFolder, storage_error, sync_directory
from .format import BLOCK, SegmentHeader
from .settings import EmbeddedSettings

_SUFFIX = ".segment"
_SPARE = ".spare"
_SMALLEST = 256 * 1024
_LEAST, _GREATEST = 32 * 1024, 1024 * 1024  # of the small ones
_ZEROS = bytes(1024 * 1024)
_KEPT_SPARES = 2
_KEPT_SMALL = 4


class Segment:
    """One open segment.

    The descriptor is closed when the last reader let go of the object, never under a reader's hands. ``retired`` is set before the file
    is written anew, so that octets read while it is still False are the right ones.
    """

    __slots__ = ("_descriptor", "header", "path", "retired")

    def __init__(self, path: Path, header: SegmentHeader) -> None:
        self.path = path
        self.header = header
        self.retired = False
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def fileno(self) -> int:
        """The descriptor, for writing and syncing."""
        return self._descriptor

    def read(self, offset: int, length: int) -> bytes:
        """Octets of the file; short at its end. From any thread."""
        return os.pread(self._descriptor, length, offset)


class Segments:
    """All segments of one spool. ``take`` and ``make_spare`` may run in different threads."""

    def __init__(self, folder: SpoolFolder, settings: EmbeddedSettings) -> None:
        self.size = settings.segment_size
        self._folder = folder
        self._settings = settings
        self._segments: dict[int, Segment] = {}
        self._spares: list[Path] = []
        self._small: list[Path] = []
        self._lock = threading.Lock()
        self.whole = False  # recovery saw the last batch before now, and it was whole
        self._last = 0
        self._made = 0

    def load(self) -> list[str]:
        """Opens what is there, and adapts the segment size to the room; one line for each damaged or missing segment."""
        damaged: list[str] = []
        spares: list[Path] = []
        for path in sorted(self._folder.journal.iterdir()):
            if path.suffix == _SPARE:
                spares.append(path)
            elif path.suffix == _SUFFIX:
                self._load_one(path, damaged)
        numbers = sorted(self._segments)
        missing = set(range(numbers[0], numbers[-1])) - set(numbers) if numbers else set()
        damaged += [f"journal segment {number} is missing or unreadable" for number in sorted(missing)]
        room = os.statvfs(self._folder.journal)
        total = room.f_bavail * room.f_frsize + sum(path.stat().st_size for path in self._folder.journal.iterdir())
        while self.size > _SMALLEST and self.size * 8 > total:
            self.size //= 2
        for path in spares:
            (self._spares if path.stat().st_size >= self.size else self._small).append(path)
        return damaged

    @property
    def small(self) -> int:
        """Octets of a small segment."""
        return min(max(self.size // 8, _LEAST), _GREATEST)

    def _load_one(self, path: Path, damaged: list[str]) -> None:
        number = int(path.stem) if path.stem.isdigit() else 0
        self._last = max(self._last, number)
        with path.open("rb") as file:
            header = SegmentHeader.unpack(file.read(BLOCK))
        if header is None or header.number != number:
            damaged.append(f"journal segment {path} has no whole header; set aside as {self._folder.set_aside_move(path)}")
        else:
            self._segments[number] = Segment(path, header)

    def get(self, number: int) -> Segment | None:
        """The segment with this number, or None when it was freed."""
        return self._segments.get(number)

    def all(self) -> list[Segment]:
        """The segments in use, the oldest first."""
        with self._lock:
            return [self._segments[number] for number in sorted(self._segments)]

    def spares(self) -> int:
        """How many spare files wait for reuse."""
        return len(self._spares)

    def take(self, first: int, room: int, opened: bool, mail: bool = True) -> Segment:
        """A new segment, durable and empty.

        Args:
            first: the sequence number of its first record; voids this and greater numbers in earlier segments.
            room: octets that must fit into it.
            opened: True for the first one after an open.
            mail: False when no new mail goes into it first; it may then be a small one.

        Raises: OSError.
        """
        with self._lock:
            path = self._file_for(room + BLOCK, mail)
            number = self._last + 1
            header = SegmentHeader(number, os.urandom(8), first, path.stat().st_size, opened, opened and self.whole)
            target = self._folder.journal / f"{number:012}{_SUFFIX}"
            try:
                segment = Segment(path, header)
                os.pwrite(segment.fileno(), header.pack(), 0)
                self._settings.sync(segment.fileno())
                path.rename(target)
                sync_directory(self._folder.journal)
            except OSError:
                # A name or header that may not be durable is not built upon.
                path.unlink(missing_ok=True)
                target.unlink(missing_ok=True)
                raise
            segment.path = target
            self._last = number
            self._segments[number] = segment
            return segment

    def make_spare(self) -> None:
        """Prepares a spare in advance, filled with zeros when the settings say so.

        Raises: OSError when there is no room for it.
        """
        path = self._make(self.size, self._settings.prewrite)
        with self._lock:
            self._spares.append(path)

    def keep_small(self) -> None:
        """Sees to it that the small spares are there.

        Raises: OSError when there is no room for them.
        """
        while len(self._small) < _KEPT_SMALL:
            path = self._make(self.small, prewrite=False)
            with self._lock:
                self._small.append(path)

    def free(self, segment: Segment) -> None:
        """Gives up the oldest segment: it becomes a spare, or is deleted when there are enough of them.

        Raises: StorageError.
        """
        with self._lock:
            if segment.header.number != min(self._segments):
                raise StorageError(f"segment {segment.path} is not the oldest")
            segment.retired = True
            del self._segments[segment.header.number]
            try:
                spares = self._fitting(segment.header.size)
                if spares is not None:
                    spare = segment.path.with_suffix(_SPARE)
                    segment.path.rename(spare)
                    # Before the file is written anew its old name must be gone for good.
                    sync_directory(self._folder.journal)
                    spares.append(spare)
                else:
                    segment.path.unlink()
            except OSError as error:
                raise storage_error(error, f"cannot free {segment.path}") from error

    def close(self) -> None:
        """Lets go of all files."""
        self._segments.clear()
        self._spares.clear()
        self._small.clear()

    def _fitting(self, size: int) -> list[Path] | None:
        """The spares that a file of this size joins, or None when there are enough of them."""
        if size == self.size:
            return self._spares if len(self._spares) < _KEPT_SPARES else None
        return self._small if size == self.small and len(self._small) < _KEPT_SMALL else None

    def _file_for(self, size: int, mail: bool) -> Path:
        """A file of at least this size; what is not mail makes do with less than a whole segment when that is all there is."""
        path = _first_of(self._spares, size) or (None if mail else _first_of(self._small, size))
        if path is not None:
            return path
        try:
            return self._make(max(self.size, size), prewrite=False)
        except OSError as error:
            if mail or error.errno not in NO_ROOM:
                raise
        return self._make(size, prewrite=False)

    def _make(self, size: int, prewrite: bool) -> Path:
        """A new file whose room is really there."""
        self._made += 1
        path = self._folder.journal / f"new-{os.getpid()}-{self._made}-{os.urandom(4).hex()}{_SPARE}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            if prewrite:
                for offset in range(0, size, len(_ZEROS)):
                    os.pwrite(descriptor, _ZEROS[: size - offset], offset)
            os.fsync(descriptor)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        return path


def _first_of(spares: list[Path], size: int) -> Path | None:
    """Takes the first file that is large enough out of the list."""
    for path in spares:
        if path.stat().st_size >= size:
            spares.remove(path)
            return path
    return None
