"""SMTP replies as values: what a server says, and what a client hears.

A reply is a code, an enhanced status code and lines of text; the first digit of the code decides (RFC 5321 §4.2.1), so there is no closed
list of codes here. The text of a reply that we make is cleaned when it is put on the wire: a sink's text may never smuggle a second reply.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

# RFC 5321 §4.5.3.1.5: "The maximum total length of a reply line including the reply code and the <CRLF> is 512 octets."
MAX_REPLY_LINE = 512
_UNSAFE = re.compile(r"[^\x20-\x7e\u0080-\U0010FFFF]+")


class Reply(msgspec.Struct, frozen=True):
    """One SMTP reply.

    Args:
        code: three digits, 200 to 599.
        enhanced: the enhanced status code such as ``"5.7.1"``, or "" for none (RFC 3463).
        text: the text; several lines are separated by ``\\n``.

    Source: RFC 5321 §4.2, RFC 2034.
    """

    code: int
    enhanced: str = ""
    text: str = ""

    @property
    def is_positive(self) -> bool:
        """True for 2xx and 3xx."""
        return self.code < 400

    @property
    def is_transient(self) -> bool:
        """True for 4xx: the same command may succeed later (RFC 5321 §4.2.1)."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """True for 5xx: the command should not be repeated as it was (RFC 5321 §4.2.1)."""
        return self.code >= 500

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        return tuple(self.text.split("\n"))

    def to_bytes(self) -> bytes:
        """The reply as it goes over the wire, with CRLF; text that could not be sent is replaced, long lines are cut."""
        return _render(self)

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text.replace("\n", " / ")) if part)


@lru_cache(maxsize=512)
def _render(reply: Reply) -> bytes:
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    room = MAX_REPLY_LINE - 6 - len(enhanced)
    texts = [_UNSAFE.sub(" ", line).encode("utf-8")[:room] for line in reply.lines]
    last = len(texts) - 1
    return b"".join(
        b"%d%s%s%s\r\n" % (reply.code, b" " if number == last else b"-", enhanced.encode("ascii", "replace"), text)
        for number, text in enumerate(texts)
    )
