"""What a server can say to a client, one type each, as plain values without behaviour.

Of a connection that ends, ``Closed`` tells what is certain and what is not: it comes once, always last, whatever else went wrong before.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from ...mail.reply import Reply
from .happening import NEED_DATA, Signal
from .outgoing import Bdat, EndOfData, Outgoing


class Ending(Enum):
    """Why a session ended."""

    QUIT = "quit"
    EOF = "the server closed the connection"
    SHUTTING_DOWN = "the server said 421"
    BROKEN = "the server broke the protocol"
    DISCONNECTED = "disconnected by the host"


class Fate(Enum):
    """What became of content that got no answer.

    UNCERTAIN is the one case in which trying again may deliver a message twice, and not trying may lose it: RFC 1047 is about it.
    """

    NONE = "no content is without its answer"
    PARTIAL = "not all of the content was sent, so nobody took responsibility for it"
    UNCERTAIN = "all of the content was sent and its answer did not come"


class Banner(msgspec.Struct, frozen=True):
    """The server's greeting (RFC 5321 §3.1).

    Args:
        reply: what it said; refused when it is not positive, and then QUIT is all that may be sent.
        cut: the text was longer than the limits and is not complete.
    """

    reply: Reply
    cut: bool = False


class Answer(msgspec.Struct, frozen=True):
    """The reply to a command, in the order in which they were sent.

    Args:
        command: the very value that was sent.
        reply: what the server said to it.
        cut: the text was longer than the limits and is not complete.
    """

    command: Outgoing
    reply: Reply
    cut: bool = False


class ContentAnswer(msgspec.Struct, frozen=True):
    """The reply to content: who answers for it now.

    Args:
        command: EndOfData, or the last Bdat.
        reply: what the server said.
        recipient: with LMTP and PRDR the position among the accepted recipients, from 0; None when the reply is for all of them
            (RFC 2033 §4.2).
        cut: the text was longer than the limits and is not complete.
    """

    command: EndOfData | Bdat
    reply: Reply
    recipient: int | None = None
    cut: bool = False


class Unsolicited(msgspec.Struct, frozen=True):
    """A reply that nobody asked for; QUIT is all that may be sent after it, unless it was a 421, which a Closed follows."""

    reply: Reply


class Broken(msgspec.Struct, frozen=True):
    """The server broke the protocol, in one line for the log; a Closed follows."""

    what: str


class Closed(msgspec.Struct, frozen=True):
    """Always the last: nothing more is parsed and nothing more may be sent.

    Args:
        ending: why.
        outstanding: what was sent and not answered, oldest first; with LMTP the content stays in it until its last recipient is answered.
        fate: what became of the content.
    """

    ending: Ending
    outstanding: tuple[Outgoing, ...] = ()
    fate: Fate = Fate.NONE


Event = Banner | Answer | ContentAnswer | Unsolicited | Broken | Closed

__all__ = [
    "NEED_DATA",
    "Answer",
    "Banner",
    "Broken",
    "Closed",
    "ContentAnswer",
    "Ending",
    "Event",
    "Fate",
    "Signal",
    "Unsolicited",
]
