"""What the tables about mail that goes out mean for each queue: from configuration to the settings of queue, delivery and DNS.

A queue is named by its next hop; the route that it belongs to is the one that names this next hop, or the one for its domain. So what an
administrator writes about ``example.org`` holds for mail to example.org, and what is written beside a smart host for all that goes there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from ..delivery.mx import TargetSettings
from ..delivery.resolver import ResolverSettings
from ..delivery.settings import Credentials, HopLimits, HopSettings, HopTimeouts, TlsSettings
from ..delivery.source import SourceAddresses
from ..mail.nexthop import ATRN, NextHop
from ..queue.limits import DestinationLimits
from ..queue.policy import Policies, RetryPolicy
from ..queue.schedule import Schedule
from ..wire.sasl.mechanisms import NAMES
from ..wire.smtp.client_settings import Timeouts
from .schema import Config
from .sending import DeliveryTable, RetryTable, RouteTable

T = TypeVar("T")
_LOCAL = "local:"
# The route of which nothing is said.
_NOTHING = RouteTable()


def policy(table: RetryTable) -> RetryPolicy:
    """The retry policy of a table."""
    return RetryPolicy(
        tuple(map(float, table.intervals)),
        float(table.expire),
        table.jitter,
        tuple(map(float, table.glitch)),
        (float(table.delay_notice),) if table.delay_notice else (),
    )


# Nothing that is said of other servers is meant for customers who fetch their mail.
_FETCHED = RouteTable(schedule="on-demand")


def policies(config: Config) -> Policies:
    """The retry policy of each domain."""
    domains = {name: policy(table.retry) for name, table in config.routes.items() if table.retry is not None and not is_hop(name)}
    return Policies(policy(config.retry), domains)


def is_hop(name: str) -> bool:
    """Whether the name of a route is a next hop, and not a domain pattern."""
    return ":" in name or "[" in name or "/" in name


class Outbound:
    """The settings of each queue.

    Args:
        config: the configuration, checked.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._by_queue: dict[str, RouteTable] = {}
        for name, table in config.routes.items():
            if is_hop(name):
                self._by_queue[NextHop.parse(name).queue(table.message_class)] = table
        for table in config.routes.values():
            if table.next_hop:
                self._by_queue.setdefault(NextHop.parse(table.next_hop).queue(table.message_class), table)
        self._domains = {name: table for name, table in config.routes.items() if not is_hop(name) and name != "*"}
        self._rest = config.routes.get("*", _NOTHING)
        self._limits: dict[str, DestinationLimits] = {}
        self._hops: dict[str, HopSettings] = {}

    def route(self, queue: str) -> RouteTable:
        """The route that a queue belongs to; an empty one when nothing is said of it."""
        if queue.startswith(_LOCAL):
            return self._of_domain(queue.removeprefix(_LOCAL)) or _NOTHING
        bare = queue.partition(";")[0]
        found = self._by_queue.get(queue) or self._by_queue.get(bare)
        if found is not None:
            return found
        hop = NextHop.parse(bare)
        if hop.kind == ATRN:
            return _FETCHED
        return (self._of_domain(hop.host) if hop.mx else None) or self._rest

    def limits(self, queue: str) -> DestinationLimits:
        """How much a queue is given."""
        found = self._limits.get(queue)
        if found is None:
            found = self._limits[queue] = self._limits_of(self.route(queue))
            _bounded(self._limits)
        return found

    def hop(self, queue: str) -> HopSettings:
        """How sessions for a queue are held."""
        found = self._hops.get(queue)
        if found is None:
            found = self._hops[queue] = self._hop_of(self.route(queue))
            _bounded(self._hops)
        return found

    def _of_domain(self, domain: str) -> RouteTable | None:
        found = self._domains.get(domain)
        while found is None and domain:
            found = self._domains.get("." + domain)
            domain = domain.partition(".")[2]
        return found

    def _limits_of(self, route: RouteTable) -> DestinationLimits:
        table = self._config.delivery
        connections = _given(route.connections, table.connections)
        return DestinationLimits(
            connections=connections,
            messages_per_connection=_given(route.messages_per_connection, table.messages_per_connection),
            recipients=_given(route.recipients, table.recipients),
            rate=float(_given(route.rate, table.rate)),
            schedule=Schedule.parse(route.schedule),
            retry=policy(route.retry or self._config.retry),
            window=min(5, connections),
        )

    def _hop_of(self, route: RouteTable) -> HopSettings:
        table, limits = self._config.delivery, self._limits_of(route)
        answers = Timeouts(float(table.greeting), float(table.data), float(table.block), float(table.content))
        return HopSettings(
            hostname=table.hostname or self._config.server.hostname,
            tls=_tls(route, table),
            credentials=_credentials(route),
            timeouts=HopTimeouts(connect=float(table.connect), handshake=min(60.0, float(table.greeting)), answers=answers),
            limits=replace(HopLimits(), messages=limits.messages_per_connection, idle=float(table.idle), recipients=limits.recipients),
            source=SourceAddresses(_given(route.source_ipv4, table.source_ipv4), _given(route.source_ipv6, table.source_ipv6)),
            chunking=_given(route.chunking, table.chunking),
            bare_newlines=table.bare_newlines,
        )


def _credentials(route: RouteTable) -> Credentials | None:
    mechanisms = tuple(name.upper() for name in route.mechanisms)
    # With a certificate of ours anybody who offers EXTERNAL would be told who we are: only where that is wanted.
    external = "EXTERNAL" in mechanisms
    if not route.user and not external:
        return None
    return Credentials(
        route.user,
        str(route.password),
        route.auth_without_tls,
        str(route.token),
        route.token_file,
        certificate=external,
        mechanisms=mechanisms or NAMES,
    )


def _tls(route: RouteTable, table: DeliveryTable) -> TlsSettings:
    # A certificate and its key belong together: a route has both or neither.
    own = route if route.tls_certificate is not None else table
    return TlsSettings(
        _given(route.tls, table.tls),
        table.ca_file,
        implicit=route.tls_implicit,
        minimum=_given(route.tls_minimum, table.tls_minimum),
        certificate=own.tls_certificate,
        key=own.tls_key,
    )


def resolver_settings(config: Config) -> ResolverSettings:
    """How DNS is asked."""
    table = config.dns
    hosts = {name.lower(): tuple(addresses) for name, addresses in table.hosts.items()}
    return ResolverSettings(tuple(table.servers), float(table.timeout), table.attempts, hosts, kept_records=table.cache)


def target_settings(config: Config) -> TargetSettings:
    """Which addresses are tried."""
    table = config.delivery
    return TargetSettings(
        ipv4=table.ipv4,
        ipv6=table.ipv6,
        port=table.port,
        own_names=frozenset({config.server.hostname.lower()}),
        own_addresses=tuple(table.own_addresses),
    )


def _given(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def _bounded(cache: dict[str, Any]) -> None:
    """Keeps what is remembered from growing with the number of domains that mail goes to."""
    if len(cache) > 10_000:
        cache.clear()
