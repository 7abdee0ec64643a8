"""Delivery to nowhere: for benchmarks, which measure everything else, and for domains whose mail nobody wants."""

from __future__ import annotations

from penstock import Sink, on
from penstock.events import LocalDelivery
from penstock.verdicts import Delivered

_DISCARDED = Delivered("discarded")


class Discard(Sink):
    """Takes every recipient that it is asked about, and keeps nothing."""

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Delivered:
        """Says that it is done."""
        return _DISCARDED
