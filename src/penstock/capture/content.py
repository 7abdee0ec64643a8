"""One message's content while it is captured: as many octets as are kept, and how many there were."""

from __future__ import annotations

import re

from .redact import Redaction

_END = b".\r\n"
_SIZE = re.compile(rb"(BDAT )([0-9]+)((?: LAST)?\r\n)\Z", re.IGNORECASE)


class Gathered:
    """What came of a content, as it came: with dots, or in chunks.

    Args:
        limit: octets that are kept.
        bdat: the command of the first chunk, for content that comes with BDAT; None for DATA.
        continued: True when the beginning of the content was gathered before, and this is its body.
    """

    def __init__(self, limit: int, bdat: bytes | None = None, continued: bool = False) -> None:
        self._limit = limit
        self._continued = continued
        self._pieces: list[bytes] = []
        self._chunks: list[tuple[bytes, int]] | None = None if bdat is None else [(bdat, 0)]
        self.size = self.kept = 0

    def add(self, read: bytes, data: bytes) -> None:
        """Takes octets.

        Args:
            read: as they came.
            data: the content among them; with BDAT the end of ``read``, behind the commands.
        """
        piece = read
        if self._chunks is not None:
            command, piece = read[: len(read) - len(data)], data
            if command and (self._chunks[-1][1] or self._chunks[-1][0]):
                self._chunks.append((command, 0))
            elif command:
                self._chunks[-1] = (command, 0)
            line, size = self._chunks[-1]
            self._chunks[-1] = (line, size + len(data))
        self.size += len(piece)
        room = self._limit - self.kept
        if room > 0 and piece:
            self._pieces.append(piece[:room])
            self.kept += min(len(piece), room)

    def redacted(self, redaction: Redaction, whole: bool) -> tuple[bytes, int]:
        """What is written down, and how many octets of the content are left out.

        Args:
            redaction: what is taken out.
            whole: whether the content came to its end.
        """
        kept = b"".join(self._pieces)
        return self._dotted(kept, redaction, whole) if self._chunks is None else self._chunked(kept, redaction, self._chunks)

    def _dotted(self, kept: bytes, redaction: Redaction, whole: bool) -> tuple[bytes, int]:
        end = _END if whole else b""
        size = self.size - len(end)
        kept, left_out = self._shown(kept[:size], size, redaction)
        return kept + end, left_out

    def _chunked(self, kept: bytes, redaction: Redaction, chunks: list[tuple[bytes, int]]) -> tuple[bytes, int]:
        """The chunks with their commands; what pseudonyms made longer or shorter is the last one's."""
        shown, left_out = self._shown(kept, self.size, redaction)
        rest, at = [], 0
        for number, (command, size) in enumerate(chunks, 1):
            piece = shown[at:] if number == len(chunks) else shown[at : at + size]
            more = left_out if number == len(chunks) else 0
            rest += [_resized(command, len(piece) + more - size), piece]
            at += len(piece)
        return b"".join(rest), left_out

    def _shown(self, kept: bytes, size: int, redaction: Redaction) -> tuple[bytes, int]:
        """The content with what must go taken out, cut at the end of a line where not all of it is there."""
        if len(kept) < size:
            kept = kept[: kept.rfind(b"\n") + 1]
        shown = redaction.body(kept) if self._continued else redaction.content(kept)
        dropped = redaction.bodies == "drop"
        # Where only the header is kept, it has its own length; all else kept its length, but for pseudonyms.
        return shown, size - len(shown) if dropped and len(shown) < size else size - len(kept)


def _resized(command: bytes, by: int) -> bytes:
    """A BDAT command whose chunk became longer or shorter."""
    return _SIZE.sub(lambda found: found[1] + b"%d" % (int(found[2]) + by) + found[3], command) if by else command


def filled(octets: bytes, missing: int, dotted: bool) -> bytes:
    """A content to be sent again, with lines of filler for what was left out.

    Args:
        octets: what was kept.
        missing: how many octets were not.
        dotted: True when it came with DATA, and ends with a dot.
    """
    if not missing:
        return octets
    end = _END if dotted and octets.endswith(_END) else b""
    lines = (b"x" * 76 + b"\r\n") * (missing // 78 + 1)
    filler = lines[:missing]
    if missing >= 2:
        filler = filler[:-2] + b"\r\n"
    return octets[: len(octets) - len(end)] + filler + end
