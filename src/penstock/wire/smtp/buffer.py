"""What was received and not yet parsed: one bytearray with a reading position.

A line ends with CRLF and nothing else: "Conforming implementations MUST NOT recognize or generate any other character or character sequence
as a line terminator" (RFC 5321 §2.3.8). A bare LF spoils its line at once, so that somebody who types into ``nc`` is told what is wrong;
everything up to the next CRLF belongs to the spoilt line. Rejected: taking LF as a line end, which is how commands are smuggled in.

Whatever is kept is kept once; what is behind the position is dropped when the next octets arrive, one cheap deletion for each read.
"""

from __future__ import annotations

from ...errors import RemoteProtocolError

_CR = 13
# How much of a spoilt line is worth showing to somebody.
_SHOWN = 100


class InputBuffer:
    """Received octets, taken as lines or as blocks."""

    __slots__ = ("_data", "_position", "_skipping")

    def __init__(self) -> None:
        self._data = bytearray()
        self._position = 0
        self._skipping = False

    def __len__(self) -> int:
        return len(self._data) - self._position

    def append(self, data: bytes) -> None:
        """Adds what was received."""
        if self._position:
            del self._data[: self._position]
            self._position = 0
        self._data += data

    def take_line(self, limit: int) -> bytearray | None:
        """The next line without its CRLF, or None while it is incomplete.

        Args:
            limit: octets that the line may have, its CRLF included.

        Raises: RemoteProtocolError for a line that is too long or has a bare LF; nothing is taken, and ``skip_line`` gets past it.
        """
        if self._skipping and not self._skip():
            return None
        data, start = self._data, self._position
        end = data.find(b"\n", start, start + limit)
        if end < 0:
            if len(data) - start < limit:
                return None
            raise RemoteProtocolError("line too long", 500, "5.5.2", "Line too long")
        if end == start or data[end - 1] != _CR:
            raise RemoteProtocolError("bare LF in a command", 500, "5.5.2", "Lines must end with CRLF, not with LF alone")
        self._position = end + 1
        return data[start : end - 1]

    def skip_line(self) -> str:
        """Gives up the line at hand up to its CRLF, received or not, and returns its beginning for the record."""
        start = self._position
        shown = self._data[start : start + _SHOWN].partition(b"\n")[0]
        self._skipping = True
        return shown.decode("utf-8", "replace")

    def _skip(self) -> bool:
        end = self._data.find(b"\r\n", self._position)
        if end >= 0:
            self._position = end + 2
            self._skipping = False
        else:
            # A CR at the very end may be the first half of the CRLF.
            self._position = len(self._data) - self._data.endswith(b"\r")
        return end >= 0

    def starts_with(self, octet: int) -> bool:
        """True when the next octet, already received, is this one."""
        return len(self) > 0 and self._data[self._position] == octet and not self._skipping

    def begins(self, word: bytes) -> bool:
        """True when the line at hand begins with this word, which is in upper case, in any case."""
        return not self._skipping and self._data[self._position : self._position + len(word)].upper() == word

    def peek(self) -> bytes:
        """Everything received, left where it is."""
        return bytes(self._data[self._position :] if self._position else self._data)

    def take(self, limit: int) -> bytes:
        """Up to ``limit`` octets, as many as there are."""
        piece = bytes(self._data[self._position : self._position + limit])
        self._position += len(piece)
        return piece

    def drop(self, limit: int) -> int:
        """Drops up to ``limit`` octets unread and says how many there were."""
        count = min(limit, len(self))
        self._position += count
        return count

    def clear(self) -> None:
        """Forgets everything received."""
        self._data.clear()
        self._position = 0
        self._skipping = False
