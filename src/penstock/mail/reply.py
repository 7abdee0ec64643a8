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
_UNSAFE = re.compile(r"[^\x20-\x7e\u00a0-\u2027\u202a-\ud7ff\ue000-\U0010FFFF]+")
# RFC 3463 §2: status-code = class "." subject "." detail, and class 2, 4 or 5.
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
# What a code that is none is sent as: whoever made it is at fault, and the client may try again.
_NO_CODE = 451


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
        """The reply as it goes over the wire, with CRLF, and always exactly one reply.

        Text that cannot be sent is replaced, long lines are cut, an enhanced code that is none is left out, and a code outside of 200 to
        599 becomes 451.
        """
        return _render(self)

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text.replace("\n", " / ")) if part)


@lru_cache(maxsize=512)
def _render(reply: Reply) -> bytes:
    code = reply.code if 200 <= reply.code <= 599 else _NO_CODE
    enhanced = f"{reply.enhanced} " if _ENHANCED.fullmatch(reply.enhanced) else ""
    room = MAX_REPLY_LINE - 6 - len(enhanced)
    texts = [_cut(_UNSAFE.sub(" ", line.removesuffix("\r")), room) for line in reply.lines]
    last = len(texts) - 1
    return b"".join(
        b"%d%s%s%s\r\n" % (code, b" " if number == last else b"-", enhanced.encode(), text) for number, text in enumerate(texts)
    )


def _cut(text: str, room: int) -> bytes:
    """The text in UTF-8, cut to so many octets, never within a character."""
    return text.encode()[:room].decode(errors="ignore").encode()
