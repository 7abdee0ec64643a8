"""Whom we believe what they say of others: the PROXY header of a balancer, XCLIENT and XFORWARD of a filter."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address


@dataclass(frozen=True, slots=True)
class Trust:
    """Networks that may speak for others.

    Args:
        proxy: connections from here begin with a PROXY header.
        xclient: clients here may use XCLIENT and XFORWARD.
        etrn: clients here may ask for mail to be sent on demand.
        own: our own networks, whose clients may do what users may.
    """

    proxy: tuple[IPv4Network | IPv6Network, ...] = ()
    xclient: tuple[IPv4Network | IPv6Network, ...] = ()
    etrn: tuple[IPv4Network | IPv6Network, ...] = ()
    own: tuple[IPv4Network | IPv6Network, ...] = ()

    def speaks_for_others(self, client_ip: str) -> bool:
        """Whether connections from an address begin with a PROXY header."""
        return within(client_ip, self.proxy)

    def may_claim(self, peer_ip: str) -> bool:
        """Whether who is connected from an address may use XCLIENT and XFORWARD."""
        return within(peer_ip, self.xclient)


def within(client_ip: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Whether an address is in one of the networks."""
    if not networks:
        return False
    try:
        address = ip_address(client_ip.partition("%")[0])
    except ValueError:  # no address at all: a socket of this machine, say
        return False
    return any(address in network for network in networks)
