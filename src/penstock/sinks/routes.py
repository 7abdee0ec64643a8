"""Deliveries that a directory gave to a recipient, as its route: ``pipe:COMMAND``, ``file:PATH``, or a word of a sink of the user's."""

from __future__ import annotations

from penstock.events import Event, LocalDelivery


def own_delivery(event: Event) -> str:
    """The route of the recipient at a LocalDelivery, "" when it has none of its own."""
    # Asked of each delivery, so it makes no draft of the recipient as ``event.recipient`` does.
    route = event.recipients_now()[0].route
    return route if is_own_delivery(route) else ""


def has_own_delivery(event: LocalDelivery) -> bool:
    """Whether the recipient was given a delivery of its own, so that its domain's leaves it alone."""
    return bool(own_delivery(event))


def is_own_delivery(route: str) -> bool:
    """Whether a route names a delivery, and not this server as a next hop."""
    return route not in ("", "local")
