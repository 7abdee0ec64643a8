"""What a server offers, and the MAIL and RCPT lines that follow from it: a parameter is added only when its extension was offered.

What cannot be said to this server is not silently left out: it comes back as data, since the host must act on it. Somebody asked for a
report that the next hop will not send; or the message cannot go this way at all.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from ...errors import LocalProtocolError
from ...mail.address import Address
from ...mail.envelope import MailParameters, Recipient
from ...mail.idna import in_a_labels
from .outgoing import Mail, Rcpt, check_line

# ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-") (RFC 5321 §4.1.1.1); "AUTH=LOGIN" is how servers said it before RFC 2554.
_EHLO_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:[ =] *(.*))?")
# RFC 3461 §4: xchar = any ASCII CHAR between "!" and "~" inclusive, except for "+" and "="; hexchar is "+" and two upper-case digits.
_NOT_XCHAR = re.compile(r"[^!-*,-<>-~]")
# RFC 6533 §3: QCHAR leaves out "\" as well, and EmbeddedUnicodeChar is "\x{" HEXPOINT "}".
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")


class Needs(Enum):
    """What a message needs of the server that it is to be handed to, and does not get."""

    EIGHT_BIT = "8BITMIME is not offered: convert the content to 7 bit, or return it with 5.6.3"
    UTF8 = "SMTPUTF8 is not offered: return it with 5.6.7"
    SIZE = "it is larger than the server takes: return it with 5.3.4"
    BINARY = "BINARYMIME is not offered, or not CHUNKING: convert the content, or return it with 5.6.3"
    TLS = "REQUIRETLS is not offered: return it with 5.7.30 (RFC 8689 §4.2.1)"
    DELIVER_BY = "DELIVERBY is not offered, and the message is to be returned rather than late: return it with 5.3.3"
    LATE = "its time is over: return it with 5.4.7"
    DSN = "DSN is not offered: send it, and tell who asked for a report of success that it was relayed"


class Facts(msgspec.Struct, frozen=True):
    """What the content is, whatever MAIL once said about it; sinks may have changed it since.

    Args:
        size: octets, or None when it is not known.
        eight_bit: it has octets above 127.
        utf8: its header, or one of the recipients that go with it, is beyond ASCII.
        age: seconds since it was received, for DELIVERBY.
        binary: it came as BODY=BINARYMIME, and was not converted since.
        several: it is for more than one recipient, so that their answers may differ.
    """

    size: int | None = None
    eight_bit: bool = False
    utf8: bool = False
    age: float = 0.0
    binary: bool = False
    several: bool = False


_Command = TypeVar("_Command", Mail, Rcpt)


class Built(msgspec.Struct, Generic[_Command], frozen=True):
    """A command, and what the server does not offer of what it should have said.

    Args:
        command: ready to send, unless ``unmet`` says otherwise.
        unmet: what is missing.
        dropped: upper-case names of further parameters that were left out.
    """

    command: _Command
    unmet: frozenset[Needs] = frozenset()
    dropped: tuple[str, ...] = ()


class Offered:
    """What a server offered in its reply to EHLO or LHLO: nothing at all before it, or after HELO.

    Args:
        lines: the lines of the reply after the first.
    """

    __slots__ = ("extensions",)

    def __init__(self, lines: tuple[str, ...] = ()) -> None:
        self.extensions: dict[str, str] = {}
        for line in lines:
            match = _EHLO_LINE.fullmatch(line.strip(" \t"))
            # What does not parse offers nothing. Of two lines with one keyword the first counts.
            if match:
                self.extensions.setdefault(match[1].upper(), (match[2] or "").strip())

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.extensions

    @property
    def size(self) -> int | None:
        """The largest content in octets; None when the server does not say, or says 0, which is no limit (RFC 1870 §4)."""
        return _number(self.extensions.get("SIZE", "")) or None

    def limit(self, name: str) -> int | None:
        """A value of LIMITS such as RCPTMAX or MAILMAX, or None when the server does not say (RFC 9422 §3)."""
        words = dict(word.partition("=")[::2] for word in self.extensions.get("LIMITS", "").upper().split())
        return _number(words.get(name, ""))


def mail_command(sender: Address, parameters: MailParameters, facts: Facts, offered: Offered) -> Built[Mail]:
    """MAIL with the parameters that the server offers.

    Args:
        sender: the reverse-path.
        parameters: what our client asked for on its MAIL.
        facts: what the content is now.
        offered: by the server.

    Raises: LocalProtocolError when the address or a parameter cannot be written in a line.
    Source: RFC 5321 §4.1.1.2, RFC 1870 §6, RFC 6152 §3, RFC 6531 §3.4, RFC 3461 §5.2.1.
    """
    written = _in_reach(sender, offered)
    words, unmet = [f"MAIL FROM:<{_path(written)}>"], set()
    if facts.size is not None and "SIZE" in offered:
        words.append(f"SIZE={facts.size}")
        if offered.size is not None and facts.size > offered.size:
            unmet.add(Needs.SIZE)
    if facts.binary:
        if "BINARYMIME" in offered and "CHUNKING" in offered:
            words.append("BODY=BINARYMIME")
        else:
            unmet.add(Needs.BINARY)
    elif "8BITMIME" in offered:
        # "7BIT" is what a MAIL without BODY means (RFC 6152 §3): it says nothing, and is not repeated.
        if facts.eight_bit or parameters.body == "8BITMIME":
            words.append("BODY=8BITMIME")
    elif facts.eight_bit:
        unmet.add(Needs.EIGHT_BIT)
    if "SMTPUTF8" in offered:
        if facts.utf8 or parameters.smtputf8 or not sender.is_ascii:
            words.append("SMTPUTF8")
    elif facts.utf8 or not written.is_ascii:
        # Asked for but not used is no obstacle: what is all ASCII is not an internationalized message (RFC 6531 §3.2).
        unmet.add(Needs.UTF8)
    asked = [f"RET={parameters.ret}"] if parameters.ret else []
    if parameters.envid:
        asked.append(f"ENVID={encode_xtext(parameters.envid)}")
    _add_dsn(words, unmet, asked, offered)
    unmet |= _add_treatment(words, parameters, facts, offered)
    dropped = tuple(parameters.other)
    return Built(Mail(_line(words), sender), frozenset(unmet), dropped)


def rcpt_command(recipient: Recipient, offered: Offered) -> Built[Rcpt]:
    """RCPT with the parameters that the server offers.

    What our client did not ask for is not added: without NOTIFY on the way in, "the NOTIFY parameter MUST NOT be supplied" on the way out.

    Args:
        recipient: to whom.
        offered: by the server.

    Raises: LocalProtocolError when the address or a parameter cannot be written in a line.
    Source: RFC 5321 §4.1.1.3, RFC 3461 §5.2.1.
    """
    address, unmet = _in_reach(recipient.address, offered), set()
    if address.is_null:
        raise LocalProtocolError("RCPT with the null path")
    words = [f"RCPT TO:<{_path(address)}>"]
    if not address.is_ascii and "SMTPUTF8" not in offered:
        unmet.add(Needs.UTF8)
    asked = []
    if recipient.notify:
        asked.append("NOTIFY=" + ",".join(sorted(recipient.notify)).upper())
    if recipient.orcpt:
        asked.append(f"ORCPT={encode_orcpt(recipient.orcpt)}")
    _add_dsn(words, unmet, asked, offered)
    return Built(Rcpt(_line(words), recipient), frozenset(unmet), tuple(recipient.parameters))


def encode_xtext(text: str) -> str:
    """ASCII text as xtext (RFC 3461 §4); raises LocalProtocolError for other text."""
    if not text.isascii():
        raise LocalProtocolError(f"{text!r} cannot be xtext")
    return _NOT_XCHAR.sub(lambda match: f"+{ord(match[0]):02X}", text)


def encode_orcpt(value: str) -> str:
    """``type;address`` as ORCPT wants it.

    Beyond ASCII the type becomes utf-8 and the address utf-8-addr-xtext, which may be sent to any server that offers DSN. Rejected:
    utf-8-addr-unitext where SMTPUTF8 was offered, as it says the same and would be a second way to be wrong.

    Source: RFC 3461 §4.2, RFC 6533 §3.
    """
    kind, _, address = value.partition(";")
    if kind.lower() != "utf-8" and address.isascii():
        return f"{kind};{encode_xtext(address)}"
    return "utf-8;" + _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", address)


def _add_dsn(words: list[str], unmet: set[Needs], asked: list[str], offered: Offered) -> None:
    if "DSN" in offered:
        words += asked
    elif asked:
        unmet.add(Needs.DSN)


def _add_treatment(words: list[str], parameters: MailParameters, facts: Facts, offered: Offered) -> set[Needs]:
    """Adds what was asked of the treatment of the message, and tells what cannot be had.

    What its own client asked of holding it (RFC 4865) was done here. AUTH is not repeated: what it vouches for is only true between two
    servers that trust each other (RFC 4954 §5).
    """
    unmet = set()
    if facts.several:
        _add(words, "PRDR", "PRDR", offered)
    if parameters.requiretls:
        unmet |= _add(words, "REQUIRETLS", "REQUIRETLS", offered, Needs.TLS)
    if parameters.priority is not None:
        _add(words, "MT-PRIORITY", f"MT-PRIORITY={parameters.priority}", offered)
    if parameters.solicit:
        _add(words, "NO-SOLICITING", f"SOLICIT={','.join(sorted(parameters.solicit))}", offered)
    if parameters.by is not None:
        # RFC 2852 §4.1.4: what the message has lost of its time here is taken off.
        left = parameters.by - math.ceil(facts.age)
        returned = parameters.by_mode == "R"
        if returned and left < 1:
            return {*unmet, Needs.LATE}
        word = f"BY={max(left, -999_999_999)};{parameters.by_mode}{'T' * parameters.by_trace}"
        unmet |= _add(words, "DELIVERBY", word, offered, *[Needs.DELIVER_BY] * returned)
    return unmet


def _add(words: list[str], keyword: str, word: str, offered: Offered, *otherwise: Needs) -> set[Needs]:
    if keyword not in offered:
        return set(otherwise)
    words.append(word)
    return set()


def _in_reach(address: Address, offered: Offered) -> Address:
    """The address as this server can have it: in A-labels, which name the same domain (RFC 5890 §2.3.2.1), without SMTPUTF8.

    A local part has no such form: only its own server knows what it means.
    """
    if "SMTPUTF8" in offered or not address.local.isascii() or address.domain.isascii():
        return address
    return Address(address.local, in_a_labels(address.domain))


def _path(address: Address) -> str:
    # A local part is quoted when it has to be; a domain that nobody parsed could end the path and begin a parameter.
    if any(character in " <>" for character in address.domain):
        raise LocalProtocolError(f"{address.domain!r} is not a domain")
    return str(address)


def _line(words: list[str]) -> str:
    line = " ".join(words)
    check_line(line)
    return line


def _number(text: str) -> int | None:
    # RFC 1870 §6: size-value ::= 1*20DIGIT
    text = text.partition(" ")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None
