"""Where mail goes that is not for here: a table of domains, and a smart host for all others.

Without either, nothing needs to be asked: a local domain is delivered to here, and any other by its MX records. What stands in the table
goes before that, for a local domain too, so that one can be relayed to another machine while it moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock import Sink, on
from penstock.events import Route
from penstock.verdicts import RouteTo

from .domains import DomainTable

_EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class DomainRoute:
    """Where the mail of a domain goes.

    Args:
        next_hop: e.g. "relay.example:587", "[192.0.2.1]:25", "lmtp:[127.0.0.1]:24" or "local"; "" for the way that it would go without.
        message_class: a class that gets a queue of its own at that next hop.
        schedule: when its queue is worked on: "" always, "on-demand", or times such as "mon-fri 20:00-06:00".
    """

    next_hop: str = ""
    message_class: str = ""
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """The table.

    Args:
        routes: by domain; ``.example.com`` means that domain and all below it, ``*`` all that is not local.
        smart_host: the next hop of what is neither local nor in the table; "" for the MX records of its domain.
    """

    routes: dict[str, DomainRoute] = field(default_factory=dict)
    smart_host: str = ""


class Routing(Sink[RoutingSettings]):
    """Proposes the next hop that the table has for a domain.

    A recipient that was given a route of its own keeps it: who gave it knew more.

    Raises: ValueError for a next hop, class or schedule that cannot be used, or a domain that is none.
    """

    def __init__(self, settings: RoutingSettings) -> None:
        super().__init__(settings)
        routes = dict(settings.routes)
        everything = routes.pop(_EVERYTHING, None)
        for pattern, route in settings.routes.items():
            _check(f"routes.{pattern}", route)
        self._table = DomainTable(routes)
        self._rest = everything
        if settings.smart_host and not (everything and everything.next_hop):
            self._rest = DomainRoute(
                settings.smart_host, everything.message_class if everything else "", everything.schedule if everything else ""
            )
            _check("smart_host", self._rest)

    @on(Route, blocking=False)
    def propose(self, event: Route) -> RouteTo | None:
        """Proposes what the table says, in the place of what was proposed so far."""
        if event.recipients_now()[0].route:
            return None
        route, present = self._table.find(event.destination), event.proposal
        if route is None:
            local = present is not None and (event.next_hop is None or event.next_hop.kind == "local")
            route = None if local or not event.destination else self._rest
        if route is None:
            return None
        if route.next_hop:
            return RouteTo(route.next_hop, route.message_class, route.schedule)
        if present is None:
            return None
        return RouteTo(present.next_hop, route.message_class, route.schedule)


def _check(place: str, route: DomainRoute) -> None:
    try:
        RouteTo(route.next_hop or "local", route.message_class, route.schedule)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from None
