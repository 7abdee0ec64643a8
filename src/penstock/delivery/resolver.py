"""Asks DNS, and makes of what comes back values that nothing hostile is left in.

dnspython speaks to the servers: several in turn, UDP with EDNS, TCP when an answer is truncated, random ids and ports, answers that do not
fit the question ignored. Here is what it leaves to us: equal questions at one time are asked once, answers are kept as small values by
their time to live, names are checked, and numbers of records, of questions under way and of CNAMEs followed have a bound. Rejected:
``getaddrinfo``, which knows no MX records, no time to live, and no reliable difference between "no such host" and "ask again".
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.resolver
import dns.reversename
from dns.rdtypes.ANY import MX as MX_TYPE
from dns.rdtypes.ANY import PTR as PTR_TYPE
from dns.rdtypes.IN import AAAA as AAAA_TYPE
from dns.rdtypes.IN import A as A_TYPE

from ..mail.idna import to_ascii
from .answers import Answer, AnswerCache, Mx, Outcome

# More than anybody has. Large providers have 5 MX hosts; an answer over UDP holds some 30.
MAX_MX, MAX_ADDRESSES = 100, 50
# Each is asked about in turn: an address with a thousand names is an attack.
MAX_NAMES = 4
# How many times a CNAME that leads out of its response is followed; within one, dnspython follows 16.
_MAX_CNAMES = 4
# Questions under way at a time; one more waits for its turn. Each has a socket, and twice as many at once overrun the receive buffer that a
# server of names has by default on Linux, so that some are lost and cost a timeout each.
_MAX_QUESTIONS = 128
# resolv.conf(5): "Up to MAXNS (currently 3) name servers may be listed".
_MAX_SERVERS = 3
# RFC 6891 §6.2.5 asks for a size that is not fragmented; 1232 is what the DNS flag day of 2020 settled on.
_EDNS_PAYLOAD = 1232
# RFC 6761 §6.3: "Name resolution APIs and libraries SHOULD recognize localhost names as special and SHOULD always return the IP loopback
# address"; most servers of names do not know them.
_LOCALHOST = ("127.0.0.1", "::1")

_RecordType = Literal["MX", "A", "AAAA", "PTR"]


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """How DNS is asked; the defaults need no configuration.

    Args:
        servers: addresses of recursive servers, each with or without a port, e.g. ``("192.0.2.53", "[2001:db8::53]:5353")``; empty for
            those of the system.
        timeout: seconds that one server is waited for, once.
        attempts: how many times each server is asked.
        hosts: addresses of hosts, for which DNS is then never asked.
        min_ttl: seconds that an answer is kept at least, whatever its time to live.
        max_ttl: seconds that an answer with records is kept at most.
        negative_ttl: seconds that "no such name" or "no records" is kept at most.
        failure_ttl: seconds that a failure is kept; RFC 9520 §3.2 asks for 1 second to 5 minutes.
        kept_records: how many records are kept in all.
        system: the file that names the system's servers.
    """

    servers: tuple[str, ...] = ()
    timeout: float = 5.0
    attempts: int = 2
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    min_ttl: float = 5.0
    max_ttl: float = 86400.0
    negative_ttl: float = 900.0
    failure_ttl: float = 15.0
    kept_records: int = 50_000
    system: Path = Path("/etc/resolv.conf")

    def __post_init__(self) -> None:
        if not self.timeout > 0 or self.attempts < 1:
            raise ValueError("a look-up needs a timeout above 0 and at least one attempt")


# An address in brackets, or one without a colon; then a port perhaps. What does not match is an address by itself, or nothing.
_SERVER = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([0-9]{1,5}))?", re.ASCII)


class _TruncatedError(dns.exception.DNSException):
    """Over TCP, too, the server gives a part of its answer."""


class _Kept(NamedTuple):
    """An answer and how many seconds it may be kept."""

    answer: Answer[Any]
    ttl: float


class Resolver:
    """Looks up MX records and addresses.

    Args:
        settings: how DNS is asked.
        now: the present time in seconds, from any start.

    Raises: ValueError when a server or a host of the settings is malformed.
    """

    def __init__(self, settings: ResolverSettings | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings = settings or ResolverSettings()
        self._now = now
        self._hosts = {to_ascii(name): tuple(str(ip_address(a)) for a in found) for name, found in settings.hosts.items()}
        self._cache = AnswerCache(settings.kept_records)
        self._asked: dict[tuple[str, str], asyncio.Task[Answer[Any]]] = {}
        self._turn = asyncio.Semaphore(_MAX_QUESTIONS)
        self._system_state: tuple[int, int] | None = None
        self._client = _client(settings, [_server(text) for text in settings.servers] or self._system_servers())

    async def resolve_mx(self, domain: str) -> Answer[Mx]:
        """The MX records of a domain, lowest preference first; "no records" for a host of the settings.

        Raises: ValueError when the domain is malformed.
        """
        name = to_ascii(domain)
        if self._fixed(name):
            return Answer(Outcome.NO_RECORDS, text=f"{name} is a host of the configuration", fixed=True)
        return await self._answer(self._ask(name, "MX"))

    async def resolve_addresses(self, host: str) -> Answer[str]:
        """The IPv6 and IPv4 addresses of a host, or the address itself when it is one.

        It is found when one kind is, whatever became of the other: servers that fail for AAAA records are common, and no reason to keep
        mail.

        Raises: ValueError when the name is malformed.
        """
        name = to_ascii(host) if ":" not in host else str(ip_address(host))
        fixed = self._fixed(name)
        if fixed:
            return Answer(Outcome.FOUND, fixed, fixed=True)
        if _is_address(name):
            return Answer(Outcome.FOUND, (name,), fixed=True)
        asked = self._ask(name, "AAAA"), self._ask(name, "A")
        both = [await self._answer(question) for question in asked]
        found = tuple(address for answer in both for address in answer.records)
        if found:
            return Answer(Outcome.FOUND, found)
        # What is least certain decides: a failure may hide an address, and a name with no records of one kind exists.
        for outcome in (Outcome.FAILED, Outcome.NO_RECORDS, Outcome.NO_SUCH_NAME):
            text = next((answer.text for answer in both if answer.outcome is outcome), "")
            if text:
                return Answer(outcome, text=f"{name} has no addresses" if outcome is Outcome.NO_RECORDS else text)
        return Answer(Outcome.NO_RECORDS, text=f"{name} has no usable addresses")

    async def resolve_name(self, address: str) -> str:
        """The host name of an address, "" when there is none that leads back to it: a PTR record alone is its owner's claim.

        Args:
            address: an IP address; it is nobody's fault when it is none.

        Source: RFC 1912 §2.1.
        """
        try:
            reverse = dns.reversename.from_address(address).to_text(omit_final_dot=True)
        except dns.exception.SyntaxError:
            return ""
        names = (await self._answer(self._ask(reverse, "PTR"))).records
        for name in names:
            found = await self.resolve_addresses(name)
            if any(ip_address(one) == ip_address(address) for one in found.records):
                return str(name)
        return ""

    def forget(self) -> None:
        """Forgets what is kept, so that the next question goes to the servers."""
        self._cache.clear()

    async def close(self) -> None:
        """Ends the questions under way; whoever waits for one is told that it failed."""
        asked = list(self._asked.values())
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    def _fixed(self, name: str) -> tuple[str, ...]:
        if name in self._hosts:
            return self._hosts[name]
        return _LOCALHOST if name == "localhost" or name.endswith(".localhost") else ()

    def _ask(self, name: str, kind: _RecordType) -> Answer[Any] | asyncio.Task[Answer[Any]]:
        """The answer that is kept, or the question that is under way now."""
        key = (name, kind)
        kept = self._cache.get(key, self._now())
        if kept:
            return kept
        task = self._asked.get(key)
        if not task:
            task = self._asked[key] = asyncio.create_task(self._question(name, kind), name=f"dns {kind} {name}")
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        return task

    async def _answer(self, question: Answer[Any] | asyncio.Task[Answer[Any]]) -> Answer[Any]:
        if isinstance(question, Answer):
            return question
        # Whoever gives up waiting must not end the question for the others; it ends by itself, since each step of it has a deadline.
        await asyncio.wait([question])
        return _CLOSED if question.cancelled() else question.result()

    async def _question(self, name: str, kind: _RecordType) -> Answer[Any]:
        async with self._turn:
            answer, ttl = await self._follow(name, kind)
        self._cache.put((name, kind), answer, self._now() + max(ttl, self._settings.min_ttl))
        return answer

    async def _follow(self, name: str, kind: _RecordType) -> _Kept:
        """Asks, and asks again where a CNAME leads out of the response, as behind a server that does not follow them."""
        wanted, ttl = name, self._settings.max_ttl
        for _ in range(_MAX_CNAMES):
            try:
                response = await self._query(wanted, kind)
            except dns.resolver.NXDOMAIN as missing:
                text, seconds = f"{name} does not exist", _negative_ttl(missing)
                return _Kept(Answer(Outcome.NO_SUCH_NAME, text=text), min(ttl, seconds, self._settings.negative_ttl))
            # Whatever else a stranger's octets bring about in the parser is a failed look-up as well, and must not reach a delivery.
            except Exception as failure:
                return self._failed(name, kind, _reason(failure))
            ttl = min(ttl, response.chaining_result.minimum_ttl)
            if response.rrset is not None:
                return _Kept(Answer(Outcome.FOUND, _RECORDS[kind](list(response.rrset))), ttl)
            target = _host_name(response.canonical_name)
            if target == wanted or not response.chaining_result.cnames:
                text = f"{name} has no {kind} records"
                return _Kept(Answer(Outcome.NO_RECORDS, text=text), min(ttl, self._settings.negative_ttl))
            if not target:
                return self._failed(name, kind, "it is an alias of a malformed name")
            wanted = target
        return self._failed(name, kind, "too many aliases")

    def _failed(self, name: str, kind: str, reason: str) -> _Kept:
        return _Kept(Answer(Outcome.FAILED, text=f"look-up of {kind} {name} failed: {reason}"), self._settings.failure_ttl)

    async def _query(self, name: str, kind: _RecordType) -> dns.resolver.Answer:
        if not self._settings.servers and self._system_state != _state(self._settings.system):
            self._client = _client(self._settings, self._system_servers())
        client, lifetime = self._client, _lifetime(self._settings, self._client)
        try:
            # dnspython reads the wall clock, which somebody may set; the loop's clock is what ends the question for certain.
            async with asyncio.timeout(lifetime + 1):
                answer = await client.resolve(f"{name}.", kind, search=False, lifetime=lifetime, raise_on_no_answer=False)
        except TimeoutError as late:
            raise dns.exception.Timeout from late
        # Over TCP dnspython lets a truncated answer pass; the half of an answer would be taken for "no records", and mail go back.
        if answer.response.flags & dns.flags.TC:
            raise _TruncatedError
        return answer

    def _system_servers(self) -> list[dns.nameserver.Nameserver]:
        """The servers of /etc/resolv.conf, which is read again when it changed: at boot a mail server is often up before the network is."""
        self._system_state = _state(self._settings.system)
        try:
            lines = self._settings.system.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return _THIS_MACHINE
        # By hand: dnspython refuses the whole file for one address that it cannot use.
        words = (line.split() for line in lines)
        found = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and _is_address(word[1])]
        return [dns.nameserver.Do53Nameserver(address, 53) for address in found[:_MAX_SERVERS]] or _THIS_MACHINE


_CLOSED: Answer[Any] = Answer(Outcome.FAILED, text="look-up ended: this server is stopping")

# resolv.conf(5): "If this file does not exist, only the name server on the local machine will be queried".
_THIS_MACHINE: list[dns.nameserver.Nameserver] = [dns.nameserver.Do53Nameserver("127.0.0.1", 53)]


def _client(settings: ResolverSettings, servers: list[dns.nameserver.Nameserver]) -> dns.asyncresolver.Resolver:
    client = dns.asyncresolver.Resolver(configure=False)
    client.nameservers = servers
    client.timeout = settings.timeout
    client.use_edns(0, 0, _EDNS_PAYLOAD)
    return client


def _lifetime(settings: ResolverSettings, client: dns.asyncresolver.Resolver) -> float:
    # dnspython rests before it begins with the servers again, 0.1 seconds at first and twice as long each time.
    rests = sum(min(0.1 * 2.0**n, 2.0) for n in range(settings.attempts - 1))
    return settings.timeout * settings.attempts * len(client.nameservers) + rests


def _server(text: str) -> dns.nameserver.Nameserver:
    """A server written as ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT."""
    found = _SERVER.fullmatch(text)
    host, port = (found[1] or found[2], found[3] or "53") if found else (text, "53")
    number = int(port)
    if not _is_address(host) or not 1 <= number <= 65535:
        raise ValueError(f"{text!r} is not a server of names, such as '192.0.2.53' or '[2001:db8::53]:53'")
    return dns.nameserver.Do53Nameserver(host, number)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _host_name(name: dns.name.Name) -> str:
    """The name as text, "" when it is none that a host could have: labels from DNS may hold any octet."""
    try:
        return to_ascii(name.to_text(omit_final_dot=True))
    except ValueError:
        return ""


def _mx_records(records: list[Any]) -> tuple[Mx, ...]:
    mx = cast("list[MX_TYPE.MX]", records)
    null = dns.name.root
    # RFC 7505 §3: "a domain that advertises a null MX MUST NOT advertise any other MX RR"; where one does, the others count.
    if all(record.exchange == null for record in mx):
        return (Mx(0, ""),)
    named = (Mx(record.preference, _host_name(record.exchange)) for record in mx if record.exchange != null)
    return tuple(sorted((record for record in named if record.host), key=lambda record: record.preference)[:MAX_MX])


def _addresses(records: list[Any]) -> tuple[str, ...]:
    return tuple(record.address for record in cast("list[A_TYPE.A | AAAA_TYPE.AAAA]", records)[:MAX_ADDRESSES])


def _pointers(records: list[Any]) -> tuple[str, ...]:
    """The names, without those that are addresses in disguise."""
    names = (_host_name(record.target) for record in cast("list[PTR_TYPE.PTR]", records)[:MAX_NAMES])
    return tuple(name for name in names if name and not _is_address(name))


_RECORDS: dict[str, Callable[[list[Any]], tuple[Any, ...]]] = {"MX": _mx_records, "A": _addresses, "AAAA": _addresses, "PTR": _pointers}


def _negative_ttl(missing: dns.resolver.NXDOMAIN) -> float:
    """RFC 2308 §5: the lesser of the SOA record's own time to live and its minimum."""
    responses = cast("dict[dns.name.Name, dns.message.QueryMessage]", missing.kwargs.get("responses") or {})
    return min((response.resolve_chaining().minimum_ttl for response in responses.values()), default=0)


def _reason(failure: Exception) -> str:
    """What went wrong, in a few words: an exception of dnspython tells the story of each attempt."""
    if isinstance(failure, dns.exception.Timeout):
        return "no answer in time"
    if isinstance(failure, dns.resolver.NoNameservers):
        errors = failure.kwargs.get("errors") or []
        server, _, _, cause, response = errors[-1] if errors else ("no server", False, 0, None, None)
        word = dns.rcode.to_text(response.rcode()) if response is not None and not isinstance(cause, Exception) else ""
        return f"{word or type(cause).__name__} from {server}"
    return "the answer is truncated" if isinstance(failure, _TruncatedError) else type(failure).__name__
