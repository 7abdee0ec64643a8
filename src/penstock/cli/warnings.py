"""What ``penstock check`` warns of: what a configuration may say, but hardly means, and what the server would find out only at start.

They are warnings because the one who checks may be another user, or on another machine, than the server is.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ..config import Config
from ..config.kept import Kept
from ..config.outbound import is_hop
from ..config.securing import tls_policy
from ..config.submission import SERVICES
from ..events.plug import Plug
from ..mail.nexthop import NextHop
from ..sinks import Archive, Drop, Maildir
from .binding_warnings import about_bindings

# RFC 5321 §4.5.3.1.8: a server takes at least so many recipients a message.
_FEWEST_RECIPIENTS = 100


def warnings(config: Config, plugs: tuple[Plug, ...], kept: Kept) -> list[str]:
    """One line for each thing that an administrator will want to know.

    Args:
        config: the configuration.
        plugs: all bindings, made.
        kept: the live changes.
    """
    return [
        *_about_mail(config),
        *about_bindings(config, plugs, kept),
        *(line for listener in config.listeners for line in _address(f"listener.{listener.name}.address", listener.address.host)),
        *_about_what_goes_out(config),
        *_folder("server.spool", config.resolve(config.server.spool)),
        *(line for plug in plugs for line in _sink(config, plug)),
    ]


def _about_mail(config: Config) -> Iterator[str]:
    if not config.domains:
        yield "there is no [domain]: the server takes mail for nobody"
    if "." not in config.server.hostname:
        yield f"server.hostname: {config.server.hostname!r} is no full name, such as 'mx.example.com'; other servers may mind"
    yield from _about_logins(config)
    yield from _about_fetching(config)
    for domain in config.domains:
        if not domain.isascii():
            yield f'domain."{domain}": mail to its ASCII form, which begins with xn--, needs a [domain] of its own'
    if config.limits.recipients < _FEWEST_RECIPIENTS:
        yield f"limits.recipients: clients may expect a server to take {_FEWEST_RECIPIENTS} (RFC 5321)"
    if config.retry.expire < config.retry.intervals[0]:
        yield "retry.expire: mail is given up before the first of retry.intervals is over"


def _about_logins(config: Config) -> Iterator[str]:
    """A listener at which nobody can log in takes no mail at all, when it is one for users, and gives none to customers."""
    for listener in config.listeners:
        if listener.service not in SERVICES and not listener.atrn:
            continue
        if not config.auth.stores and not config.bindings:
            yield f"listener.{listener.name}: nobody can log in: there are no [auth] stores, and no sink is bound"
        elif tls_policy(config.tls, listener) == "none" and not config.auth.without_tls:
            yield f"listener.{listener.name}: nobody can log in: that takes TLS, and there is no certificate"


def _about_fetching(config: Config) -> Iterator[str]:
    fetched = [name for name, table in config.domains.items() if table.fetched_by]
    places = [listener.name for listener in config.listeners if listener.atrn]
    for name in fetched if not places else []:
        yield f'domain."{name}".fetched_by: nobody can fetch it: no listener has atrn = true'
    for name in places if not fetched else []:
        yield f"listener.{name}.atrn: there is nothing to fetch: no [domain] has fetched_by"


def _about_what_goes_out(config: Config) -> Iterator[str]:
    for name, route in config.routes.items():
        level = route.tls or config.delivery.tls
        if route.user and (NextHop.parse(route.next_hop).mx if route.next_hop else not is_hop(name)):
            yield f'route."{name}".user: DNS decides who is the server, and gets the password; write next_hop = "[HOST]:PORT"'
        if route.user and level != "verify" and not route.auth_without_tls and _says_the_password(route.mechanisms):
            yield f'route."{name}".tls: with {level!r} whoever poses as the server gets the password; write tls = "verify"'
        if route.user and route.auth_without_tls and _says_the_password(route.mechanisms):
            yield f'route."{name}".auth_without_tls: the password may be sent in the clear'
    for domain, table in config.domains.items():
        if table.kind == "relay" and "*" in table.recipients:
            yield (
                f'domain."{domain}".recipients: mail to any address is taken for another server, and what that refuses goes back to '
                "senders that are often forged; list the local parts that there are"
            )
    group = config.server.submit_group
    try:
        if group:
            grp.getgrnam(group)
    except KeyError:
        yield f"server.submit_group: there is no group {group!r} on this machine"


def _says_the_password(mechanisms: list[str]) -> bool:
    """Whether one of the mechanisms of a route gives the server what it can log in with itself."""
    return not mechanisms or any(not name.upper().startswith(("SCRAM-", "CRAM-", "EXTERNAL")) for name in mechanisms)


def _address(key: str, host: str) -> list[str]:
    """Warns of an address that this machine does not have; whether the port is free is left to the start, since a server may run."""
    if host.startswith("unix:"):
        return []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind((host, 0))
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return [f"{key}: this machine does not have the address {host}"]
    return []


def _sink(config: Config, plug: Plug) -> list[str]:
    """Warns of the folder of a sink that ships."""
    key, sink = plug.where.removeprefix(f"{config.path}: "), plug.sink
    carries_out = key.startswith("domain.")
    if isinstance(sink, Archive | Drop):
        name, folder = "directory", sink.settings.directory
    elif isinstance(sink, Maildir):
        fixed, brace, _ = sink.settings.path.partition("{")
        name, folder = "path", Path(f"{fixed}x").parent if brace else Path(fixed)
    else:
        return []
    key = key if carries_out else f"{key}.settings.{name}"
    if folder.is_relative_to(config.resolve(config.server.spool)):
        return [f"{key}: {folder} is in the spool, which is the server's own"]
    return _folder(key, folder)


def _folder(key: str, folder: Path) -> list[str]:
    """Warns of a folder that this user can neither make nor write into."""
    there = next((path for path in (folder, *folder.parents) if _exists(path)), folder)
    if not there.is_dir():
        return [f"{key}: {there} is not a folder"]
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"{key}: this user may not write to {there}"]
    return []


def _exists(path: Path) -> bool:
    """Whether it is there, as far as this user may know."""
    try:
        return path.exists()
    except PermissionError:
        return False
