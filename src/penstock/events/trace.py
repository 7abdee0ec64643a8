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
                "earlier verdict", "too many wait" (reports) or "shadow" (asked in the background, about a copy).
            judged: the conditions that were looked at; of a binding that came after a verdict none. Where one did not hold, a predicate
                and what reads the content were not tried.
        """

    def asking(self, binding: Binding, event: Event, judged: tuple[Judged, ...]) -> None:
        """A handler is called now, or, of a report, is to be told when its turn comes; the event is as the handler gets it.

        What it edits is found by comparing with ``answered``: ``event.facts.message`` has the message (its record, and the copies that were
        split off), and ``event.recipients_now()`` the recipients of any event that has some.
        """

    def answered(self, binding: Binding, event: Event, verdict: Verdict | None, seconds: float, error: str = "") -> None:
        """It returned, or failed, or a condition of it raised; the event is as it is after its edits were kept or dropped.

        Args:
            binding: which.
            event: the event.
            verdict: what it said, also what is an edit; None to go on, and when it failed.
            seconds: that it took, the wait for a thread or a place included.
            error: why it failed; "" when it did not.
        """

    def over(self, verdict: Verdict | None, by: str) -> None:
        """The event is over."""


class Tracer(Protocol):
    """Decides which events are traced."""

    def trail(self, event: Event) -> Trail | None:
        """Where to tell of this event; None when it is not traced."""
