"""What can happen in an SMTP session, one type each, as plain values (h11's way).

A *question* leaves a decision open: nothing more is parsed until the host called ``accept``, ``refuse``, ``respond``, ``accept_greeting``
or ``disconnect``. A *report* needs no answer. Nothing malformed is ever in a question: syntax and sequence were checked before it was made.
Called happenings, since "event" is the word for what a sink gets to see; the host translates one into the other.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from ...mail.address import Address
from ...mail.envelope import MailParameters, Recipient
from ...mail.reply import Reply


class Signal(Enum):
    """What ``next_event`` gives when there is no event: more input is needed, or a decision is open."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA, PAUSED = Signal.NEED_DATA, Signal.PAUSED


class Reason(Enum):
    """Why a session ended."""

    QUIT = "quit"
    EOF = "the client closed the connection"
    TOO_MANY_ERRORS = "too many errors"
    CROSS_PROTOCOL = "the client does not speak SMTP"
    OUT_OF_STEP = "where the next command begins cannot be known"
    DISCONNECTED = "disconnected by the host"


class Greeting(msgspec.Struct, frozen=True):
    """Question: EHLO, HELO or, in LMTP, LHLO with a name (RFC 5321 §4.1.1.1); answer EHLO and LHLO with ``accept_greeting``."""

    verb: str
    name: str
    line: str


class Mail(msgspec.Struct, frozen=True):
    """Question: MAIL (RFC 5321 §4.1.1.2); with ``prdr`` the client takes a reply for each recipient after the content."""

    sender: Address
    parameters: MailParameters
    line: str
    prdr: bool = False


class Rcpt(msgspec.Struct, frozen=True):
    """Question: RCPT (RFC 5321 §4.1.1.3)."""

    recipient: Recipient
    line: str


class DataStart(msgspec.Struct, frozen=True):
    """Question: DATA, before the 354 (RFC 5321 §4.1.1.4), or the first BDAT of a transaction (RFC 3030 §2)."""

    bdat: bool
    line: str


class Chunk(msgspec.Struct, frozen=True):
    """Report: octets of content, without the dots that were stuffed in; at most as many as were received at once."""

    data: bytes


class ContentEnd(msgspec.Struct, frozen=True):
    """Question: the content is complete, or had to be given up.

    Args:
        size: octets of content; more than was given in chunks when it was refused.
        refusal: None, or the reply of the rule that the content broke: answer with ``refuse(refusal)`` or another refusal.
    """

    size: int
    refusal: Reply | None


class Reset(msgspec.Struct, frozen=True):
    """Question: RSET (RFC 5321 §4.1.1.5)."""

    line: str


class Noop(msgspec.Struct, frozen=True):
    """Question: NOOP (RFC 5321 §4.1.1.9)."""

    argument: str
    line: str


class Help(msgspec.Struct, frozen=True):
    """Question: HELP (RFC 5321 §4.1.1.8)."""

    argument: str
    line: str


class Vrfy(msgspec.Struct, frozen=True):
    """Question: VRFY (RFC 5321 §4.1.1.6)."""

    argument: str
    line: str


class Expn(msgspec.Struct, frozen=True):
    """Question: EXPN (RFC 5321 §4.1.1.7)."""

    argument: str
    line: str


class Quit(msgspec.Struct, frozen=True):
    """Question: QUIT (RFC 5321 §4.1.1.10)."""

    line: str


class Verb(msgspec.Struct, frozen=True):
    """Question: a verb of ``ServerSettings.verbs``; it may ask for lines or octets before it is answered."""

    verb: str
    argument: str
    line: str


class StartTls(msgspec.Struct, frozen=True):
    """Question: STARTTLS (RFC 3207 §4); once it is accepted nothing is parsed until ``secured``."""

    line: str


class Auth(msgspec.Struct, frozen=True):
    """Question: AUTH (RFC 4954 §4) with a mechanism that was offered; it may ask for lines before it is answered.

    Args:
        mechanism: in upper case.
        initial: the initial response, decoded; None when there was none.
        line: the verb and the mechanism; what came with them may be a password.
    """

    mechanism: str
    initial: bytes | None
    line: str


class Line(msgspec.Struct, frozen=True):
    """Report, and the verb's decision is open again: the line that ``request_line`` asked for, without its CRLF."""

    data: bytes


class Block(msgspec.Struct, frozen=True):
    """Report: octets that ``request_bytes`` asked for, as they come; with ``remaining`` 0 the verb's decision is open again."""

    data: bytes
    remaining: int


class Refused(msgspec.Struct, frozen=True):
    """Report: the machine itself refused a command for its syntax, its sequence or a limit, and has queued the reply.

    When it comes instead of a Line or a Block, the dialogue is over and the verb's decision is closed.
    """

    line: str
    reply: Reply


class Closed(msgspec.Struct, frozen=True):
    """Report, always the last: nothing more is parsed; send what is queued and close the connection."""

    reason: Reason


Question = Greeting | Mail | Rcpt | DataStart | ContentEnd | Reset | Noop | Help | Vrfy | Expn | Quit | Verb | StartTls | Auth
Report = Chunk | Line | Block | Refused | Closed
Happening = Question | Report
