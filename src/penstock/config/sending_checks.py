"""What could never work in the tables about mail that goes out, found before the first message waits for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_network

from ..errors import AddressError, ConfigError
from ..events.handed import is_there
from ..mail.address import Address
from ..mail.nexthop import NextHop
from ..queue.schedule import Schedule
from ..wire.sasl.mechanisms import NAMES, Login
from ..wire.sasl.scram import PLUS
from .outbound import Outbound, is_hop, policy, resolver_settings, target_settings
from .schema import Config
from .sending import DeliveryTable, RetryTable, RouteTable


def check_sending(config: Config, place: str) -> None:
    """Refuses tables about mail that goes out that do not fit together. Raises ConfigError."""
    _check_retry(config.retry, f"{place}: retry")
    _check_delivery(config.delivery, f"{place}: delivery")
    for name, route in config.routes.items():
        _check_route(name, route, f'{place}: route."{name}"')
        if "EXTERNAL" in map(str.upper, route.mechanisms) and not (route.tls_certificate or config.delivery.tls_certificate):
            what = "EXTERNAL is our certificate, and there is none"
            raise ConfigError(f'{place}: route."{name}".mechanisms', what, "add tls_certificate")
    for name, addresses in config.dns.hosts.items():
        for address in addresses:
            _attempt(partial(ip_address, address), f'{place}: dns.hosts."{name}"', "write IP addresses")
    _attempt(lambda: resolver_settings(config), f"{place}: dns", 'name servers are written "192.0.2.53" or "192.0.2.53:5353"')
    _attempt(lambda: target_settings(config), f"{place}: delivery", "")
    if config.dns.cache <= 0:
        raise ConfigError(f"{place}: dns.cache", "it is above 0", "leave it out for the default")
    if config.notices.templates is not None and not config.notices.templates.is_dir():
        raise ConfigError(f"{place}: notices.templates", f"there is no folder {config.notices.templates}")
    if config.notices.double_bounce:
        _check_address(config.notices.double_bounce, f"{place}: notices.double_bounce")
    outbound = Outbound(config)
    for name in ("mx:example.org", *(name for name in config.routes if is_hop(name))):
        _attempt(partial(outbound.limits, name), f"{place}: delivery", "")
        _attempt(partial(outbound.hop, name), f"{place}: delivery", "")


def _check_retry(retry: RetryTable, place: str) -> None:
    if not retry.intervals or not 0 <= retry.jitter < 1:
        raise ConfigError(place, "it needs at least one interval, and a jitter from 0 to below 1")
    if min(retry.intervals) <= 0:
        # What is due at once is tried at once, again and again.
        raise ConfigError(f"{place}.intervals", "an interval is above 0")
    _attempt(partial(policy, retry), place, "")


def _check_delivery(table: DeliveryTable, place: str) -> None:
    for name in ("sessions", "connections", "messages_per_connection", "recipients", "connect", "greeting", "data", "block", "content"):
        if getattr(table, name) <= 0:
            raise ConfigError(f"{place}.{name}", "it is above 0", "leave it out for the default")
    if not 1 <= table.port <= 65535:
        raise ConfigError(f"{place}.port", f"{table.port} is no port", "it is between 1 and 65535")
    if not (table.ipv4 or table.ipv6):
        raise ConfigError(f"{place}.ipv4", "without IPv4 and IPv6 there is no way out", "leave one of them out")
    if table.hostname:
        _check_address(f"postmaster@{table.hostname}", f"{place}.hostname", "write a full name, such as 'mx.example.com'")
    if table.smart_host:
        _check_hop(table.smart_host, f"{place}.smart_host")
    if table.ca_file is not None and not is_there(table.ca_file):
        raise ConfigError(f"{place}.ca_file", f"there is no file {table.ca_file}")
    _check_own_certificate(table, place)
    for network in table.own_addresses:
        _attempt(partial(ip_network, network, strict=False), f"{place}.own_addresses", "write IP addresses or networks")


def _check_own_certificate(table: DeliveryTable | RouteTable, place: str) -> None:
    if table.tls_key is not None and table.tls_certificate is None:
        raise ConfigError(f"{place}.tls_key", "there is a key and no certificate", "add tls_certificate")
    for key in ("tls_certificate", "tls_key"):
        path = getattr(table, key)
        if path is not None and not is_there(path):
            raise ConfigError(f"{place}.{key}", f"there is no file {path}")


def _check_login(route: RouteTable, place: str) -> None:
    for key in ("password", "token", "token_file"):
        if getattr(route, key) and not route.user:
            raise ConfigError(f"{place}.{key}", f"there is a {key.partition('_')[0]} and no user", "add user")
    if route.token and route.token_file:
        raise ConfigError(f"{place}.token", "there are two places for the token", "leave one of token and token_file out")
    mechanisms = [name.upper() for name in route.mechanisms]
    for name in mechanisms:
        if name not in NAMES:
            raise ConfigError(f"{place}.mechanisms", f"there is no mechanism {name[:40]!r}", f"there are: {', '.join(NAMES)}")
    given = Login(route.user, str(route.password), "x" if route.token or route.token_file else "", "EXTERNAL" in mechanisms)
    # Whether there will be a channel to bind to is only known in a session.
    usable = [name for name in mechanisms or NAMES if given.serves(name.removesuffix(PLUS))]
    if (route.user or mechanisms) and not usable:
        what = "there is nothing to log in with by these mechanisms" if mechanisms else "there is a user, and nothing to log in with"
        raise ConfigError(f"{place}.user", what, "add password, token or token_file")


def _check_route(name: str, route: RouteTable, place: str) -> None:
    if is_hop(name):
        _check_hop(name, place)
        if route.next_hop:
            raise ConfigError(f"{place}.next_hop", f"{name!r} is a next hop itself", "name the route by a domain, or leave this out")
    elif name != "*":
        bare = name.removeprefix(".")
        _check_address(f"postmaster@{bare}", place, f"write a domain, '.{bare.strip('.*')}' with all below it, or '*'")
    if route.next_hop:
        _check_hop(route.next_hop, f"{place}.next_hop")
    _attempt(lambda: Schedule.parse(route.schedule), f"{place}.schedule", "")
    if route.message_class:
        _attempt(lambda: NextHop("local").queue(route.message_class), f"{place}.message_class", "")
    _check_login(route, place)
    _check_own_certificate(route, place)
    if route.tls_implicit and route.tls == "none":
        raise ConfigError(f"{place}.tls_implicit", "TLS from the first octet, and tls = 'none'", "leave one of them out")
    for key in ("connections", "messages_per_connection", "recipients"):
        value = getattr(route, key)
        if value is not None and value <= 0:
            raise ConfigError(f"{place}.{key}", "it is above 0", "leave it out for what [delivery] says")
    if route.retry is not None:
        _check_retry(route.retry, f"{place}.retry")


def _check_hop(text: str, where: str) -> None:
    _attempt(lambda: NextHop.parse(text), where, "write 'relay.example:587', '[192.0.2.1]:25' or 'lmtp:[127.0.0.1]:24'")


def _check_address(text: str, where: str, hint: str = "") -> None:
    try:
        Address.parse(text)
    except AddressError as error:
        raise ConfigError(where, str(error), hint) from None


def _attempt(make: Callable[[], object], where: str, hint: str) -> None:
    """Makes what the tables mean, whose own checks have the words. Raises ConfigError."""
    try:
        make()
    except ValueError as error:
        raise ConfigError(where, str(error), hint) from None
