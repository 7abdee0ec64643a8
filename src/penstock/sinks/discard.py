"""Delivery to nowhere: for benchmarks, which measure everything else, and for domains whose mail nobody wants."""

from __future__ import annotations

from penstock import Sink, on
from penstock.events import LocalDelivery
from penstock.verdicts import Delivered

from .routes import has_own_delivery

_DISCARDED = Delivered("discarded")


class Discard(Sink):
    """Takes every recipient that it is asked about, and keeps nothing; one that was given a delivery of its own is left to that."""

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Delivered | None:
        """Says that it is done."""
        return None if has_own_delivery(event) else _DISCARDED
