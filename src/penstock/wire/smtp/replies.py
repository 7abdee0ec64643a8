"""Octets from a server to replies: whatever comes, whole or in pieces, at most so much of it is kept.

More is tolerated here than in our server: a reply has one meaning, its code, and mail that cannot be handed over to a sloppy server helps
nobody. A line may end in LF alone, as every other client takes it; the text may have NULs or be no UTF-8; a bare code is a reply. What is
not tolerated is a line that does not begin with a code: which command is answered by what could not be said any more.
"""

from __future__ import annotations

import re

import msgspec

from ...errors import RemoteProtocolError
from ...mail.reply import Reply
from .client_settings import ClientLimits

# Reply-line = Reply-code [ SP textstring ] CRLF, and "-" for SP when more lines follow (RFC 5321 §4.2). Of the code only the first digit
# must be one that means something; and "any text, including no text at all (although senders SHOULD NOT send bare codes), MUST be
# acceptable".
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
# RFC 2034 §4: status-code SP at the beginning of the text of each line; class 2, 4 or 5.
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
# What would be more than text in a log or a report.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_CR = 13
_SHOWN = 100


class Heard(msgspec.Struct, frozen=True):
    """A reply, and whether its text had to be cut."""

    reply: Reply
    cut: bool


class ReplyReader:
    """Replies out of a stream of octets.

    Args:
        limits: of these ``reply_line``, ``reply_text`` and ``reply``.
    """

    __slots__ = ("_after_cr", "_cut", "_input", "_kept", "_length", "_limits", "_line", "_lines", "_position", "_read")

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._input = bytearray()
        self._position = 0
        self.clear()

    def clear(self) -> None:
        """Forgets everything received, half a reply included."""
        self._input.clear()
        self._position = 0
        self._line = bytearray()
        self._length = 0
        self._after_cr = False
        self._begin()

    def _begin(self) -> None:
        self._lines: list[str] = []
        self._cut = False
        self._kept = self._read = 0

    @property
    def pending(self) -> int:
        """Octets received that no reply was made of yet, as far as they are kept."""
        return len(self._input) - self._position + len(self._line) + self._kept

    def append(self, data: bytes) -> None:
        """Adds what was received."""
        if self._position:
            del self._input[: self._position]
            self._position = 0
        self._input += data

    def next_reply(self) -> Heard | None:
        """The next reply, or None while it is incomplete.

        Raises: RemoteProtocolError for a line that is not one of a reply, or a reply without an end; what follows means nothing then.
        """
        while True:
            line = self._next_line()
            if self._read > self._limits.reply:
                raise RemoteProtocolError(f"a reply longer than {self._limits.reply} octets")
            if line is None:
                return None
            match = _LINE.fullmatch(line)
            if match is None:
                raise RemoteProtocolError(f"not a reply: {line[:_SHOWN].decode('utf-8', 'replace')!r}")
            code, more, text = match.groups()
            self._keep(text or b"")
            if more != b"-":
                # RFC 5321 §4.2.1 lets a client go by "the code in any line, assuming that all others will be the same". When they are not,
                # the last one counts, as in Postfix: it is the one that was known when the reply was complete.
                heard = Heard(_reply(int(code), self._lines), self._cut)
                self._begin()
                return heard

    def _next_line(self) -> bytes | None:
        """The next line, as much of it as is kept, without its end; None while it is incomplete."""
        data, start, line = self._input, self._position, self._line
        end = data.find(b"\n", start)
        stop = end if end >= 0 else len(data)
        line += data[start : min(stop, start + max(self._limits.reply_line - len(line), 0))]
        if stop > start:
            self._after_cr = data[stop - 1] == _CR
        self._length += stop - start
        self._read += stop - start + (end >= 0)
        self._position = stop + (end >= 0)
        if end < 0:
            return None
        length = self._length - self._after_cr
        self._cut = self._cut or length > self._limits.reply_line
        kept = bytes(line[: min(length, self._limits.reply_line)])
        line.clear()
        self._length = 0
        self._after_cr = False
        return kept

    def _keep(self, text: bytes) -> None:
        room = self._limits.reply_text - self._kept
        if len(text) + 1 > room:
            self._cut = True
            if room <= 1:
                return
            text = text[: room - 1]
        self._kept += len(text) + 1
        self._lines.append(_CONTROL.sub(" ", text.decode("utf-8", "replace")))


def _reply(code: int, lines: list[str]) -> Reply:
    """The reply with its enhanced code taken out of the text; one of another class than the code stays text (RFC 2034 §4)."""
    match = _ENHANCED.match(lines[0]) if lines else None
    if match is None or match[1][0] != str(code)[0]:
        return Reply(code, "", "\n".join(lines))
    enhanced = match[1]
    return Reply(code, enhanced, "\n".join(_without(line, enhanced) for line in lines))


def _without(line: str, enhanced: str) -> str:
    rest = line.removeprefix(enhanced)
    return rest.removeprefix(" ") if rest != line and rest[:1] in ("", " ") else line
