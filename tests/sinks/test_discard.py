"""Discard takes everything and keeps nothing."""

from __future__ import annotations

from events.harness import Harness
from penstock.events import LocalDelivery
from penstock.events.dispatch import Outcome
from penstock.sinks import Discard
from penstock.verdicts import Delivered


def test_every_recipient_is_delivered_at_once_without_a_task() -> None:
    harness = Harness.of(Discard())
    answer = harness.dispatcher.ask(harness.make(LocalDelivery), harness.bindings.chain(LocalDelivery))
    assert answer == Outcome(Delivered("discarded"), "sink0")
