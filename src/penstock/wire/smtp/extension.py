"""The extensions that a server can offer, a row each: keyword, what follows it, and the MAIL and RCPT parameters that it adds.

A parameter is known when the row that brings it was offered in this session; everything else is refused with 555 ("MAIL FROM/RCPT TO
parameters not recognized or not implemented", RFC 5321 §4.2.2). A new extension is a new row: nothing else looks at keywords. Rejected:
a method per parameter on the machine, which is how a machine grows to a thousand lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import RemoteProtocolError
from ...mail.envelope import NOTIFY_VALUES, MailParameters, Recipient
from .limits import Limits

MailRule = Callable[[MailParameters, str, Limits], None]
RcptRule = Callable[[Recipient, str, Limits], None]

# RFC 3461 §4: xtext = *( xchar / hexchar ); xchar = "!" to "~" except "+" and "="; hexchar = "+" and two upper-case hexadecimal digits.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
# RFC 6533 §3: EmbeddedUnicodeChar = "\x{" HEXPOINT "}"; and raw UTF-8 in utf-8-addr-unitext, which needs SMTPUTF8.
_UTF8_ADDRESS = re.compile(r"(?:[!-<>-~]|[^\x00-\xa0])+")
_ENCODED = re.compile(r"\\x\{([0-9A-F]{2,6})\}|\+([0-9A-F]{2})")
# RFC 1870 §6: size-value ::= 1*20DIGIT
_SIZE = re.compile(r"[0-9]{1,20}")
# RFC 3461 §4.2: original-recipient-address = addr-type ";" xtext, and addr-type is an atom.
_ORCPT = re.compile(r"([A-Za-z0-9!#$%&'*\-/?^_`{|}~]+);(.+)")


@dataclass(frozen=True, slots=True)
class Extension:
    """One SMTP service extension as a server offers it.

    Args:
        keyword: the EHLO keyword.
        argument: gives what follows the keyword, "" for nothing, or None when there is nothing to offer.
        mail: the rule for each MAIL parameter that it adds, by upper-case name; a rule writes into the parameters or raises.
        rcpt: the same for RCPT.
        needs_tls: it is offered within TLS only.

    Source: RFC 5321 §2.2.2.
    """

    keyword: str
    argument: Callable[[Limits], str | None] = field(default=lambda limits: "")
    mail: Mapping[str, MailRule] = field(default_factory=dict)
    rcpt: Mapping[str, RcptRule] = field(default_factory=dict)
    needs_tls: bool = False

    def line(self, limits: Limits) -> str | None:
        """The line of the EHLO reply, or None when there is nothing to offer."""
        argument = self.argument(limits)
        return f"{self.keyword} {argument}" if argument else self.keyword if argument is not None else None


def bad_value(name: str) -> RemoteProtocolError:
    """The refusal of a parameter whose value does not parse."""
    return RemoteProtocolError(f"bad {name} parameter", 501, "5.5.4", f"Bad value of parameter {name}")


def unknown_parameter(name: str) -> RemoteProtocolError:
    """The refusal of a parameter that was not offered (RFC 5321 §4.1.1.11)."""
    return RemoteProtocolError(f"parameter {name} not offered", 555, "5.5.4", "Parameter not recognized or not implemented")


def xtext(value: str, name: str) -> str:
    """Decodes xtext to printable text; octets above 127 are read as UTF-8, which is how Postfix sends them in ORCPT.

    Args:
        value: the encoded text.
        name: the parameter it came with, for the refusal.

    Raises: RemoteProtocolError when it is malformed, or would hide a control character, which would end up in a DSN's header.
    Source: RFC 3461 §4.
    """
    if not _XTEXT.fullmatch(value):
        raise bad_value(name)
    octets = _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), value).encode("latin-1")
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise bad_value(name) from None
    if not text.isprintable():
        raise bad_value(name)
    return text


def _size(parameters: MailParameters, value: str, limits: Limits) -> None:
    if not _SIZE.fullmatch(value):
        raise bad_value("SIZE")
    parameters.size = int(value)
    if limits.message_size and parameters.size > limits.message_size and not limits.asks_size:
        raise RemoteProtocolError("SIZE above the limit", 552, "5.3.4", "Message is larger than the limit")


def _body(parameters: MailParameters, value: str, limits: Limits) -> None:
    parameters.body = value.upper()
    if parameters.body == "BINARYMIME":
        raise unknown_parameter("BODY=BINARYMIME")
    if parameters.body not in ("7BIT", "8BITMIME"):
        raise bad_value("BODY")


def _smtputf8(parameters: MailParameters, value: str, limits: Limits) -> None:
    # RFC 6531 §3.1 gives it no value.
    if value:
        raise bad_value("SMTPUTF8")
    parameters.smtputf8 = True


def _prdr(parameters: MailParameters, value: str, limits: Limits) -> None:
    if value:
        raise bad_value("PRDR")
    parameters.other["PRDR"] = ""


def _auth(parameters: MailParameters, value: str, limits: Limits) -> None:
    """Whose message it is, in xtext, or "<>" for nobody's that is known (RFC 4954 §5); whether to believe it is for the host to say."""
    if len(value) > 500:
        raise bad_value("AUTH")
    parameters.other["AUTH"] = value if value == "<>" else xtext(value, "AUTH")


def _ret(parameters: MailParameters, value: str, limits: Limits) -> None:
    parameters.ret = value.upper()
    if parameters.ret not in ("FULL", "HDRS"):
        raise bad_value("RET")


def _envid(parameters: MailParameters, value: str, limits: Limits) -> None:
    # RFC 3461 §4.4: "MUST consist entirely of printable (graphic and white space) characters" and at most 100 of them encoded.
    if len(value) > 100:
        raise bad_value("ENVID")
    parameters.envid = xtext(value, "ENVID")


def _notify(recipient: Recipient, value: str, limits: Limits) -> None:
    words = frozenset(value.lower().split(","))
    # RFC 3461 §4.1: "the NEVER keyword MUST appear by itself".
    if not words <= NOTIFY_VALUES or ("never" in words and len(words) > 1):
        raise bad_value("NOTIFY")
    recipient.notify = words


def _orcpt(recipient: Recipient, value: str, limits: Limits) -> None:
    match = _ORCPT.fullmatch(value)
    # RFC 3461 §4.2 makes room for 500 characters.
    if not match or len(value.encode()) > 500:
        raise bad_value("ORCPT")
    kind, address = match.groups()
    kind = kind.lower()
    decoded = _utf8_address(address) if kind == "utf-8" else xtext(address, "ORCPT")
    # RFC 6533 §3: an address beyond ASCII is one of type utf-8, whatever it was called.
    recipient.orcpt = f"{kind if decoded.isascii() else 'utf-8'};{decoded}"


def _utf8_address(value: str) -> str:
    """Decodes an address of type utf-8: raw, with embedded code points, or in xtext all the same (RFC 6533 §3)."""
    if not _UTF8_ADDRESS.fullmatch(value):
        raise bad_value("ORCPT")
    try:
        # In one pass: what an embedded code point stands for is not looked at again.
        text = _ENCODED.sub(lambda match: chr(int(match[1] or match[2], 16)), value)
        text.encode()
    except (ValueError, OverflowError):
        # Above U+10FFFF, or half of a surrogate pair.
        raise bad_value("ORCPT") from None
    if not text.isprintable():
        raise bad_value("ORCPT")
    return text


def _limits(limits: Limits) -> str | None:
    """What LIMITS says; RCPTDOMAINMAX is left out, as any mixture of domains is welcome (RFC 9422 §4)."""
    said = (("MAILMAX", limits.transactions), ("RCPTMAX", limits.recipients))
    return " ".join(f"{name}={value}" for name, value in said if value) or None


STANDARD = (
    Extension("PIPELINING"),  # RFC 2920
    Extension("SIZE", lambda limits: str(limits.message_size), mail={"SIZE": _size}),  # RFC 1870
    Extension("8BITMIME", mail={"BODY": _body}),  # RFC 6152
    Extension("ENHANCEDSTATUSCODES"),  # RFC 2034
    Extension("DSN", mail={"RET": _ret, "ENVID": _envid}, rcpt={"NOTIFY": _notify, "ORCPT": _orcpt}),  # RFC 3461
    Extension("SMTPUTF8", mail={"SMTPUTF8": _smtputf8}),  # RFC 6531
    Extension("CHUNKING"),  # RFC 3030
    Extension("LIMITS", _limits),  # RFC 9422
    # Its line names the mechanisms, and is made with them: ``ServerSettings``.
    Extension("AUTH", lambda limits: None, mail={"AUTH": _auth}),  # RFC 4954
    Extension("PRDR", mail={"PRDR": _prdr}),  # draft-hall-prdr-00
)


class Offer:
    """What was offered in this session, and so may be used: nothing at all before EHLO or after HELO.

    Args:
        rows: the extensions that the server has.
        lines: the lines of the EHLO reply, possibly edited; a row counts when its keyword begins one of them.
    """

    __slots__ = ("chunking", "mail", "mechanisms", "rcpt", "starttls")

    def __init__(self, rows: Iterable[Extension] = (), lines: Sequence[str] = ()) -> None:
        keywords = {line.partition(" ")[0].upper() for line in lines}
        offered = [row for row in rows if row.keyword.upper() in keywords]
        self.mail: dict[str, MailRule] = {name: rule for row in offered for name, rule in row.mail.items()}
        self.rcpt: dict[str, RcptRule] = {name: rule for row in offered for name, rule in row.rcpt.items()}
        self.chunking = "CHUNKING" in keywords
        self.starttls = "STARTTLS" in keywords
        words = [line.upper().split() for line in lines]
        self.mechanisms = frozenset(name for first, *others in filter(None, words) if first == "AUTH" for name in others)
