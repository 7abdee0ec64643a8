"""An event of any class, with all that it needs, about a message and sessions made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.events import catalog, outbound, reports, transit
from penstock.events.event import Event
from penstock.events.outbound import Remote
from penstock.events.reports import Told
from penstock.events.resolve import Item
from penstock.events.verdict_transit import RouteTo
from penstock.events.views import MessageSnapshot
from penstock.events.work import Facts, OutboundWork
from penstock.mail.reply import Reply
from penstock.wire.sasl.base import Password
from penstock.wire.tls import TlsFacts

NO = Reply(550, "5.1.1", "no")


class NoWire:
    """A server that says yes to everything."""

    async def send(self, line: str) -> Reply:
        return Reply(250, "2.0.0", f"heard {line}")


def made(event: type[Event], facts: Facts, more: dict[str, Any]) -> Event:
    """The event; ``more`` may replace what it carries."""
    if issubclass(event, outbound.OutboundEvent):
        facts.outbound = OutboundWork("o1", "mx:example.com", Remote("mx:example.com", "mx.example.com", "mx", "192.0.2.7", 25), 1.0)
        return _outbound(event, facts, more)
    if issubclass(event, reports.RecipientReport | reports.Tracked):
        return _report(event, facts)
    return _inbound(event, facts, more)


def _inbound(event: type[Event], facts: Facts, more: dict[str, Any]) -> Event:
    recipients = facts.message.record.envelope.recipients if facts.message else []
    make: dict[type[Event], Callable[[], Event]] = {
        catalog.Helo: lambda: catalog.Helo(facts, "client.example", []),
        catalog.Ehlo: lambda: catalog.Ehlo(facts, "client.example", ["PIPELINING"]),
        catalog.Verb: lambda: catalog.Verb(facts, more.get("keyword", "XTEST"), more.get("argument", ""), more.get("dialogue")),  # type: ignore[arg-type]
        catalog.RcptTo: lambda: catalog.RcptTo(facts, more.get("recipient") or recipients[0]),
        catalog.LocalDelivery: lambda: catalog.LocalDelivery(facts, more.get("recipient") or recipients[0]),
        catalog.Accepted: lambda: catalog.Accepted(facts, MessageSnapshot.of(facts.message)),  # type: ignore[arg-type]
        catalog.Rejected: lambda: catalog.Rejected(facts, more.get("command", "RCPT TO:<x>"), more.get("reply", NO), "server"),
        catalog.TlsEstablished: lambda: catalog.TlsEstablished(facts, TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)),
        catalog.SessionEnded: lambda: catalog.SessionEnded(facts, "quit", 1.5),
        transit.Resolve: lambda: transit.Resolve(facts, more.get("items") or [Item(r.address, recipient=r) for r in recipients], 1),
        transit.Categorized: lambda: transit.Categorized(facts, (tuple(recipients),)),
        transit.Route: lambda: transit.Route(facts, "example.com", tuple(recipients), RouteTo("mx:example.com")),
        transit.ResolveHost: lambda: transit.ResolveHost(facts, "mx.example.com", "address", "mx:example.com"),
        catalog.Credentials: lambda: catalog.Credentials(facts, "PLAIN", Password("alice", "secret")),
        transit.MaxMessageSize: lambda: transit.MaxMessageSize(facts, 2000, 1000),
        reports.QueueStateChanged: lambda: reports.QueueStateChanged(facts, "mx:example.com", "backing-off", "refused", 1.0),
        reports.ConfigChanged: lambda: reports.ConfigChanged(facts, 2, ("archive",)),
        reports.RoutesChanged: lambda: reports.RoutesChanged(facts, 3),
    }
    if issubclass(event, transit.Notice):
        assert facts.message is not None
        return event(facts, facts.message, tuple(recipients), ("no",))
    return make.get(event, lambda: event(facts))()


def _outbound(event: type[Event], facts: Facts, more: dict[str, Any]) -> Event:
    wire, recipient = more.get("wire") or NoWire(), facts.message.record.envelope.recipients[0] if facts.message else None
    assert recipient is not None
    make: dict[type[Event], Callable[[], Event]] = {
        outbound.Connecting: lambda: outbound.Connecting(facts, "192.0.2.7", 25, "", "may"),
        outbound.SessionStart: lambda: outbound.SessionStart(facts, wire),
        outbound.MessageStart: lambda: outbound.MessageStart(facts, wire, more.get("command", "MAIL FROM:<alice@example.com>")),
        outbound.PerRecipient: lambda: outbound.PerRecipient(facts, wire, recipient, more.get("command", "RCPT TO:<bob@example.com>")),
        outbound.BeforeData: lambda: outbound.BeforeData(facts, wire, (recipient,)),
        outbound.ServerResponse: lambda: outbound.ServerResponse(
            facts, more.get("verb", "MAIL"), more.get("command", "MAIL FROM:<x>"), more.get("reply", NO), more.get("recipient")
        ),
        outbound.SessionEnd: lambda: outbound.SessionEnd(facts, wire, 1, 1),
    }
    return make[event]()


def _report(event: type[Event], facts: Facts) -> Event:
    assert facts.message is not None
    shown, recipient = MessageSnapshot.of(facts.message), facts.message.record.envelope.recipients[0]
    make: dict[type[Event], Callable[[], Event]] = {
        reports.Deferred: lambda: reports.Deferred(facts, shown, recipient, Told("there", "4.4.1", "no", NO), 2.0),
        reports.Expanded: lambda: reports.Expanded(facts, shown, recipient, (recipient.address,)),
        reports.Dropped: lambda: reports.Dropped(facts, shown, recipient, "why", "who"),
        reports.Quarantined: lambda: reports.Quarantined(facts, shown, recipient, "why", "who"),
        reports.Tracked: lambda: reports.Tracked(facts, shown, reports.Step.SUBMITTED, {}),
    }
    return make.get(event, lambda: event(facts, shown, recipient, Told("here", "2.0.0", "", NO)))()  # type: ignore[call-arg,arg-type]
