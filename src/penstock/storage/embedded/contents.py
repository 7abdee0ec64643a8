"""The contents that the young refer to: how many do, what the index must still learn of them, and which of them are in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ...mail.content import MemoryContent
from .format import Place
from .items import Position, Stored


class Contents(dict[str, Stored]):
    """The young contents, by id; only the loop's thread changes it.

    Args:
        cache_size: at most so many octets stay in memory.
    """

    def __init__(self, cache_size: int) -> None:
        super().__init__()
        self._dirty: dict[str, Stored] = {}  # what the index does not know, in order of the sequence numbers
        self._cache: OrderedDict[str, int] = OrderedDict()
        self._cached = 0
        self._cache_size = cache_size

    def pin(self, content_id: str, indexed: bool) -> Stored:
        """The content with one more young reference."""
        stored = self.get(content_id)
        if stored is None:
            stored = self[content_id] = Stored(content_id, indexed)
        stored.pins += 1
        return stored

    def unpin(self, stored: Stored) -> bool:
        """Takes one reference back; True when it was the last young one. Whether it was the last of all the index may know."""
        stored.pins -= 1
        if stored.pins:
            return False
        del self[stored.id]
        self._dirty.pop(stored.id, None)
        self._cached -= self._cache.pop(stored.id, 0)
        return True

    def found(self, stored: Stored, place: Place, sequence: int) -> None:
        """Notes where a content is; the index does not know it yet. Called in order of the sequence numbers."""
        stored.place, stored.sequence = place, sequence
        self._dirty.pop(stored.id, None)
        self._dirty[stored.id] = stored

    def newer(self, content_id: str, segment: int) -> bool:
        """True when a content has been written again since it was written to the segment, or is being so."""
        stored = self.get(content_id)
        if stored is None:
            return False
        return stored.place.segment != segment if stored.place is not None else stored.data is not None

    def keep_in_memory(self, stored: Stored, data: bytes | None) -> None:
        """Keeps a young content in memory; the oldest ones make room, and are read from the journal from then on."""
        self._cached -= self._cache.pop(stored.id, 0)
        if data is None:
            stored.data = None
            return
        stored.data = MemoryContent(data)
        self._cache[stored.id] = len(data)
        self._cached += len(data)
        while self._cached > self._cache_size:
            oldest, size = self._cache.popitem(last=False)
            self._cached -= size
            self[oldest].data = None

    def take_dirty(self, wanted: set[str], upto: Position) -> list[Stored]:
        """The contents that the index must learn of: those that are wanted, and all that were written before ``upto``.

        An entry that was put again stays behind ``upto`` with a content that was written before it.
        """
        contents = [self._dirty[content_id] for content_id in wanted if content_id in self._dirty]
        for stored in self._dirty.values():
            if stored.sequence >= upto.sequence:
                break
            if stored.id not in wanted:
                contents.append(stored)
        for stored in contents:
            stored.indexed = True
            del self._dirty[stored.id]
        return contents

    def make_dirty(self, contents: Iterable[Stored]) -> None:
        """Gives back what was taken, as far as it still lives."""
        newer = self._dirty
        again = [stored for stored in contents if self.get(stored.id) is stored and stored.id not in newer]
        self._dirty = {stored.id: stored for stored in sorted(again, key=lambda stored: stored.sequence)} | newer
