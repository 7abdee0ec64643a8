"""A message's content as a value that can be read in parts: in memory when small, in a file or a spool when large.

Everybody who reads a message reads it through this one small interface, so that 50 MiB never have to be in memory at once. ``read`` may
block (a file behind it); ``in_memory`` says when it does not, so that the loop knows when to use a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

CHUNK = 256 * 1024


class Content(Protocol):
    """Bytes of known size that can be read from any position, from any thread, again and again."""

    @property
    def size(self) -> int:
        """The number of octets."""

    @property
    def in_memory(self) -> bool:
        """True when ``read`` returns at once."""

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        """Up to ``length`` octets from ``offset``, all that follow when ``length`` is negative; short only at the end.

        Raises: StorageDamaged when the stored bytes are not those that were kept; OSError when they cannot be read.
        """


class MemoryContent:
    """Content that is simply there."""

    __slots__ = ("_data",)
    in_memory = True

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        if offset == 0 and (length < 0 or length >= len(self._data)):
            return self._data
        return self._data[offset:] if length < 0 else self._data[offset : offset + length]


class JoinedContent:
    """A new beginning before the rest of another content: how an edited header and an untouched body make one message.

    Args:
        head: the new first octets.
        rest: what follows, from another content.
        skip: how many octets of ``rest`` the head replaces.
    """

    __slots__ = ("head", "rest", "skip")

    def __init__(self, head: bytes, rest: Content, skip: int) -> None:
        self.head = head
        self.rest = rest
        self.skip = skip

    @property
    def size(self) -> int:
        return len(self.head) + self.rest.size - self.skip

    @property
    def in_memory(self) -> bool:
        return self.rest.in_memory

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        end = self.size if length < 0 else min(self.size, offset + length)
        head = self.head[offset:end]
        start = max(offset - len(self.head), 0)
        wanted = end - offset - len(head)
        return head + self.rest.read(self.skip + start, wanted) if wanted > 0 else head


def chunks(content: Content, size: int = CHUNK) -> Iterator[bytes]:
    """The content in pieces of at most ``size`` octets, read one after the other."""
    offset = 0
    while piece := content.read(offset, size):
        yield piece
        offset += len(piece)
