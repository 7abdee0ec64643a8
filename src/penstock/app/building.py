"""From a configuration to the settings of each part of a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from ..config import Config
from ..config.outbound import Outbound, policies, policy, resolver_settings, target_settings
from ..delivery.courier import CourierParts
from ..delivery.couriers import Couriers
from ..delivery.mx import Targets
from ..delivery.resolver import Resolver
from ..delivery.settings import DeliverySettings
from ..errors import ConfigError
from ..events.binding import Bindings
from ..mail.address import NULL, Address
from ..mail.report import ReportSettings
from ..mail.report_text import Kind, Text
from ..queue.limits import DestinationLimits
from ..queue.scheduler import SchedulerSettings
from ..queue.settings import DestinationSettings
from ..transport.notices import NoticeSettings
from ..transport.pipeline import Parts, Transport, TransportSettings

KINDS: tuple[Kind, ...] = ("failed", "delayed", "success")


def transport_settings(config: Config, limits_for: Callable[[str], DestinationLimits], on_damage: Callable[[], None]) -> TransportSettings:
    """How transport behaves."""
    destinations = DestinationSettings(limits_for=limits_for, sessions=config.delivery.sessions)
    local = frozenset(name for name, table in config.domains.items() if table.kind == "local")
    return TransportSettings(
        retry=policy(config.retry),
        scheduler=SchedulerSettings(on_damage=on_damage, destinations=destinations),
        is_local=local.__contains__,
        policies=policies(config),
        notices=notice_settings(config),
    )


def notice_settings(config: Config) -> NoticeSettings:
    """How reports are sent. Raises ConfigError for a text that cannot be used."""
    table = config.notices
    texts: dict[Kind, Text] = {}
    for kind in KINDS:
        path = table.templates / f"{kind}.txt" if table.templates else None
        if path is not None and path.exists():
            try:
                texts[kind] = Text.parse(kind, path.read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigError(f"{config.path}: notices.templates", f"{path}: {error}") from None
    double = Address.parse(table.double_bounce) if table.double_bounce else NULL
    return NoticeSettings(double, ReportSettings(int(table.return_full), texts))


@dataclass(slots=True)
class Ways:
    """How mail leaves a worker: the settings of its queues, which a reload replaces, and where addresses are found."""

    outbound: Outbound
    targets: Targets
    resolver: Resolver

    @classmethod
    def of(cls, config: Config) -> Self:
        """The ways of a configuration."""
        resolver = Resolver(resolver_settings(config))
        return cls(Outbound(config), Targets(resolver, target_settings(config)), resolver)

    def limits(self, queue: str) -> DestinationLimits:
        """How much a queue is given, as the present configuration says."""
        return self.outbound.limits(queue)

    def couriers(self, parts: Parts, transport: Transport, bindings: Bindings) -> Couriers:
        """Who serves remote destinations."""
        mine = CourierParts(parts.server, parts.dispatcher, transport, self.targets, parts.log, transport.hold_damaged)
        return Couriers(mine, bindings, DeliverySettings(self.outbound.hop))
