"""Asking with a trace: every binding of the event is looked at, every condition is judged, and a trail is told, with why one was not asked.

The outcome is that of asking without; only the way there is longer, which is why it is another way."""

from __future__ import annotations

from collections.abc import Callable

from .binding import Binding
from .calling import FAILURES, PROCEED, Calls, Outcome, said
from .chain import Chain
from .event import Event
from .trace import Trail
from .wanting import judged


class Tracing:
    """Asks, and tells a trail.

    Args:
        calls: calls handlers.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def ask(self, event: Event, chain: Chain, trail: Trail) -> Outcome:
        """Asks the bindings of a question."""
        outcome: Outcome | None = None
        try:
            for binding in chain.listed:
                if outcome is not None:
                    trail.not_asked(binding, "earlier verdict")
                elif never := _never(binding):
                    trail.not_asked(binding, never)
                else:
                    outcome = await self._ask_one(binding, event, trail)
        finally:
            # Also where whoever asked is gone, or the content cannot be read.
            trail.over(outcome.verdict if outcome is not None else None, outcome.by if outcome is not None else "")
        return outcome or PROCEED

    def due(self, event: Event, chain: Chain, trail: Trail, has_room: Callable[[Binding], bool]) -> list[tuple[Binding, tuple[int, ...]]]:
        """The bindings that are to be told of a report.

        Args:
            event: the report.
            chain: its bindings.
            trail: told of those that are not.
            has_room: whether one more report may wait for a binding.
        """
        told = []
        for binding in chain.listed:
            if never := _never(binding):
                trail.not_asked(binding, never)
                continue
            try:
                reason, conditions = judged(binding, event)
                if reason:
                    trail.not_asked(binding, reason, conditions)
                elif not has_room(binding):
                    trail.not_asked(binding, "too many wait", conditions)
                else:
                    trail.asking(binding, event, conditions)
                    told.append((binding, event.matched))
            except FAILURES as error:
                self._calls.condition_failed(binding, event, error)
                trail.answered(binding, event, None, 0.0, said(error))
        return told

    async def _ask_one(self, binding: Binding, event: Event, trail: Trail) -> Outcome | None:
        try:
            reason, conditions = judged(binding, event)
            held = self._calls.held(binding, event) if not reason else ""
        except FAILURES as error:
            outcome = self._calls.condition_failed(binding, event, error)
            trail.answered(binding, event, None, 0.0, said(error))
            return outcome
        if reason or held:
            trail.not_asked(binding, reason or held, conditions)
            return self._calls.policy(binding, event) if held == "breaker" else None
        trail.asking(binding, event, conditions)
        try:
            if binding.mode == "inline":
                return self._calls.inline(binding, event, trail)
            return await self._calls.waiting(binding, event, trail)
        except BaseException as error:
            trail.answered(binding, event, None, 0.0, said(error))
            raise


def _never(binding: Binding) -> str:
    if not binding.plug.enabled:
        return "disabled"
    return "shadow" if binding.plug.mode == "shadow" else ""
