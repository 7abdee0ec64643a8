"""Relay control: who may send mail through this server to somewhere else.

An open relay is found and abused within hours, so the rule is deny: mail for others is taken only from those who said who they are, or
whose address the administrator listed. It is asked once a recipient, hence the plain ``def`` and the table look-up that comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from penstock import Sink, on
from penstock.events import RcptTo
from penstock.verdicts import Reject

from .domains import DomainTable

_DENIED = Reject(550, "5.7.1", "Relaying denied")
# Answers about so many clients are kept; more than talk to one worker at a time.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Whom this server serves.

    Args:
        domains: the domains whose mail is taken from everybody; ``.example.com`` means that domain and all below it.
        networks: addresses and networks whose clients may send to everybody, e.g. ``"192.0.2.0/24"``.
    """

    domains: list[str]
    networks: list[str] = field(default_factory=list)


class Relay(Sink[RelaySettings]):
    """Refuses recipients elsewhere, but for authenticated users and the administrator's own networks.

    Raises: ValueError for a network or a domain that is none.

    Source: RFC 5321 §3.6.2, §7.9.
    """

    def __init__(self, settings: RelaySettings) -> None:
        super().__init__(settings)
        self._domains = DomainTable(dict.fromkeys(settings.domains, True))
        self._networks = [_network(text) for text in settings.networks]
        self._is_trusted = lru_cache(_REMEMBERED)(self._look_up)

    @on(RcptTo, blocking=False)
    def check(self, event: RcptTo) -> Reject | None:
        """Goes on when the recipient is here or the client may relay."""
        domain = event.recipient.address.domain
        # A bare postmaster has no domain, and "MUST be accepted" (RFC 5321 §4.5.1).
        if not domain or self._domains.find(domain):
            return None
        session = event.session
        if session.user or self._is_trusted(session.client_ip):
            return None
        return _DENIED

    def _look_up(self, client_ip: str) -> bool:
        if not client_ip:  # a client without an IP address, such as one on a Unix socket, is trusted by nobody's network
            return False
        address = ip_address(client_ip)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"networks: {text!r} is no IP address or network such as '192.0.2.0/24'") from None
