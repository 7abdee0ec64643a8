"""Mail addresses: parsed once at the edge, exact ever after.

The grammar is RFC 5321 §4.1.2 with RFC 6531 §3.3 for addresses beyond ASCII. The local part is kept unquoted and its case is kept, since
"the local-part of a mailbox MUST BE treated as case sensitive" (RFC 5321 §2.4); the domain is kept in lower case, so that a sink can
compare it with ``==``. Rejected: the grammar of header fields (RFC 5322), whose comments and folding do not occur in an envelope.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Self

import msgspec

from ..errors import AddressError

# RFC 5321 §4.5.3.1: 255 octets of domain, 256 of path including the two angle brackets. Of the local part it says 64, what everybody must
# take at least; return paths that encode whom they were for (VERP, SRS, BATV) are longer, and what is refused here is lost mail.
MAX_LOCAL, MAX_DOMAIN, MAX_PATH = 252, 255, 254
# An address of so many octets has no part, and no label of its domain, that is too long.
_SHORT = 64

# UTF8-non-ascii of RFC 6531 §3.3, without the control characters, line ends and halves of surrogate pairs that nothing good comes from.
_FOREIGN = r"\u00A0-\u2027\u202A-\uD7FF\uE000-\U0010FFFF"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_FOREIGN}]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
# Quoted-string = DQUOTE *QcontentSMTP DQUOTE; qtextSMTP is %d32-33 / %d35-91 / %d93-126, a quoted pair is "\" and %d32-126.
_QUOTED = re.compile(rf'"((?:[ !#-\[\]-~{_FOREIGN}]|\\[ -~])*)"')
# sub-domain = Let-dig [Ldh-str]; an underscore is let through, as real hosts use it.
_LABEL = rf"[A-Za-z0-9_{_FOREIGN}](?:[A-Za-z0-9_\-{_FOREIGN}]*[A-Za-z0-9_{_FOREIGN}])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
# General-address-literal is left out: a "Standardized-tag MUST be specified in a Standards-Track RFC", and there is none but IPv6.
_LITERAL = re.compile(r"\[(?:IPv6:([0-9A-F:.]+)|([0-9.]+))\]", re.IGNORECASE)
# The everyday address in one look; everything else takes the long way.
_PLAIN = re.compile(r"([A-Za-z0-9_+\-]+(?:\.[A-Za-z0-9_+\-]+)*)@([A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?)")
# Two dots in a row, or a label that begins or ends with a hyphen: perhaps legal to the left of the @, but not plain.
_SUSPECT = re.compile(r"\.\.|-\.|\.-")
# A source route "SHOULD be ignored" (RFC 5321 §4.1.1.3): "@one.example,@two.example:" before the mailbox.
_ROUTE = re.compile(r"@[^,:@\s]+(?:,@[^,:@\s]+)*:")
# What no address that was parsed has, and what would leave its place in a header field, a command or a log.
_STRAY_LOCAL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_STRAY_DOMAIN = re.compile(r"""[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff<>@"(),;\\]""")


class Address(msgspec.Struct, frozen=True, order=True):
    """One mail address, or the null reverse-path.

    Args:
        local: the local part, unquoted, e.g. ``"alice"`` or ``"alice smith"``.
        domain: the domain in lower case, an address literal such as ``"[192.0.2.1]"``, or "" (null path, or bare ``postmaster``).

    Source: RFC 5321 §4.1.2.
    """

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses ``local@domain``, the bare ``postmaster``, or "" for the null path; angle brackets and a source route are allowed.

        Raises: AddressError with the reason (RFC 5321 §4.1.2).
        """
        plain = _PLAIN.fullmatch(text)
        if plain and len(text) <= _SHORT and not _SUSPECT.search(text):
            return cls(plain[1], plain[2].lower())
        if text.startswith("<") and text.endswith(">"):
            text = text[1:-1]
        if not text:
            return cls("", "")
        if text[0] == "@":
            route = _ROUTE.match(text)
            if not route:
                raise AddressError(f"source route is malformed in {text!r}")
            text = text[route.end() :]
        if text.lower() == "postmaster":
            return cls(text, "")
        if len(text.encode(errors="replace")) > MAX_PATH:
            raise AddressError(f"address is longer than {MAX_PATH} octets")
        local, end = _parse_local(text)
        if end >= len(text) or text[end] != "@":
            raise AddressError(f"there is no @ after the local part in {text!r}")
        return cls(local, _parse_domain(text[end + 1 :]))

    @property
    def is_null(self) -> bool:
        """True for the null reverse-path ``<>`` (RFC 5321 §4.5.5)."""
        return not self.local and not self.domain

    @property
    def is_ascii(self) -> bool:
        """True when the address can be sent without SMTPUTF8 (RFC 6531 §3.3)."""
        return self.local.isascii() and self.domain.isascii()

    @property
    def is_postmaster(self) -> bool:
        """True when the local part is postmaster in any case (RFC 5321 §4.1.1.3)."""
        return self.local.lower() == "postmaster"

    def with_domain(self, domain: str) -> Self:
        """The same local part at another domain; raises AddressError when the domain does not parse."""
        return type(self)(self.local, _parse_domain(domain))

    def with_local(self, local: str) -> Self:
        """Another local part (given unquoted) at the same domain; raises AddressError when it cannot be written."""
        if not local or _STRAY_LOCAL.search(local) or len(local.encode()) > MAX_LOCAL:
            raise AddressError(f"{local!r} cannot be a local part")
        return type(self)(local, self.domain)

    def check(self) -> None:
        """Raises AddressError for one that was put together from parts that no address has, such as line ends."""
        if _STRAY_LOCAL.search(self.local) or _STRAY_DOMAIN.search(self.domain):
            raise AddressError(f"{self.local!r} at {self.domain!r} is no address")

    def __str__(self) -> str:
        if not self.local and not self.domain:
            return ""
        local = self.local
        if not _DOT_STRING.fullmatch(local):
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{local}@{self.domain}" if self.domain else local


NULL = Address("", "")


def _parse_local(text: str) -> tuple[str, int]:
    if text.startswith('"'):
        quoted = _QUOTED.match(text)
        if not quoted:
            raise AddressError(f"quoted local part is malformed in {text!r}")
        local, end = re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    else:
        dots = _DOT_STRING.match(text)
        if not dots:
            raise AddressError(f"local part is malformed in {text!r}")
        local, end = dots[0], dots.end()
    if not local:
        raise AddressError("local part is empty")
    if len(local.encode()) > MAX_LOCAL:
        raise AddressError(f"local part is longer than {MAX_LOCAL} octets")
    return local, end


def _parse_domain(text: str) -> str:
    if text.startswith("["):
        return _parse_literal(text)
    if not _DOMAIN.fullmatch(text):
        raise AddressError(f"domain {text!r} is malformed")
    if len(text.encode()) > MAX_DOMAIN:
        raise AddressError(f"domain is longer than {MAX_DOMAIN} octets")
    if any(len(label.encode()) > 63 and label.isascii() for label in text.split(".")):
        raise AddressError(f"domain {text!r} has a label longer than 63 octets")
    return text.rstrip(".").lower()


def _parse_literal(text: str) -> str:
    literal = _LITERAL.fullmatch(text)
    try:
        if literal and literal[1]:
            return f"[IPv6:{IPv6Address(literal[1])}]"
        if literal:
            return f"[{IPv4Address(literal[2])}]"
    except ValueError as error:
        raise AddressError(f"address literal {text!r} is malformed: {error}") from None
    raise AddressError(f"address literal {text!r} is malformed")
