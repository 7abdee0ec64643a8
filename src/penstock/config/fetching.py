"""Mail that is fetched from a provider, since nobody could bring it here (ATRN, RFC 2645).

The table is named by the provider as a next hop is, ``[fetch."[odmr.example.net]:366"]``; how we log in there and what we ask of TLS stands
in the route of that name, as for every server that we connect to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..mail.nexthop import NextHop
from .values import Duration

if TYPE_CHECKING:
    from .schema import Config


@dataclass(slots=True)
class FetchTable:
    """``[fetch."[odmr.example.net]:366"]``.

    Args:
        domains: whose mail is asked for; all that the provider has for us when empty.
        every: how long after the end of one connection the next one begins.
        listener: the listener of service "smtp" as which the provider is answered: its limits hold, and its bindings are asked.
    """

    domains: list[str] = field(default_factory=list)
    every: Duration = Duration(600)
    listener: str = ""


def check_fetching(config: Config, place: str) -> None:
    """Refuses tables that nothing could be fetched with. Raises ConfigError."""
    services = {listener.name: listener.service for listener in config.listeners}
    for name, table in config.fetches.items():
        where = f'{place}: fetch."{name}"'
        try:
            hop = NextHop.parse(name)
        except ValueError as error:
            raise ConfigError(where, str(error), 'name the provider as a next hop, such as "[odmr.example.net]:366"') from None
        if hop.kind != "smtp" or hop.mx:
            raise ConfigError(where, "mail is fetched from a host over SMTP", 'write its name in brackets: "[odmr.example.net]:366"')
        if name not in config.routes:
            raise ConfigError(where, "a provider wants us to log in", f'add [route."{name}"] with user, password and tls')
        if table.every < 1:
            raise ConfigError(f"{where}.every", "it is at least one second")
        listener = listener_of(config, table)
        if services.get(listener) != "smtp":
            raise ConfigError(
                f"{where}.listener", f"there is no listener {listener!r} of service 'smtp'", "name one that takes mail from anybody"
            )


def listener_of(config: Config, table: FetchTable) -> str:
    """The listener as which a provider is answered: the one that is named, or the first that takes mail from anybody."""
    return table.listener or next((one.name for one in config.listeners if one.service == "smtp"), "")
