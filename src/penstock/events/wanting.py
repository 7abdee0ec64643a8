"""Whether a binding is to be asked about an event: at once, as a yes or no, or for a trace with every condition and what it found."""

from __future__ import annotations

from .binding import Binding
from .condition import Condition
from .event import Event
from .trace import Judged

# What is not tried for a trace when another condition did not hold: it may cost much, or do what it likes.
_COSTLY = ("header", "when")


def wanted(binding: Binding, event: Event) -> bool:
    """Whether a binding is to be asked: its conditions hold, and at a stage the message neither came from it nor was seen by it before."""
    binding.counted.asked += 1
    if event.stage and _handled(binding, event):
        return False
    event.matched = ()
    for condition in binding.conditions:  # noqa: SIM110 - a generator would cost more than most conditions
        if not condition.test(event):
            return False
    return True


def judged(binding: Binding, event: Event) -> tuple[str, tuple[Judged, ...]]:
    """The same, as a reason of ``Trail.not_asked`` ("" when it is to be asked) and the conditions, all of them where that is cheap."""
    binding.counted.asked += 1
    reason = _handled(binding, event) if event.stage else ""
    if reason:
        return reason, ()
    event.matched = ()
    found: list[Judged] = []
    held = True
    for condition in binding.conditions:
        if held or condition.name not in _COSTLY:
            one = condition.test(event)
            found.append(Judged(condition.name, condition.wanted, _found(condition, event), one))
            held = held and one
    return "" if held else "condition", tuple(found)


def _handled(binding: Binding, event: Event) -> str:
    message = event.facts.message
    if message is None:
        return ""
    record = message.record
    # Only at a stage: a sink that delivers, and writes mail too, is asked to deliver what it wrote.
    if binding.name in record.skip:
        return "own message"
    return "done before" if binding.key in record.done else ""


def _found(condition: Condition, event: Event) -> str:
    try:
        return condition.found(event)
    except Exception as error:
        return f"cannot be told: {type(error).__name__}"
