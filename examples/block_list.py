"""Asks DNS block lists about each client before it is greeted, and lets those wait who are on one list, and go who are on more.

Bind it with:

    [[binding]]
    name = "block-list"
    sink = "block_list:BlockList"
    on_error = "continue"
    settings = { zones = ["bl.example.org", "dnsbl.example.net"] }
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address

import dns.asyncresolver
import dns.exception
import dns.resolver

from penstock import Sink, on
from penstock.events import Connected
from penstock.verdicts import Delay, Disconnect


@dataclass(frozen=True, slots=True)
class BlockListSettings:
    """Who is asked.

    Args:
        zones: the lists.
        enough: on so many of them a client is refused; on fewer it waits.
        wait: seconds before the banner for who is on a list.
        seconds: how long the lists may take together; then the client passes.
        servers: DNS servers; those of the machine when empty.
        port: their port.
    """

    zones: list[str]
    enough: int = 2
    wait: float = 10.0
    seconds: float = 3.0
    servers: list[str] = field(default_factory=list)
    port: int = 53


class BlockList(Sink[BlockListSettings]):
    """Looks the client's address up in all lists at once (RFC 5782). A list that does not answer says nothing about anybody."""

    def __init__(self, settings: BlockListSettings) -> None:
        super().__init__(settings)
        self._resolver = dns.asyncresolver.Resolver(configure=not settings.servers)
        if settings.servers:
            self._resolver.nameservers = list(settings.servers)
            self._resolver.port = settings.port

    @on(Connected)
    async def look(self, event: Connected) -> Delay | Disconnect | None:
        """Nothing was said yet, so this is the cheapest moment to refuse."""
        client = ip_address(event.session.client_ip)
        if client.is_private or client.is_loopback:
            return None
        # "2.0.0.127" for 127.0.0.2, and one digit a label for IPv6.
        name = client.reverse_pointer.rsplit(".", 2)[0]
        listed = sum(await asyncio.gather(*(self._is_listed(f"{name}.{zone}.") for zone in self.settings.zones)))
        if listed >= self.settings.enough:
            return Disconnect(554, "5.7.1", f"{client} is on {listed} block lists")
        return Delay(timedelta(seconds=self.settings.wait)) if listed else None

    async def _is_listed(self, name: str) -> bool:
        try:
            answer = await self._resolver.resolve(name, "A", lifetime=self.settings.seconds)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return False
        except (dns.exception.DNSException, OSError) as error:
            self.log.warning("block list does not answer", name=name, error=repr(error))
            return False
        # RFC 5782 §2.1: entries are in 127.0.0.0/8; anything else comes from a domain that was sold, and lists the whole world.
        return any(str(record).startswith("127.") for record in answer)
