"""Octets of a fuzzer as numbers, texts and pieces; small and stable, so that a kept input means the same for ever."""

from __future__ import annotations

from collections.abc import Iterator


class Reader:
    """Takes values from octets; when they are used up, numbers are 0 and texts are empty.

    Args:
        data: the octets.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many octets were not taken."""
        return len(self._data) - self._at

    @property
    def rest(self) -> bytes:
        """All that were not taken."""
        return self._data[self._at :]

    def rest_of(self, most: int) -> bytes:
        """The next octets, at most so many."""
        piece = self._data[self._at : self._at + most]
        self._at += len(piece)
        return piece

    def number(self, below: int) -> int:
        """A number from 0, out of two octets."""
        return int.from_bytes(self.rest_of(2), "big") % below

    def text(self, most: int) -> str:
        """A text of at most so many octets, of which the first octet says how many; what is no UTF-8 is replaced."""
        return self.rest_of(self.number(most + 1)).decode("utf-8", "replace")


def pieces(data: bytes) -> Iterator[bytes]:
    """The octets cut into pieces, at places that depend on nothing but them."""
    at, state = 0, len(data) * 2654435761 + 1
    while at < len(data):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        size = (1, 1, 2, 3, 7, 30, 200, 1000)[state >> 61]
        yield data[at : at + size]
        at += size
