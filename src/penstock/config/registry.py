"""From a configuration to bound sinks: those that ship, which carry out the tables, and the user's own; all in one list.

The shipped ones get no special treatment: they are imported by path like the user's, and stand at the built-in priority.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, cast

from ..errors import ConfigError
from ..events.binding import BUILT_IN, Plug
from ..events.rule import Match
from ..events.sink import Sink, settings_type
from ..observe.log import get_log
from .load import convert
from .schema import BindingTable, Config, DomainTable

GROUP = "penstock.sinks"


def plugs(config: Config) -> list[Plug]:
    """All sinks of a configuration, made and ready to be bound. Raises ConfigError for what cannot be imported or does not fit."""
    folder = str(config.path.parent)
    for path in (folder, str(config.path.parent / "sinks")):
        if path not in sys.path:
            sys.path.insert(0, path)
    aliases = [_plug(config, table) for table in _aliases(config)]
    shipped = [_plug(config, table) for table in (_relay(config), _recipients(config, aliases))]
    deliveries = [_plug(config, _delivery(config, name, table)) for name, table in config.domains.items()]
    return [*shipped, *aliases, *deliveries, *(_plug(config, table) for table in config.bindings if table.enabled)]


def _plug(config: Config, table: BindingTable) -> Plug:
    where = f"{config.path}: binding.{table.name}"
    cls = find_sink(table.sink, f"{where}.sink")
    match = table.match
    if table.listeners:
        if match is not None and match.listener is not None:
            raise ConfigError(f"{where}.match", "'listeners' and 'match.listener' both name listeners; use one of them")
        match = replace(match or Match(), listener=table.listeners)
    return Plug(
        name=table.name,
        sink=_make(cls, table, f"{where}.settings", config.path.parent),
        priority=table.priority,
        match=match,
        timeout=float(table.timeout),
        on_error=table.on_error,
        run_in=table.run_in,
        where=where,
    )


def find_sink(name: str, where: str) -> type[Sink[Any]]:
    """The sink class of an import path or an entry point. Raises ConfigError."""
    if ":" not in name:
        entries = importlib.metadata.entry_points(group=GROUP, name=name)
        if not entries:
            raise ConfigError(where, f"no installed package offers a sink {name!r}", "write an import path such as 'my_sinks:Archive'")
        found = next(iter(entries)).load()
    else:
        module_name, _, attribute = name.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except AttributeError:
            raise ConfigError(where, f"module {module_name!r} has no {attribute!r}") from None
        except Exception as error:
            # Whatever a user's module raises while it is imported is a fault of the configuration.
            raise ConfigError(where, f"{module_name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Sink)):
        raise ConfigError(where, f"{name!r} is not a sink", "a sink is a class that inherits from penstock.Sink")
    return found


def _make(cls: type[Sink[Any]], table: BindingTable, where: str, folder: Path) -> Sink[Any]:
    wanted = settings_type(cls)
    if wanted is None and table.settings:
        raise ConfigError(where, f"{cls.__name__} takes no settings", f"declare them: class {cls.__name__}(Sink[YourSettings])")
    if wanted is not None and not is_dataclass(wanted):
        raise ConfigError(where, f"the settings of {cls.__name__} are no dataclass: {wanted!r}")
    try:
        sink = cls(convert(table.settings, wanted, where, folder)) if wanted is not None else cls()
    except (ValueError, TypeError) as error:
        raise ConfigError(where, str(error)) from error
    sink.log = get_log(binding=table.name)
    return sink


def _relay(config: Config) -> BindingTable:
    return _table("relay", "relay:Relay", {"domains": list(config.domains), "networks": config.relay.networks})


def _aliases(config: Config) -> list[BindingTable]:
    files = {domain: str(config.resolve(table.aliases)) for domain, table in config.domains.items() if table.aliases}
    return [_table("aliases", "aliases:Aliases", {"files": files, "delimiter": config.server.recipient_delimiter})] if files else []


def _recipients(config: Config, aliases: list[Plug]) -> BindingTable:
    """The binding that knows who exists; whoever has an alias does."""

    def known(domain: str, table: DomainTable) -> dict[str, list[str]]:
        # Asked of the sink, which was made through the registry as all are: how an alias file reads is its business.
        return {"users": table.recipients, "aliases": [name for plug in aliases for name in cast(Any, plug.sink).names(domain)]}

    domains = {domain: known(domain, table) for domain, table in config.domains.items()}
    return _table("recipients", "recipients:LocalRecipients", {"domains": domains, "delimiter": config.server.recipient_delimiter})


def _table(name: str, sink: str, settings: dict[str, Any], match: Match | None = None) -> BindingTable:
    return BindingTable(name, f"penstock.sinks.{sink}", priority=BUILT_IN, match=match, settings=settings)


def _delivery(config: Config, domain: str, table: DomainTable) -> BindingTable:
    kind, colon, target = table.deliver.partition(":")
    where = f'{config.path}: domain."{domain}".deliver'
    match = Match(recipient=f"*@{domain}")
    name = f"deliver:{domain}"
    if colon and kind == "discard":
        return _table(name, "discard:Discard", {}, match)
    if not colon or kind not in ("maildir", "drop") or not target:
        raise ConfigError(where, f"{table.deliver!r} is not understood", "write 'maildir:PATH', 'drop:FOLDER' or 'discard:'")
    path = str(config.resolve(Path(target)))
    if kind == "drop":
        return _table(name, "drop:Drop", {"directory": path, "domains": [domain]}, match)
    return _table(name, "maildir:Maildir", {"path": path, "delimiter": config.server.recipient_delimiter}, match)
