"""From a next hop to the addresses that are tried, in the order in which they are tried (RFC 5321 §5.1).

A failing look-up is a value here, not an exception: whoever asks has to tell mail that waits from mail that goes back, and that is in the
status. When in doubt it is temporary, since mail that waits too long is a nuisance, and mail that goes back for no reason is lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import groupby, zip_longest
from typing import Literal

from ..events.verdict_transit import Addresses, NotFound
from ..mail.idna import to_ascii
from ..mail.nexthop import ATRN, SMTP_PORT, NextHop
from .answers import Answer, Mx, Outcome
from .resolver import Resolver
from .source import has_route

# What a sink is asked on ResolveHost; None goes on to DNS. The caller gives no function where nobody is bound.
Ask = Callable[[str, Literal["mx", "address"]], Awaitable[Addresses | NotFound | None]]
# How many MX hosts are looked up: as many as are ever tried, and some that lead nowhere.
_MAX_HOSTS = 20


@dataclass(frozen=True, slots=True)
class Target:
    """One address to try.

    Args:
        host: the name that led there, which a certificate is checked against; the address itself where nobody named a host.
        address: the IP address, "" for a socket.
        port: the TCP port, 0 for a socket.
        preference: of the MX record, 0 where there was none.
        path: the Unix socket, "" otherwise.
    """

    host: str
    address: str
    port: int
    preference: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Unroutable:
    """Why there is no address to try.

    Args:
        status: an enhanced status code: 5.x.x when it is for certain, 4.x.x when a later look-up may end otherwise (RFC 3463).
        text: the reason, for queue listings and DSNs.
    """

    status: str
    text: str

    @property
    def permanent(self) -> bool:
        """True when trying again is of no use."""
        return self.status.startswith("5")


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """Which addresses are tried.

    Args:
        prefer: the family that is tried first at each host; the two take turns after that. "any" draws it.
        ipv4: IPv4 addresses are tried.
        ipv6: IPv6 addresses are tried, where there is a way to them.
        port: the port of servers that are found by MX records, in place of 25; for development, where 25 is not to be had.
        limit: how many addresses are tried for a message at one attempt; RFC 5321 §5.1 asks for "at least two".
        timeout: seconds for all the look-ups of one search; what was found until then is tried.
        own_names: the names of this server, as MX records have them.
        own_addresses: addresses and networks of this server; what leads there would be a loop.
    """

    prefer: Literal["ipv6", "ipv4", "any"] = "any"
    ipv4: bool = True
    ipv6: bool = True
    port: int = SMTP_PORT
    limit: int = 10
    timeout: float = 60.0
    own_names: frozenset[str] = frozenset()
    own_addresses: tuple[str, ...] = ("127.0.0.0/8", "::1")


class Targets:
    """Finds the addresses of next hops.

    Args:
        resolver: asks DNS.
        settings: which addresses are tried.
        draw: what equal choices are drawn from.
        reachable: whether there is a way from here to an IPv6 address.

    Raises: ValueError when an own name or address is malformed.
    """

    def __init__(
        self,
        resolver: Resolver,
        settings: TargetSettings | None = None,
        draw: random.Random | None = None,
        reachable: Callable[[str], bool] = has_route,
    ) -> None:
        self._resolver = resolver
        self._settings = settings or TargetSettings()
        self._draw = draw or random.Random()  # noqa: S311 - which of equal hosts is tried first is no secret
        self._reachable = reachable
        self._own_names = frozenset(to_ascii(name) for name in self._settings.own_names)
        self._own_networks = tuple(ip_network(text) for text in self._settings.own_addresses)

    async def of(self, hop: NextHop, ask: Ask | None = None) -> tuple[Target, ...] | Unroutable:
        """The addresses to try, in order, at least one and at most the limit.

        Args:
            hop: where to go; "local" is not for connections, and a ValueError.
            ask: asked before DNS, where a sink may know better.

        Source: RFC 5321 §5.1; RFC 7505.
        """
        if hop.kind == "local":
            raise ValueError("no connection leads to the next hop 'local'")
        if hop.kind == ATRN:
            return Unroutable("4.4.1", f"the mail of {hop.host} waits until it is fetched (ATRN)")
        if hop.path:
            return (Target("", "", 0, path=hop.path),)
        search = _Search(self, hop, ask)
        try:
            async with asyncio.timeout(self._settings.timeout):
                await search.run()
        except TimeoutError:
            search.give_up(f"the look-ups for {hop.host} took longer than {self._settings.timeout:g} seconds")
        return search.result()

    def usable(self, address: str) -> bool:
        """Whether a connection to the address can be tried at all."""
        found = _unmapped(address)
        # 0.0.0.0 and :: reach this machine on Linux, whatever it listens on; an answer with them is a mistake, or meant to do harm.
        if found.is_unspecified or found.is_multicast or found == IPv4Address("255.255.255.255"):
            return False
        return self._settings.ipv4 if isinstance(found, IPv4Address) else self._settings.ipv6 and self._reachable(address)

    def is_own_address(self, address: str) -> bool:
        """Whether the address is one of this server."""
        found = _unmapped(address)
        return any(found in network for network in self._own_networks)

    def is_own_name(self, host: str) -> bool:
        """Whether the name is one of this server."""
        return host in self._own_names

    def shuffled(self, records: Sequence[Mx]) -> list[Mx]:
        """Sorted by preference, and drawn where that is equal: "the sender-SMTP MUST randomize them to spread the load"."""
        drawn = self._draw.sample(records, len(records))
        return sorted(drawn, key=lambda record: record.preference)

    def ordered(self, addresses: Sequence[str]) -> list[str]:
        """The addresses of one host, the families in turn, so that a family that does not work here costs every second attempt at most."""
        drawn = self._draw.sample(addresses, len(addresses))
        v6, v4 = [a for a in drawn if ":" in a], [a for a in drawn if ":" not in a]
        prefer = self._settings.prefer
        first = prefer == "ipv6" or (prefer == "any" and self._draw.random() < 0.5)
        pairs = zip_longest(v6, v4) if first else zip_longest(v4, v6)
        return [address for pair in pairs for address in pair if address]

    async def lookup(self, host: str, ask: Ask | None) -> Answer[str]:
        """The addresses of a host, from a sink or the resolver."""
        told = await ask(host, "address") if ask and not _is_address(host) else None
        return _told(host, told) if told else await self._resolver.resolve_addresses(host)

    async def lookup_mx(self, domain: str, ask: Ask | None) -> Answer[Mx] | Addresses:
        """The MX records of a domain; a sink that is asked may give addresses in place of all of them."""
        told = await ask(domain, "mx") if ask else None
        if isinstance(told, Addresses):
            return told
        if told:
            return Answer(Outcome.NO_SUCH_NAME, text=f"{domain} does not exist, a sink says")
        return await self._resolver.resolve_mx(domain)

    @property
    def limit(self) -> int:
        """How many addresses are tried."""
        return self._settings.limit

    def port_of(self, hop: NextHop) -> int:
        """The port that connections for the hop go to."""
        return self._settings.port if hop.mx and hop.port == SMTP_PORT else hop.port


class _Search:
    """One search for the addresses of a next hop: what was found so far, and what went wrong on the way."""

    __slots__ = ("_ask", "_found", "_guards_loops", "_hop", "_looped", "_port", "_troubles", "_with")

    def __init__(self, targets: Targets, hop: NextHop, ask: Ask | None) -> None:
        self._with = targets
        self._hop = hop
        self._ask = ask
        self._port = targets.port_of(hop)
        # On another port it is no loop by these rules: a second server on this machine, as an administrator wants it. Postfix's rule.
        self._guards_loops = hop.kind == "smtp" and self._port == SMTP_PORT
        self._found: dict[str, Target] = {}
        self._troubles: list[Unroutable] = []
        self._looped = False

    async def run(self) -> None:
        """Looks up what there is to look up."""
        if not self._hop.mx:
            await self._try_hosts([Mx(0, self._hop.host)])
            return
        domain = self._hop.host
        answer = await self._with.lookup_mx(domain, self._ask)
        if isinstance(answer, Addresses):
            self._add(domain, 0, Answer(Outcome.FOUND, tuple(answer.addresses), fixed=True))
        elif answer.outcome is Outcome.FAILED:
            # "If a temporary error is returned, the message MUST be queued and retried later": its MX may be elsewhere than its address.
            self._troubles.append(Unroutable("4.4.3", answer.text))
        elif answer.outcome is Outcome.NO_SUCH_NAME:
            self._troubles.append(Unroutable("5.1.2", answer.text))
        elif answer.outcome is Outcome.NO_RECORDS:
            # "If an empty list of MXs is returned, the address is treated as if it was associated with an implicit MX RR".
            await self._try_hosts([Mx(0, domain)])
        elif answer.records and answer.records[0].host == "":
            self._troubles.append(Unroutable("5.1.10", f"{domain} does not accept mail (null MX)"))
        else:
            await self._by_preference(answer.records)

    def give_up(self, text: str) -> None:
        """Notes that time is over: what was not found by now may be there."""
        self._troubles.append(Unroutable("4.4.3", text))

    async def _by_preference(self, records: Sequence[Mx]) -> None:
        left = _MAX_HOSTS
        for _, group in groupby(self._with.shuffled(records), key=lambda record: record.preference):
            hosts = list(group)
            # "all records at that preference level and higher-numbered ones MUST be discarded from consideration", where one is ourselves.
            if self._guards_loops and any(self._with.is_own_name(record.host) for record in hosts):
                self._looped = True
                return
            # A host that is an IP address is against RFC 5321 §5.1 and happens; it is taken for what it is, as Postfix does.
            if not await self._try_hosts(hosts[:left]) or len(self._found) >= self._with.limit or left <= len(hosts):
                return
            left -= len(hosts)

    async def _try_hosts(self, records: list[Mx]) -> bool:
        """Looks up hosts of one preference, all at once; False when one of them is this server, and none of them counts."""
        answers = await asyncio.gather(*(self._with.lookup(record.host, self._ask) for record in records))
        own = (address for answer in answers for address in answer.records if self._with.is_own_address(address))
        if self._guards_loops and (any(own) or any(self._with.is_own_name(record.host) for record in records)):
            self._looped = True
            return False
        for record, answer in zip(records, answers, strict=True):
            self._add(record.host, record.preference, answer)
        return True

    def _add(self, host: str, preference: int, answer: Answer[str]) -> None:
        if answer.outcome is not Outcome.FOUND:
            status = {Outcome.FAILED: "4.4.3", Outcome.NO_SUCH_NAME: "5.4.4", Outcome.NO_RECORDS: "5.4.4"}[answer.outcome]
            self._troubles.append(Unroutable(status, answer.text))
            return
        usable = [address for address in answer.records if self._with.usable(address)]
        if not usable:
            # It is we who have no way there: it may come, and the recipient is not to blame.
            self._troubles.append(Unroutable("4.4.4", f"{host} has no address that can be reached from here"))
        for address in usable if answer.fixed else self._with.ordered(usable):
            self._found.setdefault(address, Target(host, address, self._port, preference))

    def result(self) -> tuple[Target, ...] | Unroutable:
        """What came of it."""
        if self._found:
            return tuple(self._found.values())[: self._with.limit]
        for trouble in self._troubles:
            if not trouble.permanent:
                return trouble
        if self._looped:
            return Unroutable("5.4.6", f"mail for {self._hop.host} loops back to myself")
        if not self._troubles:
            return Unroutable("5.4.4", f"no MX record of {self._hop.host} names a host")
        # Only an administrator or a sink writes a host without MX records: a slip of theirs is put right, and the mail goes on.
        return self._troubles[0] if self._hop.mx else Unroutable("4.4.4", self._troubles[0].text)


def _told(host: str, told: Addresses | NotFound) -> Answer[str]:
    if isinstance(told, Addresses):
        return Answer(Outcome.FOUND, tuple(told.addresses), fixed=True)
    return Answer(Outcome.NO_SUCH_NAME, text=f"{host} does not exist, a sink says")


def _unmapped(address: str) -> IPv4Address | IPv6Address:
    found = ip_address(address)
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
