"""The table of routes: what it proposes for which domain, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from events.harness import Harness, message_work
from penstock import Recipient
from penstock.events.transit import Route
from penstock.mail.address import Address
from penstock.sinks.routing import DomainRoute, Routing, RoutingSettings
from penstock.verdicts import RouteTo


async def proposed(settings: RoutingSettings, domain: str, start: str | None, route: str = "") -> RouteTo | None:
    harness = Harness.of(Routing(settings))
    recipient = Recipient(Address("bob", domain), route=route)
    work = message_work(recipients=(recipient,))
    event = Route(harness.facts(work), domain, (recipient,), RouteTo(start) if start else None)
    assert await harness.ask(event) is None
    return event.proposal


@pytest.mark.parametrize(
    ("domain", "start", "hop"),
    [
        ("example.org", "mx:example.org", "mx:relay.example:587"),
        ("mail.example.net", "mx:mail.example.net", "[192.0.2.1]:25"),
        ("moved.example", "local", "lmtp:[127.0.0.1]:24"),
        ("other.example", "mx:other.example", "[smart.example]:25"),
        ("here.example", "local", "local"),
        ("", "local", "local"),
        ("192.0.2.1", None, "[smart.example]:25"),
    ],
)
async def test_the_table_comes_before_the_smart_host(domain: str, start: str | None, hop: str) -> None:
    """A local domain is only sent elsewhere when it stands in the table itself; what has no way of its own goes to the smart host."""
    routes = {
        "example.org": DomainRoute("relay.example:587"),
        ".example.net": DomainRoute("[192.0.2.1]"),
        "moved.example": DomainRoute("lmtp:[127.0.0.1]:24"),
    }
    found = await proposed(RoutingSettings(routes, "[smart.example]:25"), domain, start)
    assert found is not None
    assert str(found.next_hop) == hop


async def test_a_route_may_give_a_class_and_a_schedule_alone() -> None:
    """The next hop stays what it was."""
    routes = {"slow.example": DomainRoute(message_class="bulk", schedule="on-demand"), "*": DomainRoute(message_class="rest")}
    found = await proposed(RoutingSettings(routes), "slow.example", "mx:slow.example")
    assert found == RouteTo("mx:slow.example", "bulk", "on-demand")
    assert await proposed(RoutingSettings(routes), "x.example", "mx:x.example") == RouteTo("mx:x.example", "rest")
    smart = await proposed(RoutingSettings(routes, "relay.example"), "x.example", "mx:x.example")
    assert smart is not None
    assert (str(smart.next_hop), smart.message_class) == ("mx:relay.example", "rest")
    assert await proposed(RoutingSettings({"odd.example": DomainRoute(message_class="x")}), "odd.example", None) is None


async def test_a_recipient_keeps_a_route_of_its_own() -> None:
    """Who gave it knew more than the table."""
    settings = RoutingSettings({}, "relay.example")
    assert await proposed(settings, "x.example", "[192.0.2.9]:25", route="[192.0.2.9]:25") == RouteTo("[192.0.2.9]:25")


@pytest.mark.parametrize(
    "route",
    [DomainRoute("not a host"), DomainRoute("x.example", "no spaces here"), DomainRoute("[1.2.3.4:25")],
)
def test_what_cannot_be_used_is_refused_with_its_place(route: Any) -> None:
    """At the start, not at the first message."""
    with pytest.raises(ValueError, match=r"routes\.bad\.example"):
        Routing(RoutingSettings({"bad.example": route}))
