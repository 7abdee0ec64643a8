"""What the tables mean: the bindings of the sinks that ship, which carry them out, each with the key to name in errors.

They stand at the built-in priority, in this order: relay control, aliases, virtual addresses, routing, deliveries. Who exists is asked one
step later, since it is the last word on a recipient: a directory that an administrator binds at the built-in priority comes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..events.event import Event
from ..events.plug import BUILT_IN
from ..events.rule import Match
from ..mail.nexthop import ATRN
from .outbound import is_hop
from .schema import BindingTable, Config, DomainTable
from .stores import store_bindings
from .submission import submission_bindings
from .values import Duration

# Directories have had their say when these are asked.
LAST_WORD = BUILT_IN + 1
_EVERYBODY = "*"
Carried = tuple[BindingTable, str]


def shipped_bindings(config: Config) -> Iterator[Carried]:
    """The bindings that carry out the tables, and the key that each carries out. Raises ConfigError for a delivery that there is not."""
    yield _table("relay", "relay:Relay", {"domains": list(config.domains), "networks": config.relay.networks}), "relay"
    yield from store_bindings(config)
    yield from submission_bindings(config)
    yield from _files(config)
    yield from _recipients(config)
    routing = _routing(config)
    if any(routing.settings.values()):  # else there is nothing that it could say, at each message
        yield routing, "route"
    yield from _own_deliveries(config)
    for domain, table in config.domains.items():
        if table.kind == "local":
            yield from _delivery(config, domain, table)


def _files(config: Config) -> Iterator[Carried]:
    delimiter = config.server.recipient_delimiter
    aliases = {domain: str(config.resolve(table.aliases)) for domain, table in config.domains.items() if table.aliases}
    if aliases:
        yield _table("aliases", "aliases:Aliases", {"files": aliases, "delimiter": delimiter}), "domain"
    virtual = {domain: str(config.resolve(table.virtual)) for domain, table in config.domains.items() if table.virtual}
    if virtual:
        yield _table("virtual", "virtual:Virtual", {"files": virtual, "delimiter": delimiter}), "domain"


def _recipients(config: Config) -> Iterator[Carried]:
    # A relay domain is nobody's home: its postmaster is elsewhere.
    ordered = sorted(config.domains.items(), key=lambda item: item[1].kind != "local")
    domains = {domain: {"users": table.recipients, "catch_all": _catch_all(config, domain, table)} for domain, table in ordered}
    settings = {"domains": domains, "delimiter": config.server.recipient_delimiter}
    yield _table("recipients", "recipients:LocalRecipients", settings, priority=LAST_WORD), "domain"
    if any(_EVERYBODY not in table.recipients for table in config.domains.values()):
        # Where everybody exists there is nothing to ask, and each message is spared the question.
        yield _table("unknown", "recipients:UnknownRecipients", settings, priority=LAST_WORD), "domain"


def _catch_all(config: Config, domain: str, table: DomainTable) -> str:
    """The address that gets what nobody else does; a name alone is one of the domain. Raises ConfigError for one that nothing reaches."""
    if table.catch_all and _EVERYBODY in table.recipients:
        where = f'{config.path}: domain."{domain}".catch_all'
        raise ConfigError(where, "every address exists in this domain, so nothing is left for it", "list the names in 'recipients'")
    return f"{table.catch_all}@{domain}" if table.catch_all and "@" not in table.catch_all else table.catch_all


def _routing(config: Config) -> BindingTable:
    routes: dict[str, dict[str, str]] = {}
    for name, route in config.routes.items():
        if not is_hop(name):
            routes[name] = {"next_hop": route.next_hop, "message_class": route.message_class, "schedule": route.schedule}
    for domain, table in config.domains.items():
        if table.kind == "local" and _kind(table)[0] == "lmtp":
            routes.setdefault(domain, {})
            if routes[domain].get("next_hop"):
                what = f"both 'deliver' and [route.\"{domain}\"] say where its mail goes"
                raise ConfigError(f'{config.path}: domain."{domain}".deliver', what, "leave next_hop out of the route")
            routes[domain]["next_hop"] = table.deliver
        if table.fetched_by:
            routes.setdefault(domain, {}).update(next_hop=f"{ATRN}:{domain}", schedule="on-demand")
    return _table("routing", "routing:Routing", {"routes": routes, "smart_host": config.delivery.smart_host})


def _table(name: str, sink: str, settings: dict[str, Any], match: Match | None = None, priority: int = BUILT_IN) -> BindingTable:
    # The shipped deliveries wait for the disk, and many at once wait no longer than one; the others need no thread.
    return BindingTable(
        name, f"penstock.sinks.{sink}", priority=priority, match=match, settings=settings, timeout=Duration(300), threads=16
    )


# --- deliveries ---


def _own_deliveries(config: Config) -> Iterator[Carried]:
    """Those for recipients that a directory gave a delivery of their own, in any domain."""
    for kind, sink, settings in (
        ("pipe", "pipe:Pipe", {"delimiter": config.server.recipient_delimiter}),
        ("file", "filebox:FileBox", {}),
    ):
        # Each delivery is asked about, and nearly none has a route: so the condition keeps it from a thread.
        yield _table(f"deliver:{kind}", sink, settings, Match(when=partial(_has_route, f"{kind}:"))), "domain"


def _has_route(kind: str, event: Event) -> bool:
    return event.recipients_now()[0].route.startswith(kind)


def _delivery(config: Config, domain: str, table: DomainTable) -> Iterator[Carried]:
    key = f'domain."{domain}".deliver'
    kind, target = _kind(table)
    if kind == "lmtp":
        return
    make = _KINDS.get(kind)
    if make is None or (not target and kind != "discard"):
        raise ConfigError(f"{config.path}: {key}", f"{table.deliver!r} is not understood", f"write {_FORMS}")
    sink, settings = make(config, domain, target)
    yield _table(f"deliver:{domain}", sink, settings, Match(recipient=f"*@{domain}")), key


def _kind(table: DomainTable) -> tuple[str, str]:
    """How a domain's mail is delivered, and what stands behind the colon; "" for no kind at all."""
    kind, colon, target = table.deliver.partition(":")
    return (kind.lower(), target) if colon else ("", "")


def _maildir(config: Config, _: str, target: str) -> tuple[str, dict[str, Any]]:
    return "maildir:Maildir", {"path": str(config.resolve(Path(target))), "delimiter": config.server.recipient_delimiter}


def _drop(config: Config, domain: str, target: str) -> tuple[str, dict[str, Any]]:
    return "drop:Drop", {"directory": str(config.resolve(Path(target))), "domains": [domain]}


def _discard(config: Config, domain: str, target: str) -> tuple[str, dict[str, Any]]:
    return "discard:Discard", {}


def _pipe(config: Config, domain: str, target: str) -> tuple[str, dict[str, Any]]:
    return "pipe:Pipe", {"command": target.strip(), "delimiter": config.server.recipient_delimiter}


def _http(config: Config, domain: str, target: str) -> tuple[str, dict[str, Any]]:
    return "webhook:Webhook", {"url": config.domains[domain].deliver}


_KINDS: dict[str, Callable[[Config, str, str], tuple[str, dict[str, Any]]]] = {
    "maildir": _maildir,
    "drop": _drop,
    "discard": _discard,
    "pipe": _pipe,
    "http": _http,
    "https": _http,
}
_FORMS = "'maildir:PATH', 'drop:FOLDER', 'pipe:COMMAND', 'https://...', 'lmtp:[HOST]:PORT' or 'discard:'"
