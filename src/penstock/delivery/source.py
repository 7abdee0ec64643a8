"""Which of our own addresses a connection begins from, and whether a destination can be reached from here at all.

An administrator names a source address where the machine has several and only one has the right reverse name. It fits destinations of its
own family alone, so there is one for each.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class SourceAddresses:
    """The addresses that connections begin from.

    Args:
        ipv4: our address for IPv4 destinations, "" to let the system choose.
        ipv6: our address for IPv6 destinations, "" to let the system choose.

    Raises: ValueError when one of them is no address of its family.
    """

    ipv4: str = ""
    ipv6: str = ""

    def __post_init__(self) -> None:
        if self.ipv4:
            _check(self.ipv4, IPv4Address, "IPv4")
        if self.ipv6:
            _check(self.ipv6, IPv6Address, "IPv6")

    def towards(self, destination: str) -> str:
        """Our address for a connection to this IP address, "" to let the system choose."""
        return self.ipv6 if isinstance(ip_address(destination), IPv6Address) else self.ipv4


def has_route(address: str) -> bool:
    """Whether the system knows a way to this IP address; nothing is sent.

    Asked for each IPv6 address: many machines have no IPv6 but their own loop, and a connection there costs an attempt, of which a message
    has few. Rejected: looking once whether the machine has IPv6, which goes wrong for ``::1``, for private networks and after a change.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Connecting a datagram socket looks up the route and stops there; the port means nothing.
            probe.connect((address, 9))
    except OSError:
        return False
    return True


def _check(text: str, family: type[IPv4Address | IPv6Address], name: str) -> None:
    try:
        good = isinstance(ip_address(text), family)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{text!r} is not an {name} address")
