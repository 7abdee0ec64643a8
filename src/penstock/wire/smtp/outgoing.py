"""The commands that a client sends, as plain values: the line that leaves, and what the state machine must know about it.

They are values, so that the host can show one to the sinks before it leaves, let them edit its line, and find it again in its answer. What
a command is for the state is its type, never its text: a sink may replace the whole line of a MAIL, and it still is the MAIL. A line that
would be more than one line is refused here, at the only door: a CR or LF in it is how a second command is smuggled in.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from ...errors import LocalProtocolError
from ...mail.address import Address
from ...mail.envelope import Recipient

# RFC 5321 §2.3.8: CR and LF are line ends and nothing else; NUL ends a string in many a server.
_UNSAFE = re.compile(r"[\r\n\x00]")
# Commands whose answer changes the session, or that octets follow: sent as Raw they would take the machine out of step with the server.
_OWN_TYPE = frozenset(["EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "QUIT", "STARTTLS"])


class Hello(msgspec.Struct, frozen=True):
    """EHLO, HELO or LHLO (RFC 5321 §4.1.1.1, RFC 2033 §4.1); ``ClientSettings.greeting`` makes the right one."""

    line: str


class Mail(msgspec.Struct, frozen=True):
    """MAIL (RFC 5321 §4.1.1.2); ``mail_command`` makes the line."""

    line: str
    sender: Address


class Rcpt(msgspec.Struct, frozen=True):
    """RCPT (RFC 5321 §4.1.1.3); ``rcpt_command`` makes the line. The recipient is the caller's own object, to be found again."""

    line: str
    recipient: Recipient


class Data(msgspec.Struct, frozen=True):
    """DATA (RFC 5321 §4.1.1.4)."""

    line: str = "DATA"


class Bdat(msgspec.Struct, frozen=True):
    """BDAT; exactly ``size`` octets follow it at once (RFC 3030 §2).

    Args:
        size: octets of this chunk; 0 only makes sense with ``last``.
        last: nothing of this content comes after it.
    """

    size: int
    last: bool = False

    @property
    def line(self) -> str:
        """The command line."""
        return f"BDAT {self.size} LAST" if self.last else f"BDAT {self.size}"


class EndOfData(msgspec.Struct, frozen=True):
    """The end of the content after a 354: no command to send, ``end_content`` does that, but one that is answered (RFC 5321 §4.1.1.4)."""

    line: str = "."


class Reset(msgspec.Struct, frozen=True):
    """RSET (RFC 5321 §4.1.1.5)."""

    line: str = "RSET"


class Quit(msgspec.Struct, frozen=True):
    """QUIT (RFC 5321 §4.1.1.10)."""

    line: str = "QUIT"


class StartTls(msgspec.Struct, frozen=True):
    """STARTTLS (RFC 3207 §4)."""

    line: str = "STARTTLS"


class Raw(msgspec.Struct, frozen=True):
    """Any other command, as a sink sends it; made by ``raw``, which refuses the verbs that have a type of their own."""

    line: str


class Continuation(msgspec.Struct, frozen=True):
    """The next line of a dialogue, when a Raw was answered with 3xx: of AUTH, say (RFC 4954 §4)."""

    line: str


Sendable = Hello | Mail | Rcpt | Data | Bdat | Reset | Quit | StartTls | Raw | Continuation
Outgoing = Sendable | EndOfData
_Edited = TypeVar("_Edited", Hello, Mail, Rcpt)


def raw(line: str) -> Raw:
    """A command of any verb that changes nothing about the session.

    Raises: LocalProtocolError when the line is none, or when the verb has a type of its own.
    """
    verb = verb_of(line)
    if not verb or verb in _OWN_TYPE:
        raise LocalProtocolError(f"{line!r} cannot be sent as it is: {verb or 'no verb'} is not free to use")
    check_line(line)
    return Raw(line)


def edited(command: _Edited, line: str) -> _Edited:
    """The same command with another line, which must begin with the same verb.

    Raises: LocalProtocolError when the line is none or begins with another verb.
    """
    if verb_of(line) != verb_of(command.line):
        raise LocalProtocolError(f"{line!r} cannot stand for {verb_of(command.line)}")
    check_line(line)
    return msgspec.structs.replace(command, line=line)


def verb_of(line: str) -> str:
    """The verb of a command line, in upper case; "." for the end of content."""
    return line.partition(" ")[0].upper()


def check_line(line: str) -> bytes:
    """The octets of a line without its CRLF.

    Raises: LocalProtocolError when they would not be one line, or cannot be written in UTF-8.
    """
    if _UNSAFE.search(line):
        raise LocalProtocolError(f"{line!r} has CR, LF or NUL: it is not one line")
    try:
        return line.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{line!r} cannot be written in UTF-8") from None
