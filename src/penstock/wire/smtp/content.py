"""Message content as it arrives, by chunk and never by line: exact for any split, and one pass of C per question.

DATA ends with CRLF.CRLF and with nothing that looks like it. Servers that also took ``\\n.\\n`` or ``\\r\\n.\\n`` for the end let strangers
put a second message into somebody's first ("SMTP smuggling"); here such octets are content, and content with a bare CR or LF is refused by
default, so that it cannot smuggle on the next hop either: clients "MUST NOT transmit these characters except when they are intended as line
terminators" (RFC 5321 §2.3.8). Refused content is counted and swallowed up to its end, so that the session stays in step; nothing is kept.

Accepted on purpose: NUL, since "the mail data may contain any of the 128 ASCII character codes" (RFC 5321 §4.1.1.4); and octets above 127
without BODY=8BITMIME, as Postfix does, since refusing them costs mail and protects nobody.
"""

from __future__ import annotations

import re
from typing import Literal

from ...mail.reply import Reply
from .limits import Limits

BareNewlines = Literal["refuse", "accept"]

TOO_BIG = Reply(552, "5.3.4", "Message is larger than the limit")
# 5.6.11 is not registered, but it is what Exchange Online and others say for exactly this, so administrators find it.
BARE_NEWLINE = Reply(550, "5.6.11", "Message has a bare CR or LF; lines must end with CRLF")
LINE_TOO_LONG = Reply(554, "5.6.0", "Message has a line longer than 998 octets")

_END = b"\r\n.\r\n"
# The proper prefixes of the end of data, longest first: what the end of one read may be holding.
_PREFIXES = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
_TEXT = bytes(octet for octet in range(256) if octet not in b"\r\n")
_BARE_CR = re.compile(rb"\r(?!\n)")


class ContentRules:
    """Looks at content octets in order and remembers which rules they broke; binary content has no lines (RFC 3030 §3).

    All rules go on being looked at after one was broken: which one is named then does not depend on how the octets were split.

    Args:
        limits: of these ``message_size`` and ``text_line``.
        bare_newlines: "refuse", or "accept" to let bare CR and LF through; a line then ends at any LF when its length is measured.
    """

    __slots__ = ("_after_cr", "_bare", "_column", "_line", "_long", "_most", "_refuse_bare", "size")

    def __init__(self, limits: Limits, bare_newlines: BareNewlines = "refuse", binary: bool = False) -> None:
        self._most = 0 if limits.asks_size else limits.message_size
        self._line = 0 if binary else limits.text_line
        self._refuse_bare = bare_newlines == "refuse"
        self.size = 0
        self._column = 0
        self._after_cr = self._bare = self._long = False

    def look(self, data: bytes) -> None:
        """Looks at the next octets of content."""
        self.size += len(data)
        if self._refuse_bare and not self._bare:
            self._look_for_bare(data)
        if self._line and not self._long:
            self._measure_lines(data)

    def finish(self) -> None:
        """Looks at the end: a CR that nothing followed is a bare one."""
        self._bare = self._bare or self._after_cr

    @property
    def refusal(self) -> Reply | None:
        """The reply that the content deserves so far, or None."""
        if self._most and self.size > self._most:
            return TOO_BIG
        if self._bare:
            return BARE_NEWLINE
        return LINE_TOO_LONG if self._long else None

    def _look_for_bare(self, data: bytes) -> None:
        # With everything but CR and LF deleted, CRLFs and nothing else must be left; then a CR that no LF follows is all that can be wrong.
        # Faster than three counts. A CRLF that two reads share is cut off both.
        ends = data.translate(None, _TEXT)
        if self._after_cr and data:
            self._bare = not data.startswith(b"\n")
            self._after_cr = False
            ends = ends[1:]
        if data.endswith(b"\r"):
            self._after_cr = True
            ends = ends[:-1]
        if ends != b"\r\n" * (len(ends) // 2) or _BARE_CR.search(data, 0, len(data) - self._after_cr):
            self._bare = True

    def _measure_lines(self, data: bytes) -> None:
        # From a line's start, the last LF within the limit is the furthest point known to be reached by legal lines: one call a KiB.
        line, start, length = self._line, 0, len(data)
        reach = line - self._column
        while length - start >= reach:
            end = data.rfind(b"\n", start, start + reach)
            if end < 0:
                self._long = True
                return
            start, reach = end + 1, line
        last = data.rfind(b"\n", start)
        if last >= 0:
            self._column = length - last - 1
        else:
            self._column = length - start + (line - reach)


class DataDecoder:
    """The content after a 354: takes away the stuffed dots and finds the end (RFC 5321 §4.5.2)."""

    __slots__ = ("_carry", "ended", "rules")

    def __init__(self, rules: ContentRules) -> None:
        self.rules = rules
        self.ended = False
        # The first CRLF of the end "is also the <CRLF> that ends the final line of the data (message text) or, if there was no mail data,
        # ends the DATA command itself" (RFC 5321 §4.1.1.4): content begins as if after a CRLF.
        self._carry = b"\r\n"

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """Decodes the next octets of the stream.

        Returns: content octets, empty when they are refused; and how many octets of ``data`` were used, all of them unless the end of
        data is among them, after which ``ended`` is true.

        Source: RFC 5321 §4.5.2.
        """
        before = len(self._carry)
        # Of the carried octets, CR and LF were already given out as content; a dot and what follows it were not.
        given = min(before, 2)
        if before:
            data = self._carry + data
        stop, used, dotted = self._find_end(data)
        piece = data[:stop].replace(b"\r\n.", b"\r\n")[given:] if dotted else data[given:stop]
        self.rules.look(piece)
        return (b"" if self.rules.refusal else piece), used - before

    def _find_end(self, data: bytes) -> tuple[int, int, bool]:
        """Where content stops, how many octets are used with what is held back, and whether there are stuffed dots to remove."""
        # Most content has one CRLF and dot, its end, or none; and rfind skips where find looks at each CR, so it is asked first.
        dot = end = data.rfind(b"\r\n.")
        if dot >= 0 and not (data.startswith(_END, dot) and data.rfind(b"\r\n.", 0, dot + 2) < 0):
            end = data.find(_END)
            # Dots behind the end are no longer content.
            dot = data.find(b"\r\n.")
        if end >= 0:
            self.ended = True
            return end + 2, end + 5, dot != end
        self._carry = next((prefix for prefix in _PREFIXES if data.endswith(prefix)), b"")
        return len(data) - max(len(self._carry) - 2, 0), len(data), dot >= 0


class ChunkDecoder:
    """The content of BDAT commands: octets counted, nothing removed (RFC 3030 §2)."""

    __slots__ = ("rules",)

    def __init__(self, rules: ContentRules) -> None:
        self.rules = rules

    def feed(self, data: bytes) -> bytes:
        """The octets as content, empty when they are refused."""
        self.rules.look(data)
        return b"" if self.rules.refusal else data
