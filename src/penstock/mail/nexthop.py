"""Next hops: where a message goes from here, in the syntax that administrators know from transport maps.

    mx:example.com          the hosts that take mail for a domain (RFC 5321 §5.1); also plain ``example.com``, or ``example.com:587``
    [relay.example]:25      that host, without looking for MX records; also ``[192.0.2.1]``, ``[2001:db8::1]:25``, ``[IPv6:2001:db8::1]``
    lmtp:[127.0.0.1]:24     LMTP over TCP, never with MX records; also ``lmtp:host:24``
    lmtp:/run/lmtp.sock     LMTP over a Unix socket; also ``lmtp:unix:/run/lmtp.sock``
    atrn:example.com        nowhere: the customer whose domain it is comes and fetches it (ATRN, RFC 2645)
    local                   this server

``smtp:`` may stand before each of the first two. There is one canonical text for each hop, since it is the name of a queue, by which mail
that waits is found after a restart. Rejected: a class for each kind, since whoever holds a hop wants to print, compare and store it first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, Self

from .idna import to_ascii

Kind = Literal["local", "smtp", "lmtp", "atrn"]

SMTP_PORT, LMTP_PORT = 25, 24
ATRN: Literal["atrn"] = "atrn"
# sun_path has 108 octets on Linux, one of them for the NUL at its end.
MAX_SOCKET_PATH = 107
# Longer than anything that a configuration comes to: 253 octets of host, a scheme, brackets and a port.
_MAX_TEXT = 400

_SCHEME = re.compile(r"(smtp|lmtp|mx|local|atrn)(?::|\Z)", re.IGNORECASE)
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::(.*))?", re.DOTALL)
_TAG = re.compile(r"IPv6:", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
# What stands in a queue's name after the semicolon: visible ASCII but the semicolon.
_CLASS = re.compile(r"[!-:<-~]{1,64}")


@dataclass(frozen=True, slots=True)
class NextHop:
    """A next hop; made by ``parse``, ``of_domain`` or ``of_queue``, which check what they are given.

    Args:
        kind: "smtp", "lmtp", "atrn" for mail that is fetched, or "local" for this server itself.
        host: a host or domain name in lower case and A-labels, or an IP address without brackets; "" for a socket and for
            "local"; of "atrn" the domain.
        port: the TCP port; 0 where there is none.
        mx: True when the host is a domain whose MX records are to be looked up.
        path: the Unix socket, "" when the host counts.

    Source: RFC 5321 §5.1; RFC 2033; RFC 2645.
    """

    kind: Kind
    host: str = ""
    port: int = 0
    mx: bool = False
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses one of the forms above.

        Raises: ValueError with the reason, in words for the one who wrote it.
        """
        if not text or len(text) > _MAX_TEXT:
            raise ValueError("the next hop is empty" if not text else f"a next hop of {len(text)} characters is too long")
        found = _SCHEME.match(text)
        # "mx.example" and "local.example" are hosts; so is "smtp:25" but for the syntax, hence [smtp]:25.
        scheme, rest = (found[1].lower(), text[found.end() :]) if found else ("smtp", text)
        if scheme == "local":
            if ":" in text:
                raise ValueError(f"{text!r}: nothing stands after 'local'; a host of that name is written [local]")
            return cls("local")
        if not rest:
            raise ValueError(f"{text!r}: a host is missing")
        if scheme == ATRN:
            return cls(ATRN, _host(rest, text))
        if scheme == "smtp" and rest[:3].lower() == "mx:":
            scheme, rest = "mx", rest[3:]
        if scheme == "lmtp" and (rest.startswith("/") or rest[:5].lower() == "unix:"):
            return cls("lmtp", path=_path(rest[5:] if rest[0] != "/" else rest, text))
        return cls._at_host(scheme, rest, text)

    @classmethod
    def of_domain(cls, domain: str) -> Self:
        """The next hop of ordinary mail for the domain of an address, an address literal included.

        Raises: ValueError when no mail can be routed there, e.g. ``192.0.2.1`` without brackets.

        Source: RFC 5321 §5.1, §4.1.3.
        """
        if domain.startswith("["):
            inner = domain[1:-1] if domain.endswith("]") else ""
            address = _address(_TAG.sub("", inner, count=1))
            if not address:
                raise ValueError(f"{domain!r} is not an address literal")
            return cls("smtp", address, SMTP_PORT)
        return cls("smtp", _host(domain, domain), SMTP_PORT, mx=True)

    @classmethod
    def of_queue(cls, name: str) -> tuple[Self, str]:
        """The next hop and the message class of a queue's name.

        Raises: ValueError with the reason.
        """
        text, semicolon, message_class = name.partition(";")
        if semicolon:
            _check_class(message_class)
        return cls.parse(text), message_class

    def queue(self, message_class: str = "") -> str:
        """The name of the queue of messages for this hop, and of this class when there is one.

        Raises: ValueError when the class is not 1 to 64 visible ASCII characters without a semicolon.
        """
        if not message_class:
            return str(self)
        _check_class(message_class)
        return f"{self};{message_class}"

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host as an IP address, None when it is a name."""
        text = _address(self.host)
        if not text:
            return None
        return IPv6Address(text) if ":" in text else IPv4Address(text)

    def __str__(self) -> str:
        if self.kind == "local":
            return "local"
        if self.kind == ATRN:
            return f"{ATRN}:{self.host}"
        if self.path:
            return f"lmtp:{self.path}"
        if self.mx:
            return f"mx:{self.host}" if self.port == SMTP_PORT else f"mx:{self.host}:{self.port}"
        return f"{'lmtp:' if self.kind == 'lmtp' else ''}[{self.host}]:{self.port}"

    @classmethod
    def _at_host(cls, scheme: str, rest: str, text: str) -> Self:
        kind: Kind = "lmtp" if scheme == "lmtp" else "smtp"
        bracketed = _BRACKETED.fullmatch(rest)
        if bracketed:
            inner, digits = bracketed[1], bracketed[2]
            host = _address(_TAG.sub("", inner, count=1)) or _host(inner, text)
        else:
            name, colon, last = rest.partition(":")
            if ":" in last or "[" in rest or "]" in rest:
                raise ValueError(f"{text!r}: an IPv6 address is written in brackets, with the port after them")
            digits = last if colon else None
            host = _address(name) or _host(name, text)
        # Whoever writes an address wants no look-up, with or without the brackets; a bare 192.0.2.1 can mean nothing else.
        mx = kind == "smtp" and not bracketed and not _address(host)
        if scheme == "mx" and not mx:
            raise ValueError(f"{text!r}: there are no MX records to look up for what is in brackets or is an address")
        default = LMTP_PORT if kind == "lmtp" else SMTP_PORT
        return cls(kind, host, _port(digits, text) if digits is not None else default, mx)


def _address(text: str) -> str:
    """The canonical text of an IP address, "" when it is none."""
    try:
        # A zone (fe80::1%eth0) means something else on each machine, and may hold any character: no part of a durable name.
        if ":" in text:
            return str(IPv6Address(text)) if "%" not in text else ""
        return str(IPv4Address(text))
    except ValueError:
        return ""


def _host(name: str, text: str) -> str:
    try:
        host = to_ascii(name)
    except ValueError as reason:
        raise ValueError(f"{text!r}: {reason}") from None
    # No top-level domain is all digits (RFC 3696 §2): this is an address gone wrong, which some resolvers would still take for one.
    if host.rpartition(".")[2].isdigit():
        raise ValueError(f"{text!r}: {name!r} is neither a domain name nor an IP address in brackets")
    return host


def _port(digits: str, text: str) -> int:
    if not _PORT.fullmatch(digits) or not 1 <= int(digits) <= 65535:
        raise ValueError(f"{text!r}: {digits!r} is not a port between 1 and 65535")
    return int(digits)


def _path(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{text!r}: the path of a socket begins with /")
    # A semicolon ends the next hop in a queue's name, and a line end would split a listing.
    if not path.isprintable() or ";" in path:
        raise ValueError(f"{text!r}: the path of a socket has no semicolon and no control characters")
    if len(path.encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"{text!r}: the path of a socket has at most {MAX_SOCKET_PATH} octets")
    return path


def _check_class(message_class: str) -> None:
    if not _CLASS.fullmatch(message_class):
        raise ValueError(f"{message_class[:80]!r} is not a message class: 1 to 64 visible ASCII characters without a semicolon")
