"""Where mail goes that is not for here: a table of domains, and a smart host for all others.

Without either, nothing needs to be asked: a local domain is delivered to here, and any other by its MX records. What stands in the table
goes before that, for a local domain too, so that one can be relayed to another machine while it moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock import NextHop, Sink, on
from penstock.events import Route
from penstock.verdicts import RouteTo

from .domains import DomainTable

_EVERYTHING = "*"
# What a route without a next hop leaves as it would be without it.
_AS_IT_IS = NextHop.parse("local")


@dataclass(frozen=True, slots=True)
class DomainRoute:
    """Where the mail of a domain goes.

    Args:
        next_hop: e.g. "relay.example:587", "[192.0.2.1]:25", "lmtp:[127.0.0.1]:24" or "local"; "" for the MX records of the domain, or
            for here where it is local.
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
        routes = {pattern: _made(f"routes.{pattern}", route) for pattern, route in settings.routes.items()}
        rest = routes.pop(_EVERYTHING, None)
        if settings.smart_host and (rest is None or rest.next_hop is _AS_IT_IS):
            smart = DomainRoute(settings.smart_host, *((rest.message_class, rest.schedule) if rest else ()))
            rest = _made("smart_host", smart)
        self._table = DomainTable(routes)
        self._rest = rest

    @on(Route, blocking=False)
    def propose(self, event: Route) -> RouteTo | None:
        """Proposes what the table says, in the place of what was proposed so far."""
        if event.recipients_now()[0].route:
            return None
        route = self._table.find(event.destination)
        if route is None:
            here = event.next_hop is not None and event.next_hop.kind == "local"
            route = None if here or self._rest is None else self._rest
        if route is None or route.next_hop is not _AS_IT_IS:
            return route
        if event.proposal is None:
            return None
        return RouteTo(event.proposal.next_hop, route.message_class, route.schedule)


def _made(place: str, route: DomainRoute) -> RouteTo:
    """The proposal of a route, made once; ``_AS_IT_IS`` stands where it names no next hop. Raises ValueError."""
    try:
        return RouteTo(NextHop.parse(route.next_hop) if route.next_hop else _AS_IT_IS, route.message_class, route.schedule)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from None
