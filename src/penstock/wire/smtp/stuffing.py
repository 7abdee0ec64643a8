"""Content on its way out: line ends that are line ends, a dot before each dot that begins a line, and the end after it.

Never a bare CR or LF on the wire: a server that takes ``\\n.\\n`` for the end of data would find a second message in the first ("SMTP
smuggling"), and clients "MUST NOT transmit these characters except when they are intended as line terminators" (RFC 5321 §2.3.8). A bare LF
is meant as a line end, as in every file on Unix, and becomes CRLF. A bare CR is not: nobody has ended lines with it for twenty years, and
in ``\\r\\r\\n``, where it mostly comes from, a second CRLF would end the header section early; it becomes a space, as in Postfix. Rejected:
a space for both (Postfix's cleanup_replace_stray_cr_lf), which would make one line of a message that somebody composed with LF.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...errors import LocalProtocolError
from .content import ContentRules
from .limits import Limits

_BARE_CR = re.compile(rb"\r(?!\n)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_NO_OTHER_RULES = Limits(message_size=0, text_line=0)


def content_problem(pieces: Iterable[bytes]) -> bool:
    """True when content has a bare CR or LF, so that a host that does not want it changed can find out before it sends MAIL."""
    watch = NewlineWatch()
    for piece in pieces:
        watch.look(piece)
    watch.finish()
    return watch.found


class NewlineWatch:
    """Looks for bare CR and LF in content that comes in pieces."""

    __slots__ = ("_rules",)

    def __init__(self) -> None:
        self._rules = ContentRules(_NO_OTHER_RULES)

    def look(self, data: bytes) -> None:
        """Looks at the next octets."""
        self._rules.look(data)

    def finish(self) -> None:
        """Looks at the end."""
        self._rules.finish()

    @property
    def found(self) -> bool:
        """True when there was one; of a CR at the end so far it is not known yet."""
        return self._rules.refusal is not None


class LineEnds:
    """Gives content with every line end CRLF; for DATA the machine does it, for BDAT the host must, as the size is said first."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        # A CR at the end of a piece may be half of a CRLF.
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The next octets, without a CR at their end, which comes with what follows."""
        if not data:
            return b""
        data = self._held + data
        self._held = b""
        if data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        ends = data.count(b"\r\n")
        if data.count(b"\n") != ends:
            data = _BARE_LF.sub(b"\r\n", data)
        if data.count(b"\r") != data.count(b"\r\n"):
            data = _BARE_CR.sub(b" ", data)
        return data

    def finish(self) -> bytes:
        """What is left at the end: a space for a CR that nothing followed."""
        held, self._held = self._held, b""
        return b" " if held else b""


class Stuffing:
    """Content as it goes over the wire after a 354 (RFC 5321 §4.5.2).

    Args:
        convert: bare CR and LF are converted; otherwise they are refused.
    """

    __slots__ = ("_at_line_start", "_ends", "_watch")

    def __init__(self, convert: bool) -> None:
        self._ends = LineEnds()
        self._watch = None if convert else NewlineWatch()
        # Content begins as if after a CRLF: that of the DATA command.
        self._at_line_start = True

    def feed(self, data: bytes) -> bytes:
        """The next octets, stuffed; a CR at their end is held back.

        Raises: LocalProtocolError for a bare CR or LF when they are not to be converted; nothing of ``data`` may be sent then.
        """
        if self._watch is not None:
            self._watch.look(data)
            self._check(self._watch)
        return self._stuff(self._ends.feed(data))

    def finish(self) -> bytes:
        """What ends the content: a CRLF when its last line has none, and the line with the dot.

        Raises: LocalProtocolError as ``feed`` does, for a CR at the very end.
        """
        if self._watch is not None:
            self._watch.finish()
            self._check(self._watch)
        tail = self._stuff(self._ends.finish())
        return tail + (b".\r\n" if self._at_line_start else b"\r\n.\r\n")

    def _stuff(self, data: bytes) -> bytes:
        if not data:
            return b""
        dot = b"." if self._at_line_start and data.startswith(b".") else b""
        self._at_line_start = data.endswith(b"\r\n")
        return dot + data.replace(b"\r\n.", b"\r\n..")

    @staticmethod
    def _check(watch: NewlineWatch) -> None:
        if watch.found:
            raise LocalProtocolError("content has a bare CR or LF, which may not be sent")
