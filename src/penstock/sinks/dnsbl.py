"""DNS block lists and allow lists (RFC 5782): each answer of a list has a weight, and who has enough of it is refused.

Written as Postfix's postscreen has it: ``zen.example=127.0.0.[2..11]*3`` counts 3 for an answer in that range, ``list.example`` 1 for any,
``allow.example*-5`` takes away. A list that does not answer in time says nothing about anybody: mail must not depend on it.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

import dns.asyncresolver
import dns.exception
import dns.resolver

from penstock import Sink, on
from penstock.events import RcptTo
from penstock.verdicts import Defer, Reject

# domain ["=" pattern] ["*" weight]; a pattern has four parts, each a number, or numbers and ranges in brackets.
_SITE = re.compile(r"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?:=([0-9.\[\];]+))?(?:\*(-?[0-9]{1,3}))?")
_PART = re.compile(r"\[([0-9.;]+)\]|([0-9]{1,3})")
# Clients of which the answers are remembered, some 300 octets each.
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class DnsblSettings:
    """Which lists, and what follows.

    Args:
        sites: the lists, with patterns and weights.
        threshold: what the weights have to come to.
        action: "reject", "defer", or "mark": then nobody is refused, and other sinks find the score in
            ``event.session.shared("dnsbl")["score"]``.
        timeout: seconds that the lists have for their answers, all together.
        keep: seconds for which an answer counts.
        servers: DNS servers, as addresses; those of the machine when empty. Public ones are refused by most lists.
        port: their port.
    """

    sites: list[str]
    threshold: int = 1
    action: Literal["reject", "defer", "mark"] = "reject"
    timeout: float = 3.0
    keep: float = 300.0
    servers: list[str] = field(default_factory=list)
    port: int = 53


@dataclass(frozen=True, slots=True)
class Site:
    """One list.

    Args:
        domain: its zone.
        parts: for each part of an answer the numbers that count; empty for any answer in 127.0.0.0/8.
        weight: what an answer that fits counts.
    """

    domain: str
    parts: tuple[frozenset[int], ...]
    weight: int

    @classmethod
    def parse(cls, text: str) -> Site:
        """Raises ValueError with what a list looks like."""
        found = _SITE.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is no list, such as 'zen.example=127.0.0.[2..11]*3'")
        return cls(found[1].lower(), _parts(found[2], text), int(found[3] or 1))

    def fits(self, address: str) -> bool:
        """Whether an answer counts; what is outside of 127.0.0.0/8 is no answer of a list (RFC 5782 §2.1)."""
        numbers = [int(number) for number in address.split(".")]
        if numbers[0] != 127:
            return False
        return not self.parts or all(number in allowed for number, allowed in zip(numbers, self.parts, strict=True))


def _parts(pattern: str | None, text: str) -> tuple[frozenset[int], ...]:
    if not pattern:
        return ()
    # Dots within brackets are of ranges.
    pieces = re.findall(r"\[[^\]]*\]|[^.\[\]]+", pattern)
    if len(pieces) != 4 or ".".join(pieces) != pattern or not all(_PART.fullmatch(piece) for piece in pieces):
        raise ValueError(f"{text!r} has a pattern of other than four parts, such as 127.0.0.[2;4..11]")
    return tuple(_numbers(piece.strip("[]"), text) for piece in pieces)


def _numbers(piece: str, text: str) -> frozenset[int]:
    found: set[int] = set()
    for item in piece.split(";"):
        first, dots, last = item.partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()) or int(last or first) > 255:
            raise ValueError(f"{text!r} has a pattern with {item!r}, which is no number up to 255 nor a range such as 2..11")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


class Dnsbl(Sink[DnsblSettings]):
    """Asks all lists at once at the first RCPT of a client, so that the log names sender and recipient; not about who has logged in.

    Raises: ValueError for a list that cannot be read.
    """

    def __init__(self, settings: DnsblSettings) -> None:
        super().__init__(settings)
        self._sites = [Site.parse(text) for text in settings.sites]
        if not self._sites:
            raise ValueError("sites: there is no list")
        self._resolver = dns.asyncresolver.Resolver(configure=not settings.servers)
        self._resolver.cache = dns.resolver.LRUCache(1000)
        if settings.servers:
            self._resolver.nameservers = list(settings.servers)
            self._resolver.port = settings.port
        self._known: OrderedDict[str, tuple[float, int, str]] = OrderedDict()

    @on(RcptTo)
    async def look(self, event: RcptTo) -> Reject | Defer | None:
        """Adds up what the lists say."""
        session = event.session
        if session.user or not session.client_ip or event.recipient.address.local.lower() == "postmaster":
            return None
        score, domain = await self._score(session.client_ip)
        session.shared("dnsbl")["score"] = score
        if score < self.settings.threshold or self.settings.action == "mark":
            return None
        # RFC 5782 does not name a code; 5.7.1 is what Postfix says.
        text = f"Service unavailable; client [{session.client_ip}] is blocked using {domain}"
        return Reject(550, "5.7.1", text) if self.settings.action == "reject" else Defer(450, "4.7.1", text)

    async def _score(self, client_ip: str) -> tuple[int, str]:
        """The sum, and the list that counts most."""
        now = asyncio.get_running_loop().time()
        known = self._known.get(client_ip)
        if known is not None and known[0] > now:
            return known[1:]
        reverse = _reversed(client_ip)
        tasks = [asyncio.ensure_future(self._ask(f"{reverse}.{site.domain}.")) for site in self._sites]
        await asyncio.wait(tasks, timeout=self.settings.timeout)
        score, most, named = 0, 0, ""
        for site, task in zip(self._sites, tasks, strict=True):
            answers = task.result() if task.done() and not task.cancelled() else ()
            task.cancel()
            if any(site.fits(address) for address in answers):
                score += site.weight
                if site.weight > most:
                    most, named = site.weight, site.domain
        self._known[client_ip] = (now + self.settings.keep, score, named)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return score, named

    async def _ask(self, name: str) -> tuple[str, ...]:
        """The addresses of a name; none when there is no such name, or no answer."""
        try:
            answer = await self._resolver.resolve(name, "A", lifetime=self.settings.timeout, search=False)
        except (dns.exception.DNSException, OSError):
            return ()
        return tuple(record.address for record in answer)[:50]


def _reversed(client_ip: str) -> str:
    """The octets, or with IPv6 the hexadecimal digits, from last to first (RFC 5782 §2.1 and §2.4)."""
    address = ip_address(client_ip.partition("%")[0])
    if address.version == 4:
        return ".".join(reversed(str(address).split(".")))
    return ".".join(reversed(address.exploded.replace(":", "")))
