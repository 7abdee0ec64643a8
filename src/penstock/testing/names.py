"""DNS as a test writes it down, with the faults that DNS has. What is not written down does not exist."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from ..delivery.answers import Answer, Mx, Outcome
from ..delivery.resolver import Resolver, ResolverSettings
from ..mail.idna import to_ascii

Fault = Literal["", "nxdomain", "servfail", "timeout"]


class ScriptedDns:
    """The records that there are.

    ``asked`` is what was looked up, in order: the kind ("MX" or "A") and the name. Nothing is cached: a change counts from the next
    question.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._mx: dict[str, list[Mx]] = {}
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._faults: dict[str, Fault] = {}

    def mx(self, domain: str, host: str, preference: int = 10) -> None:
        """Adds an MX record."""
        self._mx.setdefault(to_ascii(domain), []).append(Mx(preference, to_ascii(host)))

    def null_mx(self, domain: str) -> None:
        """Says that the domain takes no mail (RFC 7505)."""
        self._mx[to_ascii(domain)] = [Mx(0, "")]

    def address(self, host: str, *addresses: str) -> None:
        """Gives a host its IPv4 and IPv6 addresses, in place of those it had."""
        self._addresses[to_ascii(host)] = addresses

    def servfail(self, name: str) -> None:
        """Lets every look-up of this name fail."""
        self._faults[to_ascii(name)] = "servfail"

    def nxdomain(self, name: str) -> None:
        """Says that this name does not exist, whatever else is written down."""
        self._faults[to_ascii(name)] = "nxdomain"

    def timeout(self, name: str) -> None:
        """Lets every look-up of this name go unanswered."""
        self._faults[to_ascii(name)] = "timeout"

    def restore(self, name: str) -> None:
        """Ends a fault."""
        self._faults.pop(to_ascii(name), None)

    def remove(self, name: str) -> None:
        """Removes all records of a name."""
        self._mx.pop(to_ascii(name), None)
        self._addresses.pop(to_ascii(name), None)

    def fault(self, name: str) -> Fault:
        """What is wrong with a name, "" for nothing."""
        return self._faults.get(name, "")

    def records(self, name: str) -> tuple[list[Mx], tuple[str, ...]]:
        """What there is of a name."""
        return self._mx.get(name, []), self._addresses.get(name, ())


class ScriptedResolver(Resolver):
    """Looks up what a test wrote down.

    Args:
        dns: the records.
        settings: how DNS is asked; its timeouts are those of a look-up that goes unanswered.
    """

    def __init__(self, dns: ScriptedDns, settings: ResolverSettings) -> None:
        super().__init__(ResolverSettings(("192.0.2.53",), settings.timeout, settings.attempts, settings.hosts))
        self._dns = dns
        self._unanswered = settings.timeout * settings.attempts

    async def resolve_mx(self, domain: str) -> Answer[Mx]:
        """The MX records of a domain."""
        name = to_ascii(domain)
        fault = await self._looked_up("MX", name)
        if fault is not None:
            return fault
        records, _ = self._dns.records(name)
        if records:
            return Answer(Outcome.FOUND, tuple(sorted(records, key=lambda record: record.preference)))
        return self._missing("MX", name)

    async def resolve_addresses(self, host: str) -> Answer[str]:
        """The addresses of a host, or the address itself when it is one."""
        try:
            name = to_ascii(host)
        except ValueError:
            return await super().resolve_addresses(host)
        if name.replace(".", "").isdigit() or name.endswith("localhost"):
            return await super().resolve_addresses(host)
        fault = await self._looked_up("A", name)
        if fault is not None:
            return fault
        _, addresses = self._dns.records(name)
        return Answer(Outcome.FOUND, addresses) if addresses else self._missing("A", name)

    async def _looked_up(self, kind: str, name: str) -> Answer[Any] | None:
        """Notes the question; the answer when there is a fault."""
        self._dns.asked.append((kind, name))
        fault = self._dns.fault(name)
        if fault == "timeout":
            await asyncio.sleep(self._unanswered)
            return Answer(Outcome.FAILED, text=f"look-up of {kind} {name} failed: no answer in time")
        if fault == "servfail":
            return Answer(Outcome.FAILED, text=f"look-up of {kind} {name} failed: SERVFAIL from 192.0.2.53")
        return Answer(Outcome.NO_SUCH_NAME, text=f"{name} does not exist") if fault == "nxdomain" else None

    def _missing(self, kind: str, name: str) -> Answer[Any]:
        if any(self._dns.records(name)):
            return Answer(Outcome.NO_RECORDS, text=f"{name} has no {kind} records")
        return Answer(Outcome.NO_SUCH_NAME, text=f"{name} does not exist")
