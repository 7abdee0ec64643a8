"""Asks a sink about one recipient: at RCPT, at Resolve, and at its delivery."""

from __future__ import annotations

from typing import Any

from events.harness import Harness, message_work, session_work
from penstock import Address, Recipient, Sink
from penstock.events import Item, LocalDelivery, RcptTo, Resolve
from penstock.verdicts import Verdict


async def resolved(sink: Sink[Any], *addresses: str, sender: str = "a@client.example") -> list[Item]:
    """What the sink decides about these recipients, asked in one batch."""
    harness = Harness.of(sink)
    items = [Item(Address.parse(a), recipient=Recipient(Address.parse(a))) for a in addresses]
    event = Resolve(harness.facts(message_work(sender=sender)), items, 1)
    assert await harness.ask(event) is None
    assert sum(binding.counters.errors for binding in harness.bindings.all) == 0, harness.log.lines
    return list(event.kept)


async def members(sink: Sink[Any], address: str) -> list[str]:
    """The addresses that one leads to."""
    (item,) = await resolved(sink, address)
    return [str(member) for member in item.members]


async def at_rcpt(address: str, *sinks: Sink[Any]) -> Verdict | None:
    """What these sinks, in this order, say to a recipient at RCPT."""
    harness = Harness.of(*sinks)
    event = RcptTo(harness.facts(message_work(), session_work()), Recipient(Address.parse(address)))
    verdict = await harness.ask(event)
    assert sum(binding.counters.errors for binding in harness.bindings.all) == 0, harness.log.lines
    return verdict


async def delivered(sink: Sink[Any], address: str = "alice@example.com", route: str = "", **message: Any) -> Verdict | None:
    """What a delivery says; ``message`` as for ``message_work``."""
    harness = Harness.of(sink)
    recipient = Recipient(Address.parse(address), route=route, properties=message.pop("properties", {}))
    work = message_work(recipients=(recipient,), **message)
    verdict = await harness.ask(LocalDelivery(harness.facts(work), recipient))
    assert sum(binding.counters.errors for binding in harness.bindings.all) == 0, harness.log.lines
    return verdict
