"""What keeps a binding from being asked although its conditions hold: it expired, has fired often enough, or this is not in its share.

A binding without any of that has no gate and pays nothing. Its breaker is looked at elsewhere (``breaker``): it follows ``on_error``, and
what is said here means that the binding is as good as not bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .canary import in_sample

if TYPE_CHECKING:
    from .canary import Canaries
    from .event import Event
    from .plug import Plug


class Gate:
    """Whether a plug's handlers are kept from an event.

    Args:
        plug: the plug.
        canaries: decides of its share, where it is a canary or one stands in for it; None where neither is so.
    """

    __slots__ = ("_plug", "canaries")

    def __init__(self, plug: Plug, canaries: Canaries | None = None) -> None:
        self._plug = plug
        self.canaries = canaries

    def refuses(self, event: Event) -> str:
        """Why its handlers are not called, as ``Trail.not_asked`` says it; "" when they are. May raise what conditions raise."""
        plug = self._plug
        if not plug.enabled:
            return "disabled"
        if plug.expires and event.facts.server.now() >= plug.expires:
            return "expired"
        if plug.max_firings and plug.standing.firings >= plug.max_firings:
            return "max firings"
        if plug.sample < 100 and not in_sample(plug, event):
            return "sampled out"
        return "canary" if self.canaries is not None and not self.canaries.takes(plug, event) else ""


def gate_of(plug: Plug, canaries: Canaries) -> Gate | None:
    """The gate of a plug; None where nothing could ever keep it from being asked."""
    compared = canaries.concerns(plug)
    if plug.enabled and not (plug.expires or plug.max_firings or plug.sample < 100 or compared):
        return None
    return Gate(plug, canaries if compared else None)
