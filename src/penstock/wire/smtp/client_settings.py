"""What a client machine is told once: its name, its protocol, its limits; and how long a host should wait for what.

The machine has no clock. The times stand here all the same, since which one holds follows from what is outstanding, and the host should not
have to know RFC 5321 §4.5.3.2 by heart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...mail.reply import Reply
from .outgoing import Bdat, Data, EndOfData, Hello, Outgoing, Quit, Reset, check_line, verb_of

Protocol = Literal["smtp", "lmtp"]


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What a server can make us keep.

    Args:
        reply_line: octets kept of a reply line. RFC 5321 §4.5.3.1.5 asks for 512; 8 KiB, since real servers write essays with links.
        reply_text: octets kept of a whole reply, line ends included. 64 KiB holds every EHLO reply ever seen many times.
        reply: octets of a reply, kept or not, after which it is taken for endless and the session for broken.
        outstanding: commands that may be without an answer. Postfix has no number for it but fills a TCP buffer; 500 RCPT lines are that.

    Source: RFC 5321 §4.5.3.1.
    """

    reply_line: int = 8 * 1024
    reply_text: int = 64 * 1024
    reply: int = 4 * 1024 * 1024
    outstanding: int = 500


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds, before a server is given up; the defaults are the minimum that the RFC asks for.

    Args:
        banner: for the banner, and for any command without a time of its own.
        data: for the 354.
        block: for each piece of content to be taken by the connection.
        content: for the answer to the content; "a spurious timeout at this point ... would typically result in delivery of multiple
        copies".
        farewell: for the answer to RSET and QUIT; not in the RFC, Postfix waits 20 and 300 seconds for them.

    Source: RFC 5321 §4.5.3.2.
    """

    banner: float = 300
    data: float = 120
    block: float = 180
    content: float = 600
    farewell: float = 20

    def of(self, command: Outgoing | None) -> float:
        """Seconds to wait for the answer to this command; None for the banner."""
        match command:
            case Data():
                return self.data
            case Bdat() | EndOfData():
                return self.content
            case Reset() | Quit():
                return self.farewell
            case _:
                return self.banner


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a session with a server is held.

    Args:
        hostname: our name, or an address literal, for EHLO (RFC 5321 §4.1.1.1).
        protocol: "smtp", or "lmtp", which greets with LHLO and has an answer for each recipient after the content (RFC 2033).
        limits: what a server can make us keep.
        bare_newlines: what to do with a CR or LF that is not part of a CRLF in content after DATA: "convert", or "refuse".
    """

    hostname: str
    protocol: Protocol = "smtp"
    limits: ClientLimits = field(default=ClientLimits())
    bare_newlines: Literal["convert", "refuse"] = "convert"

    def __post_init__(self) -> None:
        check_line(self.hostname)

    def greeting(self) -> Hello:
        """EHLO, or LHLO when the protocol is LMTP."""
        return Hello(f"{'LHLO' if self.protocol == 'lmtp' else 'EHLO'} {self.hostname}")

    def fallback(self, refused: Hello, reply: Reply) -> Hello | None:
        """HELO when EHLO was refused for good, else None.

        Any 5xx counts, as servers that do not know EHLO say 500, 501, 502 or 504; a 4xx says that the next try may go better. in LMTP
        both "are replaced by the LHLO command" (RFC 2033 §4.1), so there is nothing older to fall back to.

        Source: RFC 5321 §3.2.
        """
        if reply.is_permanent and verb_of(refused.line) == "EHLO":
            return Hello(f"HELO {self.hostname}")
        return None
