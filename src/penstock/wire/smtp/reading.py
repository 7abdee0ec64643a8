"""What the next octets are when they are not a command: content, octets to swallow, or part of a verb's dialogue.

Each reading is an object made for the purpose and thrown away when it is done, so that a session in the middle of a BDAT chunk has no state
left over from a dialogue. A reading takes what there is and gives at most one happening; ``done`` says that commands follow.
"""

from __future__ import annotations

from typing import Protocol

from ...errors import RemoteProtocolError
from ...mail.reply import Reply
from .buffer import InputBuffer
from .content import ChunkDecoder, ContentRules, DataDecoder
from .happening import Block, Chunk, Line

# "A line that is too long" of a dialogue has a code of its own (RFC 4954 §4).
_LINE_TOO_LONG = RemoteProtocolError("dialogue line too long", 500, "5.5.6", "Line too long")


class Reading(Protocol):
    """One stretch of input that is not a command."""

    @property
    def done(self) -> bool:
        """True when nothing more belongs to this stretch."""

    def read(self, source: InputBuffer) -> Chunk | Line | Block | None:
        """Takes what it can use; None when there is nothing to tell, which without ``done`` means that more input is needed.

        Raises: RemoteProtocolError when the input breaks a dialogue; the line at hand is still there.
        """


class DataReading:
    """The content after a 354."""

    __slots__ = ("_decoder", "rules")

    def __init__(self, rules: ContentRules) -> None:
        self.rules = rules
        self._decoder = DataDecoder(rules)

    @property
    def done(self) -> bool:
        return self._decoder.ended

    def read(self, source: InputBuffer) -> Chunk | None:
        if not source:
            return None
        piece, used = self._decoder.feed(source.peek())
        source.drop(used)
        return Chunk(piece) if piece else None


class ChunkReading:
    """The octets of one BDAT (RFC 3030 §2).

    Args:
        rules: those of the whole message, which go on from chunk to chunk.
        size: how many octets follow the command.
        last: the command said LAST.
    """

    __slots__ = ("_decoder", "last", "left", "rules", "size")

    def __init__(self, rules: ContentRules, size: int, last: bool) -> None:
        self.rules = rules
        self.size = size
        self.left = size
        self.last = last
        self._decoder = ChunkDecoder(rules)

    @property
    def done(self) -> bool:
        return self.left == 0

    def read(self, source: InputBuffer) -> Chunk | None:
        raw = source.take(self.left)
        self.left -= len(raw)
        piece = self._decoder.feed(raw)
        if self.last and self.done:
            self.rules.finish()
        return Chunk(piece) if piece else None


class Swallowing:
    """The octets of a BDAT that was refused: "MUST accept and discard the associated message data before sending" the reply (RFC 3030 §2).

    Args:
        size: how many octets follow the command.
        verdict: a reply to send afterwards, or the error that the command was.
        line: the command, for the record.
        times: how often the reply is sent; LMTP wants one for each recipient after a BDAT LAST (RFC 2033 §4.3).
    """

    __slots__ = ("left", "line", "times", "verdict")

    def __init__(self, size: int, verdict: Reply | RemoteProtocolError, line: str, times: int = 1) -> None:
        self.left = size
        self.verdict = verdict
        self.line = line
        self.times = times

    @property
    def done(self) -> bool:
        return self.left == 0

    def read(self, source: InputBuffer) -> None:
        self.left -= source.drop(self.left)


class LineReading:
    """One line that a verb asked for.

    Args:
        limit: octets that it may have with its CRLF.
    """

    __slots__ = ("done", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.done = False

    def read(self, source: InputBuffer) -> Line | None:
        try:
            line = source.take_line(self.limit)
        except RemoteProtocolError as error:
            raise _LINE_TOO_LONG if error.what == "line too long" else error from None
        self.done = line is not None
        return Line(bytes(line)) if line is not None else None


class BlockReading:
    """Octets that a verb asked for.

    Args:
        size: how many.
    """

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    @property
    def done(self) -> bool:
        return self.left == 0

    def read(self, source: InputBuffer) -> Block | None:
        piece = source.take(self.left)
        self.left -= len(piece)
        return Block(piece, self.left) if piece else None
