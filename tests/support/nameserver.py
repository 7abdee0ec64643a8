"""A real server of names on 127.0.0.1, UDP and TCP on one port, that says what a test wants and fails as it is told.

    with Nameserver() as dns:
        dns.add("example.com", "MX", "10 mx.example.com", ttl=60)
        dns.add("mx.example.com", "A", "192.0.2.1")
        dns.fault("slow.example", Fault.SILENT)
        ... dns.address ...          # "127.0.0.1:53124", for [dns] servers

It runs in a thread with a loop of its own, so that synchronous tests that start Penstock as a program can use it like asynchronous ones.
A name that was not added does not exist; one that was, but not with the type asked for, has no records; names above an added one exist.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any, NamedTuple, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from .waiting import wait_until

_UDP_WITHOUT_EDNS = 512
_CHAIN = 8


class Fault(Enum):
    """What goes wrong with the answers for a name."""

    SERVFAIL = auto()
    REFUSED = auto()
    FORMERR = auto()
    SILENT = auto()
    """No answer at all."""
    HELD = auto()
    """No answer before ``release``."""
    TRUNCATED = auto()
    """Over UDP only "ask over TCP"; over TCP the whole answer."""
    TRUNCATED_ALWAYS = auto()
    GARBAGE = auto()
    """Octets that are no DNS message."""
    WRONG_ID = auto()
    """An answer to nobody's question, then nothing."""
    WRONG_QUESTION = auto()
    """A fitting id, another name."""
    NO_SOA = auto()
    """A negative answer that does not say for how long."""
    ALIAS_ONLY = auto()
    """The CNAME without what it leads to, as of a server that does not follow it."""
    HANG_UP = auto()
    """Over TCP the connection is closed in the middle of the answer; over UDP it is truncated."""


class Query(NamedTuple):
    """One question that came."""

    name: str
    kind: str
    transport: str


class Nameserver:
    """The server; a context manager. Zones and faults may be changed while it runs.

    Args:
        negative_ttl: seconds that the SOA record allows to keep a negative answer.
    """

    def __init__(self, negative_ttl: int = 300) -> None:
        self.negative_ttl = negative_ttl
        self.queries: list[Query] = []
        self.address = ""
        self._records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {}
        self._names: set[dns.name.Name] = set()
        self._faults: dict[tuple[dns.name.Name, str], tuple[Fault, int]] = {}
        self._held: dict[dns.name.Name, threading.Event] = defaultdict(threading.Event)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nameserver", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._tcp: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None

    def add(self, name: str, kind: str, *values: str, ttl: int = 300) -> None:
        """Adds records, in the text form of zone files: ``add("example.com", "MX", "10 mx.example.com")``; names are absolute."""
        owner, rdtype = dns.name.from_text(name), dns.rdatatype.from_text(kind)
        rrset = self._records.get((owner, rdtype)) or dns.rrset.RRset(owner, dns.rdataclass.IN, rdtype)
        for value in values:
            rrset.add(dns.rdata.from_text(dns.rdataclass.IN, rdtype, value, origin=dns.name.root, relativize=False), ttl)
        rrset.update_ttl(ttl)
        self._records[owner, rdtype] = rrset
        self._names.update(_above(owner))

    def remove(self, name: str, kind: str) -> None:
        """Removes the records of a type; the name goes on to exist."""
        self._records.pop((dns.name.from_text(name), dns.rdatatype.from_text(kind)), None)

    def mail_domain(self, domain: str, *addresses: str, ttl: int = 300) -> None:
        """Adds a domain with one MX host, ``mx.DOMAIN``, at these addresses."""
        self.add(domain, "MX", f"10 mx.{domain}", ttl=ttl)
        for address in addresses:
            self.add(f"mx.{domain}", "AAAA" if ":" in address else "A", address, ttl=ttl)

    def fault(self, name: str, fault: Fault, kind: str = "", times: int = -1) -> None:
        """Answers for a name go wrong: those of one type or all, so many times or always."""
        self._faults[dns.name.from_text(name), kind] = (fault, times)

    def heal(self, name: str, kind: str = "") -> None:
        """Ends a fault."""
        self._faults.pop((dns.name.from_text(name), kind), None)

    def release(self, name: str) -> None:
        """Lets the HELD answers for a name go, those to come included."""
        self._held[dns.name.from_text(name)].set()

    def asked(self, name: str, kind: str = "") -> int:
        """How many questions for a name came, of one type or of all."""
        wanted = name.rstrip(".").lower()
        return sum(query.name == wanted and kind in {"", query.kind} for query in list(self.queries))

    def wait_asked(self, name: str, times: int = 1, kind: str = "") -> None:
        """Waits until so many questions for a name came; for synchronous tests, and asynchronous ones through a thread."""
        wait_until(lambda: self.asked(name, kind) >= times, f"{times} questions for {name}")

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _open(self) -> None:
        for _ in range(50):
            tcp = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            port = tcp.sockets[0].getsockname()[1]
            # The port that TCP got may be another's for UDP.
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                sock.close()
                tcp.close()
                continue
            self._udp, _ = await self._loop.create_datagram_endpoint(lambda: _Datagrams(self._datagram), sock=sock)
            self._tcp, self.address = tcp, f"127.0.0.1:{port}"
            return
        raise AssertionError("found no port that is free for both UDP and TCP")

    async def _shut(self) -> None:
        if self._tcp:
            self._tcp.close()
        if self._udp:
            self._udp.close()
        for event in self._held.values():
            event.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _datagram(self, wire: bytes, client: tuple[str, int]) -> None:
        self._keep(self._loop.create_task(self._answer_datagram(wire, client)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_datagram(self, wire: bytes, client: tuple[str, int]) -> None:
        answer = await self._answer(wire, "udp")
        if answer is not None and self._udp and not self._udp.is_closing():
            self._udp.sendto(answer, client)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._keep(task)
        try:
            while length := await reader.readexactly(2):
                wire = await reader.readexactly(int.from_bytes(length))
                answer = await self._answer(wire, "tcp")
                if answer is None:
                    continue
                hang_up = self._fault_of(dns.message.from_wire(wire)) is Fault.HANG_UP
                writer.write(len(answer).to_bytes(2) + (answer[: len(answer) // 2] if hang_up else answer))
                await writer.drain()
                if hang_up:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, wire: bytes, transport: str) -> bytes | None:
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        self.queries.append(Query(question.name.to_text(True).lower(), dns.rdatatype.to_text(question.rdtype), transport))
        fault = self._use_fault(query)
        if fault is Fault.HELD:
            held = self._held[_lower(question.name)]
            while not held.is_set():
                await asyncio.sleep(0.002)
        return self._message(query, transport, fault)

    def _message(self, query: dns.message.Message, transport: str, fault: Fault | None) -> bytes | None:
        if fault is Fault.SILENT:
            return None
        if fault is Fault.GARBAGE:
            return query.to_wire()[:2] + b"\xff" * 40
        response = dns.message.make_response(query, recursion_available=True)
        if fault in _RCODES:
            response.set_rcode(_RCODES[fault])
        else:
            self._fill(response, fault)
        if fault is Fault.WRONG_ID:
            response.id ^= 0xFFFF
        if fault is Fault.WRONG_QUESTION:
            response.question = [dns.rrset.RRset(dns.name.from_text("other.example"), dns.rdataclass.IN, query.question[0].rdtype)]
        cut = fault is Fault.TRUNCATED_ALWAYS or (transport == "udp" and fault in {Fault.TRUNCATED, Fault.HANG_UP})
        room = 65535 if transport == "tcp" else max(query.payload, _UDP_WITHOUT_EDNS)
        try:
            wire = response.to_wire(max_size=room)
        except dns.exception.TooBig:
            cut = True
        if cut:
            response = dns.message.make_response(query, recursion_available=True)
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return wire

    def _fill(self, response: dns.message.Message, fault: Fault | None) -> None:
        name, rdtype = _lower(response.question[0].name), response.question[0].rdtype
        for _ in range(_CHAIN):
            if found := self._records.get((name, rdtype)):
                response.answer.append(found)
                return
            alias = self._records.get((name, dns.rdatatype.CNAME))
            if not alias:
                break
            if alias not in response.answer:
                response.answer.append(alias)
            if fault is Fault.ALIAS_ONLY:
                return
            name = _lower(alias[0].target)
        else:
            return
        if name not in self._names:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if fault is not Fault.NO_SOA:
            soa = f". hostmaster.invalid. 1 3600 600 86400 {self.negative_ttl}"
            response.authority.append(dns.rrset.from_text(dns.name.root, 86400, "IN", "SOA", soa))

    def _fault_of(self, query: dns.message.Message) -> Fault | None:
        found = self._find_fault(query)
        return found[1][0] if found else None

    def _use_fault(self, query: dns.message.Message) -> Fault | None:
        found = self._find_fault(query)
        if not found:
            return None
        key, (fault, times) = found
        if times == 1:
            del self._faults[key]
        elif times > 1:
            self._faults[key] = (fault, times - 1)
        return fault

    def _find_fault(self, query: dns.message.Message) -> tuple[tuple[dns.name.Name, str], tuple[Fault, int]] | None:
        name, kind = _lower(query.question[0].name), dns.rdatatype.to_text(query.question[0].rdtype)
        for key in ((name, kind), (name, "")):
            if key in self._faults:
                return key, self._faults[key]
        return None


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, tuple[str, int]], None]) -> None:
        self.datagram_received = received  # type: ignore[method-assign]


def _lower(name: dns.name.Name) -> dns.name.Name:
    return name.canonicalize()


def _above(name: dns.name.Name) -> list[dns.name.Name]:
    found = [_lower(name)]
    while found[-1] != dns.name.root:
        found.append(found[-1].parent())
    return found


_RCODES = {Fault.SERVFAIL: dns.rcode.SERVFAIL, Fault.REFUSED: dns.rcode.REFUSED, Fault.FORMERR: dns.rcode.FORMERR}
