"""From a configuration to what the sessions of each listener are told: a function for each part, since each has a table of its own."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from ..config import Config
from ..config.limiting import LimitsTable
from ..config.listening import ListenerTable
from ..events.binding import Bindings
from ..events.transit import MaxMessageSize
from ..hosts.smtp.atrn import VERB as ATRN
from ..hosts.smtp.claims import VERBS
from ..hosts.smtp.encryption import TlsServing
from ..hosts.smtp.etrn import VERB as ETRN
from ..hosts.smtp.guard import NO_RATES, GuardSettings, Rates
from ..hosts.smtp.host import SessionLimits, SmtpSettings
from ..hosts.smtp.trust import Trust
from ..wire.smtp.extension import STANDARD
from ..wire.smtp.extension_message import MESSAGES, SUBMISSION
from ..wire.smtp.limits import Limits
from ..wire.smtp.settings import ServerSettings
from .logins import auth_serving


def smtp_settings(config: Config, listener: ListenerTable, bindings: Bindings, tls: TlsServing | None) -> SmtpSettings:
    """What the sessions of a listener are told."""
    built_in = ServerSettings(config.server.hostname).table
    own = VERBS if listener.xclient else frozenset[str]()
    own |= {verb for verb, offered in ((ETRN, listener.etrn), (ATRN, listener.atrn)) if offered}
    verbs = frozenset(bindings.verbs) - frozenset(built_in) | own
    limits = config.limits_of(listener.name)
    auth = auth_serving(config, listener, bindings)
    # One of a sink's own goes before one of the same name that ships.
    mechanisms = tuple(dict.fromkeys((*auth.mechanisms, *bindings.mechanisms)))
    wire = ServerSettings(
        config.server.hostname, _wire_limits(limits, listener, bindings), verbs=verbs, mechanisms=mechanisms, auth_in_clear=auth.in_clear
    )
    if tls is not None:
        wire = replace(wire, starttls=not tls.implicit, tls_required=tls.required)
    rows = (*STANDARD, *MESSAGES, *(SUBMISSION if listener.service in ("submission", "submissions") else ()))
    wire = replace(wire, extensions=rows, without=frozenset(word.upper() for word in listener.without))
    if listener.service == "lmtp":
        wire = replace(wire, lmtp=True)
    return SmtpSettings(
        listener.name,
        wire,
        _session_limits(limits),
        hops=limits.hops,
        service="submission" if listener.service == "submissions" else listener.service,
        tls=tls,
        auth=auth,
        hide_client=config.submission.hide_client,
        trust=_trust(config, listener),
        guard=_guard(limits),
        client_names=config.dns.client_names,
    )


def _wire_limits(table: LimitsTable, listener: ListenerTable, bindings: Bindings) -> Limits:
    return Limits(
        message_size=table.message_size,
        recipients=table.recipients,
        transactions=table.messages_per_session,
        errors=table.errors,
        asks_size=bool(bindings.chain(MaxMessageSize)),
        deliver_by=int(table.deliver_by),
        future_release=int(table.future_release) if listener.service in ("submission", "submissions") else 0,
        no_soliciting=frozenset(word.lower() for word in listener.no_soliciting),
    )


def _session_limits(table: LimitsTable) -> SessionLimits:
    return SessionLimits(
        connections=table.connections,
        connections_per_client=table.connections_per_client,
        idle=float(table.idle),
        command=float(table.command),
        data=float(table.data),
        message=float(table.message),
        idle_commands=table.idle_commands,
    )


def _trust(config: Config, listener: ListenerTable) -> Trust:
    return Trust(_networks(listener.proxy), _networks(listener.xclient), _networks(listener.etrn), _networks(config.relay.networks))


def _networks(texts: list[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)


def _guard(table: LimitsTable) -> GuardSettings:
    rates = table.rates
    return GuardSettings(
        Rates(**rates) if rates else NO_RATES,
        _networks(table.exempt),
        table.connections_per_network,
        table.unknown_recipients,
        float(table.banner_delay),
        table.early_talkers == "refuse",
    )
