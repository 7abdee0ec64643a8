"""One command line to one question, and the table of what is allowed when: a row a command (OpenSMTPD's and h11's way).

Each row says in which states its verb may come and which check makes the question of its argument; a check raises ``RemoteProtocolError``
with the reply that the line deserves. Nothing here changes the session: what a command does happens when the host accepts it.

Where clients are commonly wrong and no harm is done, the line is accepted: spaces after the colon of MAIL and RCPT, trailing white space
("SMTP receivers SHOULD tolerate" it, RFC 5321 §4.1.1), an address literal in HELO, an underscore in a host name. An address
without its angle brackets is refused, since what is address and what is parameter would be a guess.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from ...errors import AddressError, RemoteProtocolError
from ...mail.address import Address
from ...mail.envelope import MailParameters, Recipient
from .extension import Offer, unknown_parameter
from .happening import Auth, DataStart, Expn, Greeting, Help, Mail, Noop, Question, Quit, Rcpt, Reset, Verb, Vrfy
from .limits import Limits
from .state import State

_ALWAYS = frozenset({State.GREETING, State.READY, State.MAIL, State.RCPT, State.BDAT})
_READY = frozenset({State.READY})
_MAIL = frozenset({State.MAIL, State.RCPT})
_RCPT = frozenset({State.RCPT})

# Reverse-path and forward-path (RFC 5321 §4.1.2): "<" ... ">", where a quoted string may hold anything, ">" and spaces included.
_PATH = r'<((?:[^<>"\\ ]++|"(?:[^"\\]|\\.)*+")*+)>'
# mail = "MAIL FROM:" Reverse-path [SP Mail-parameters]; the spaces before the path are not in the grammar.
_FROM = re.compile(rf"FROM: *{_PATH}(?: +(.+))?", re.IGNORECASE)
_TO = re.compile(rf"TO: *{_PATH}(?: +(.+))?", re.IGNORECASE)
# esmtp-keyword ["=" esmtp-value] (RFC 5321 §4.1.2); esmtp-value gains UTF8-non-ascii in RFC 6531 §3.3.
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([!-<>-~\u0080-\U0010FFFF]+))?")
# Domain / address-literal (RFC 5321 §4.1.1.1), with the underscores and colons of real hosts; nothing that could end a comment of Received.
_NAME = re.compile(r"[A-Za-z0-9._:\-]{1,255}|\[[A-Za-z0-9.:\-]{1,253}\]")
# "AUTH" SP sasl-mech [SP initial-response] (RFC 4954 §8); sasl-mech = 1*20 of A-Z, digits, "-" and "_" (RFC 4422 §3.1).
_AUTH = re.compile(r"([A-Za-z0-9_-]{1,20})(?: +([A-Za-z0-9+/=]+))?")
# bdat-cmd = "BDAT" SP chunk-size [ SP "LAST" ] (RFC 3030 §2)
_BDAT = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)
# Control characters of ASCII, of the upper half, and the two line ends of Unicode.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# Verbs that somebody specified: 502 "SHOULD be used when the command is actually recognized ... but not implemented" (RFC 5321 §4.2.4).
_NOT_IMPLEMENTED = frozenset(["BDAT", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN", "STARTTLS", "AUTH", "BURL"])
# What a browser says when it is tricked into talking to port 25; Postfix forbids these too (smtpd_forbidden_commands).
CROSS_PROTOCOL = frozenset(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "PRI"])


class Bdat(msgspec.Struct, frozen=True):
    """BDAT as it was said; the machine makes of it a question, more content, or a refusal that swallows the octets."""

    size: int
    last: bool
    line: str


class Scope:
    """What the meaning of a command line depends on.

    Args:
        limits: the limits of the session.
        offer: the extensions that may be used.
        utf8: the transaction was opened with SMTPUTF8.

    ``authenticated`` is set when an AUTH was accepted, ``binary`` while a transaction is of BODY=BINARYMIME.
    """

    __slots__ = ("authenticated", "binary", "limits", "offer", "utf8")

    def __init__(self, limits: Limits, offer: Offer, utf8: bool = False) -> None:
        self.limits = limits
        self.offer = offer
        self.utf8 = utf8
        self.authenticated = self.binary = False


Check = Callable[[str, str, Scope], Question | Bdat]


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table.

    Args:
        check: makes the question of argument, line and scope, or raises.
        states: where the verb may come; elsewhere it is out of sequence.
        eight_bit: the argument may be UTF-8; the check says when.
    """

    check: Check
    states: frozenset[State] = field(default=_ALWAYS)
    eight_bit: bool = False


def decode(raw: bytes | bytearray) -> str:
    """The text of a command line without trailing white space.

    Raises: RemoteProtocolError for control characters, a bare CR among them, and for what is not UTF-8.
    """
    try:
        line = raw.decode().rstrip(" \t")
    except UnicodeDecodeError:
        raise RemoteProtocolError("command is not UTF-8", 500, "5.5.2", "Command is neither ASCII nor UTF-8") from None
    if not (line.isascii() and line.isprintable()) and _CONTROL.search(line):
        raise RemoteProtocolError("control character", 500, "5.5.2", "Control characters are not allowed in a command")
    return line


def understand(line: str, state: State, table: dict[str, Command], scope: Scope) -> Question | Bdat:
    """The question that a command line asks.

    Args:
        line: the line as ``decode`` gave it.
        state: where the session is.
        table: the commands, by upper-case verb.
        scope: what else the meaning depends on.

    Raises: RemoteProtocolError with the reply for a line that is unknown, out of sequence or malformed.
    """
    verb, _, argument = line.partition(" ")
    command = table.get(verb.upper())
    if command is None:
        raise _unknown(verb.upper())
    if state not in command.states:
        raise _out_of_sequence(verb.upper(), state, "LHLO" in table)
    if not line.isascii() and not command.eight_bit:
        raise RemoteProtocolError("8-bit octets", 501, "5.5.4", "Only ASCII is allowed in this command")
    return command.check(argument.strip(" "), line, scope)


def _unknown(verb: str) -> RemoteProtocolError:
    if verb in _NOT_IMPLEMENTED:
        return RemoteProtocolError(f"{verb} not implemented", 502, "5.5.1", "Command not implemented")
    return RemoteProtocolError("unknown command", 500, "5.5.1" if verb else "5.5.2", "Command not recognized")


def refuse_bdat(state: State, scope: Scope, lmtp: bool) -> RemoteProtocolError | None:
    """Why BDAT may not come now, or None; asked apart from the table, as the octets that follow are swallowed even so (RFC 3030 §2)."""
    if state is State.GREETING or state is State.READY or state is State.MAIL:
        return _out_of_sequence("BDAT", state, lmtp)
    return None if scope.offer.chunking else _unknown("BDAT")


_SEQUENCE = {
    ("MAIL", State.MAIL): (503, "Sender already given"),
    ("MAIL", State.RCPT): (503, "Sender already given"),
    ("RCPT", State.READY): (503, "Need MAIL before RCPT"),
    ("DATA", State.READY): (503, "Need MAIL before DATA"),
    ("BDAT", State.READY): (503, "Need MAIL before BDAT"),
    ("BDAT", State.MAIL): (554, "No valid recipients"),
    # RFC 5321 §3.3: "If there was no MAIL, or no RCPT, command, or all such commands were rejected, the server MAY return ... 554".
    ("DATA", State.MAIL): (554, "No valid recipients"),
    # RFC 3030 §2: "If a DATA statement is issued after a BDAT for the current transaction, a 503 ... MUST be issued."
    ("DATA", State.BDAT): (503, "DATA and BDAT cannot be used in one transaction"),
}


def _out_of_sequence(verb: str, state: State, lmtp: bool) -> RemoteProtocolError:
    code, text = _SEQUENCE.get((verb, state), (503, "Bad sequence of commands"))
    if lmtp:
        # RFC 2033 §4.2: "If there were no successful RCPT commands ..., then the DATA command MUST fail with a 503 reply code."
        code = 503
    if state is State.GREETING:
        text = "Send LHLO first" if lmtp else "Send EHLO or HELO first"
    elif verb == "AUTH":
        # RFC 4954 §4: "The AUTH command is not permitted during a mail transaction."
        text = "AUTH is not permitted during a mail transaction"
    return RemoteProtocolError(f"{verb} {state.value}", code, "5.5.1", text)


def _syntax(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"syntax, not {text}", 501, "5.5.4", f"Syntax: {text}")


def _greeting(verb: str) -> Check:
    def check(argument: str, line: str, scope: Scope) -> Question:
        if not _NAME.fullmatch(argument):
            raise _syntax(f"{verb} hostname")
        return Greeting(verb, argument, line)

    return check


def _parameters(text: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if not match:
            raise RemoteProtocolError("malformed parameter", 501, "5.5.4", "Malformed parameter")
        name = match[1].upper()
        # RFC 5321 §4.1.1.11 leaves the meaning of a repetition open; whichever of the two we took, the next server might take the other.
        if name in found:
            raise RemoteProtocolError(f"parameter {name} twice", 501, "5.5.4", f"Parameter {name} was given twice")
        found[name] = match[2] or ""
    return list(found.items())


def _mail(argument: str, line: str, scope: Scope) -> Question:
    match = _FROM.fullmatch(argument)
    if not match:
        raise _syntax("MAIL FROM:<address> [parameters]")
    path, rest = match.groups()
    parameters = MailParameters()
    if rest:
        for name, value in _parameters(rest):
            rule = scope.offer.mail.get(name)
            if rule is None:
                raise unknown_parameter(name)
            rule(parameters, value, scope.limits)
    # RFC 6531 §3.5: "When messages are rejected because the MAIL command requires an ASCII address, the response code 550 is returned".
    if not line.isascii() and not parameters.smtputf8:
        raise RemoteProtocolError("8-bit MAIL without SMTPUTF8", 550, "5.6.7", "Non-ASCII address needs SMTPUTF8")
    sender = _address(path, "5.1.7", "Bad sender address syntax")
    # Only RCPT may leave out the domain: "<postmaster>" is no reverse-path (RFC 5321 §4.1.1.3).
    if not sender.domain and sender.local:
        raise RemoteProtocolError("sender without a domain", 501, "5.1.7", "Sender address needs a domain")
    # Asked of this hop alone: it is no part of the envelope.
    return Mail(sender, parameters, line, parameters.other.pop("PRDR", None) is not None)


def _rcpt(argument: str, line: str, scope: Scope) -> Question:
    match = _TO.fullmatch(argument)
    if not match:
        raise _syntax("RCPT TO:<address> [parameters]")
    path, rest = match.groups()
    # RFC 6531 §3.5: "... because the RCPT command requires an ASCII address, the response code 553 is returned".
    if not line.isascii() and not scope.utf8:
        raise RemoteProtocolError("8-bit RCPT without SMTPUTF8", 553, "5.6.7", "Non-ASCII address needs SMTPUTF8")
    if not path:
        raise RemoteProtocolError("null forward-path", 501, "5.1.3", "Recipient address is empty")
    recipient = Recipient(_address(path, "5.1.3", "Bad recipient address syntax"), path)
    if rest:
        for name, value in _parameters(rest):
            rule = scope.offer.rcpt.get(name)
            if rule is None:
                raise unknown_parameter(name)
            rule(recipient, value, scope.limits)
    return Rcpt(recipient, line)


def _address(path: str, enhanced: str, text: str) -> Address:
    try:
        return Address.parse(path)
    except AddressError as error:
        raise RemoteProtocolError(str(error), 501, enhanced, text) from None


def _bdat(argument: str, line: str, scope: Scope) -> Bdat:
    match = _BDAT.fullmatch(argument)
    if not match:
        raise _syntax("BDAT size [LAST]")
    return Bdat(int(match[1]), match[2] is not None, line)


def _data(argument: str, line: str, scope: Scope) -> Question:
    if argument:
        raise _syntax("DATA without an argument")
    if scope.binary:
        # RFC 3030 §3: BINARYMIME "cannot be used with the DATA command", which is answered with a 503.
        raise RemoteProtocolError("DATA of BINARYMIME", 503, "5.5.1", "BODY=BINARYMIME needs BDAT")
    return DataStart(bdat=False, line=line)


def _auth(argument: str, line: str, scope: Scope) -> Question:
    if not scope.offer.mechanisms:
        raise _unknown("AUTH")
    # RFC 4954 §4: "After a successful AUTH command completes, a server MUST reject any further AUTH commands with a 503 reply."
    if scope.authenticated:
        raise RemoteProtocolError("AUTH twice", 503, "5.5.1", "Already authenticated")
    match = _AUTH.fullmatch(argument)
    if not match:
        raise _syntax("AUTH mechanism [initial-response]")
    mechanism = match[1].upper()
    if mechanism not in scope.offer.mechanisms:
        raise RemoteProtocolError("unknown mechanism", 504, "5.5.4", "Authentication mechanism not recognized")
    # RFC 4954 §4: "If the client needs to send a zero-length initial response, it MUST transmit the response as a single equals sign".
    initial = None if match[2] is None else b"" if match[2] == "=" else decode_response(match[2].encode())
    return Auth(mechanism, initial, f"AUTH {mechanism}")


def decode_response(encoded: bytes) -> bytes:
    """What a client's line in an authentication exchange says.

    Args:
        encoded: base64.

    Raises: RemoteProtocolError: "If the server cannot [BASE64] decode any client response, it MUST reject the AUTH command with a 501".
    """
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        raise RemoteProtocolError("not base64", 501, "5.5.2", "Cannot decode the response") from None


def _bare(verb: str, make: Callable[[str], Question]) -> Check:
    """A check for a verb without an argument: "501 Syntax error in parameters or arguments" otherwise (RFC 5321 §4.3.2)."""

    def check(argument: str, line: str, scope: Scope) -> Question:
        if argument:
            raise _syntax(f"{verb} without an argument")
        return make(line)

    return check


def _about(make: Callable[[str, str], Question], needed: str = "") -> Check:
    """A check for a verb with a free argument, which ``needed`` names when there must be one."""

    def check(argument: str, line: str, scope: Scope) -> Question:
        if needed and not argument:
            raise _syntax(needed)
        return make(argument, line)

    return check


def _verb(verb: str) -> Check:
    return lambda argument, line, scope: Verb(verb, argument, line)


COMMANDS: dict[str, Command] = {
    "EHLO": Command(_greeting("EHLO")),
    "HELO": Command(_greeting("HELO")),
    "MAIL": Command(_mail, _READY, eight_bit=True),
    "RCPT": Command(_rcpt, _MAIL, eight_bit=True),
    "DATA": Command(_data, _RCPT),
    # BDAT is never refused before its size is known, as its octets must be swallowed even then.
    "BDAT": Command(_bdat),
    # RFC 5321 §4.1.4: "The NOOP, HELP, EXPN, VRFY, and RSET commands can be used at any time during a session".
    "RSET": Command(_bare("RSET", Reset)),
    "NOOP": Command(_about(Noop)),
    "HELP": Command(_about(Help)),
    "VRFY": Command(_about(Vrfy, "VRFY address")),
    "EXPN": Command(_about(Expn, "EXPN list")),
    "QUIT": Command(_bare("QUIT", Quit), _ALWAYS | {State.TURNED_AWAY}),
}


_GREETINGS = frozenset(["EHLO", "HELO"])
_LHLO = {"LHLO": Command(_greeting("LHLO"))}


def table_with(verbs: frozenset[str], auth: bool = False, lmtp: bool = False) -> dict[str, Command]:
    """The table of all commands with a row for each further verb, which may come wherever NOOP may; built-in rows stay as they are.

    Args:
        verbs: the further verbs.
        auth: whether there is a row for AUTH.
        lmtp: LHLO is the greeting, and HELO and EHLO are no commands (RFC 2033 §4.1).
    """
    further = {verb.upper(): Command(_verb(verb.upper())) for verb in verbs}
    standard = {**{verb: row for verb, row in COMMANDS.items() if verb not in _GREETINGS}, **_LHLO} if lmtp else COMMANDS
    return further | standard | ({"AUTH": Command(_auth, _READY)} if auth else {})
