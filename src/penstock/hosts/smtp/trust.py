"""Whom we believe what they say of others: the PROXY header of a balancer, XCLIENT and XFORWARD of a filter."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True)
class Trust:
    """Networks that may speak for others.

    Args:
        proxy: connections from here begin with a PROXY header.
        xclient: clients here may use XCLIENT and XFORWARD.
    """

    proxy: tuple[IPv4Network | IPv6Network, ...] = ()
    xclient: tuple[IPv4Network | IPv6Network, ...] = ()
