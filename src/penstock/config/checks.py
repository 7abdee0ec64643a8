"""What no single table can know: names that must be unique or known, folders in each other's way, values that could never work.

What is refused here would otherwise be found out by the first message that is not delivered, or by none at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from ..errors import AddressError, ConfigError
from ..events.pattern import glob
from ..events.rule import Strings
from ..mail.address import Address
from .authenticating import check_auth
from .capturing import check_capture
from .fetching import check_fetching
from .limiting import check_limits, check_networks
from .listening import ListenerTable, check_service
from .schema import BindingTable, Config, DomainTable, ServerTable
from .securing import check_tls
from .sending_checks import check_sending
from .submission import check_submission
from .tracing import check_trace

_FULL_NAME = "write the full name of this host, such as 'mx.example.com'"


def check(config: Config) -> None:
    """Refuses a configuration whose tables do not fit together. Raises ConfigError."""
    place = str(config.path)
    _check_listeners(config.listeners, place)
    check_tls(config.tls, config.listeners, place)
    check_auth(config.auth, f"{place}: auth")
    _check_server(config.server, f"{place}: server")
    check_limits(config.limits, f"{place}: limits")
    for name, limits in config.own_limits.items():
        check_limits(limits, f"{place}: listener.{name}.limits")
    check_sending(config, place)
    check_fetching(config, place)
    check_submission(config, f"{place}: submission")
    check_capture(config.capture, place)
    check_trace(config.trace, place)
    for domain, table in config.domains.items():
        _check_domain(config, domain, table, f'{place}: domain."{domain}"')
    for binding in config.bindings:
        check_binding(config, binding, f"{place}: binding.{binding.name}")


def known_listeners(names: Iterable[str], asked: Strings | None, where: str) -> None:
    """Refuses a condition on listeners that no listener meets; ``*`` stands for any characters. Raises ConfigError."""
    known = list(names)
    for pattern in [asked] if isinstance(asked, str) else asked or []:
        if pattern and not any(glob(pattern).fullmatch(name) for name in known):
            raise ConfigError(where, f"there is no listener {pattern!r}", f"there are: {', '.join(known)}")


def _check_server(server: ServerTable, place: str) -> None:
    delimiter = server.recipient_delimiter
    if len(delimiter) > 1 or delimiter.isalnum() or delimiter.isspace() or delimiter in ("@", '"') or not delimiter.isprintable():
        raise ConfigError(f"{place}.recipient_delimiter", "it is one character, such as '+' or '-', or empty")
    if not 0 <= server.workers <= 512:
        raise ConfigError(f"{place}.workers", "it is between 0 (one a core) and 512")
    _check_host(server.hostname, f"{place}.hostname", _FULL_NAME)
    if not server.hostname.isascii():
        # It stands in the banner, before any client could say that it knows more than ASCII.
        raise ConfigError(f"{place}.hostname", f"{server.hostname!r} is not ASCII", "write the form that begins with xn--")


def _check_listeners(listeners: list[ListenerTable], place: str) -> None:
    if not listeners:
        raise ConfigError(place, "there is no listener", 'add [[listener]] with name = "mx" and address = "127.0.0.1:2525"')
    for number, one in enumerate(listeners):
        if not one.name.isprintable() or not one.name.strip() or "*" in one.name:
            raise ConfigError(f"{place}: listener", f"{one.name!r} is no name for a listener", "write a word such as 'mx'")
        check_networks(one.proxy, f"{place}: listener.{one.name}.proxy")
        check_networks(one.etrn, f"{place}: listener.{one.name}.etrn")
        check_networks(one.xclient, f"{place}: listener.{one.name}.xclient")
        check_service(one, f"{place}: listener.{one.name}")
        for other in listeners[:number]:
            if one.name == other.name:
                raise ConfigError(f"{place}: listener", f"there are two listeners with the name {one.name!r}")
            if _same_place(one, other):
                what = f"listener {other.name!r} has {other.address} already"
                raise ConfigError(f"{place}: listener.{one.name}.address", what, "give one of them another address or port")


def _same_place(one: ListenerTable, other: ListenerTable) -> bool:
    """Whether one of two takes the other's clients: on a port, the address that stands for all leaves no room for another."""
    if not one.address.port or not other.address.port:
        return one.address == other.address and one.address.startswith("unix:")
    first, second = ip_address(one.address.host), ip_address(other.address.host)
    if one.address.port != other.address.port or first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def _check_domain(config: Config, domain: str, table: DomainTable, place: str) -> None:
    _check_host(domain, place, "")
    if domain.endswith("."):
        raise ConfigError(place, f"domain {domain!r} ends in a dot", f"write {domain.rstrip('.')!r}")
    for name in table.recipients:
        if not name or "@" in name or (name != "*" and "*" in name):
            what = f"{name!r} is no local part: what stands before the '@', in full; or '*' alone, for any"
            raise ConfigError(f"{place}.recipients", what, "write 'alice' for alice@" + domain)
    if table.fetched_by and table.kind != "relay":
        raise ConfigError(f"{place}.fetched_by", "mail of a local domain is delivered here", 'write kind = "relay", or leave it out')
    if table.fetched_by and domain in config.routes and config.routes[domain].next_hop:
        raise ConfigError(f"{place}.fetched_by", f'[route."{domain}"] sends its mail elsewhere', "leave out one of the two")
    kind, _, target = table.deliver.partition(":")
    if "\0" in target:
        raise ConfigError(f"{place}.deliver", "a path cannot hold a NUL")
    spool = config.resolve(config.server.spool)
    if kind in ("maildir", "drop") and target and _leads_into(config.resolve(target), spool):
        raise ConfigError(f"{place}.deliver", f"this leads into the spool {spool}", "the spool is the server's own; name another folder")


def _leads_into(template: Path, folder: Path) -> bool:
    """Whether a path, with anything in the place of its ``{fields}``, could be the folder or below it."""
    if len(template.parts) < len(folder.parts):
        return False
    pairs = zip(template.parts, folder.parts, strict=False)
    return all(glob(re.sub(r"\{\w*\}", "*", written)).fullmatch(there) for written, there in pairs)


def check_binding(config: Config, binding: BindingTable, place: str) -> None:
    """Refuses a binding that does not fit what else is configured. Raises ConfigError."""
    names = [listener.name for listener in config.listeners]
    if not binding.name.isprintable() or not binding.name.strip():
        raise ConfigError(place, f"{binding.name!r} is no name for a binding", "the log and 'penstock bindings' call it by its name")
    for name in binding.listeners:
        if name not in names:
            raise ConfigError(f"{place}.listeners", f"there is no listener {name!r}", f"there are: {', '.join(names)}")
    if binding.match is not None:
        known_listeners(names, binding.match.listener, f"{place}.match.listener")


def _check_host(name: str, where: str, hint: str) -> None:
    try:
        Address.parse(f"postmaster@{name}")
    except AddressError as error:
        raise ConfigError(where, str(error), hint) from None
