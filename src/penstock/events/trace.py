"""What the dispatcher tells of its work, for those who want to know why a binding was asked or was not.

The dispatcher knows only these two Protocols; who records, where and how much is decided elsewhere. Off, it costs one look at None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from .binding import Binding
    from .event import Event
    from .verdict import Verdict


class Judged(NamedTuple):
    """One condition, as it was looked at.

    Args:
        name: of the condition, as in ``Match``; "when" for a predicate.
        wanted: as it was written.
        found: what the event had, in words.
        held: whether it held.
    """

    name: str
    wanted: str
    found: str
    held: bool


class Trail(Protocol):
    """One event's part of a trace; told in the order in which things happen."""

    def not_asked(self, binding: Binding, reason: str, judged: tuple[Judged, ...] = ()) -> None:
        """A binding was not asked.

        Args:
            binding: which.
            reason: "condition", "disabled", "expired", "max firings", "breaker", "sampled out", "canary", "own message", "done before",
                "earlier verdict" or "shadow".
            judged: the conditions that were looked at, the last of which did not hold.
        """

    def asking(self, binding: Binding, event: Event, judged: tuple[Judged, ...]) -> None:
        """A handler is called now; the event is as the handler gets it."""

    def answered(self, binding: Binding, event: Event, verdict: Verdict | None, seconds: float, error: str = "") -> None:
        """It returned, or failed; the event is as it is after its edits were kept or dropped."""

    def over(self, verdict: Verdict | None, by: str) -> None:
        """The event is over."""


class Tracer(Protocol):
    """Decides which events are traced."""

    def trail(self, event: Event) -> Trail | None:
        """Where to tell of this event; None when it is not traced."""
