"""The stages of a message's way, as an enum with its legal moves.

The value is what the spool records: the last stage that is over. A stage is recorded when it is over, so after a crash a message begins
again at the stage that it had not finished; sinks therefore run at least once a stage. A stage that asked nobody and changed nothing is
left out of the record, since a restart would only repeat nothing: so each later stage is a legal move, and there is one way back, for what
is to be categorized again (a delivery that forwards) or routed again (new routes)."""

from __future__ import annotations

from enum import Enum

from ..errors import PenstockError


class Stage(Enum):
    """The last thing that is known to be over."""

    SUBMITTED = "submitted"  # accepted and durable; the sinks of Submission are next
    ADMITTED = "admitted"  # Submission is over; PreCategorize is next
    PRECATEGORIZED = "precategorized"  # its addresses are resolved next
    RESOLVED = "resolved"  # Categorized is next
    CATEGORIZED = "categorized"  # every recipient in it is handled the same way; PostCategorize is next
    POSTCATEGORIZED = "postcategorized"  # its recipients are final; it is routed next
    ROUTED = "routed"  # it waits in the queue of its next hop

    # Each message looks stages up; there is one object a stage, and Enum's own hash is a call of Python's.
    __hash__ = object.__hash__


_ORDER = tuple(Stage)
MOVES: dict[Stage, tuple[Stage, ...]] = {
    **{stage: _ORDER[number + 1 :] for number, stage in enumerate(_ORDER)},
    Stage.ROUTED: (Stage.PRECATEGORIZED, Stage.POSTCATEGORIZED),
}


def move(old: Stage, new: Stage) -> Stage:
    """The new stage; staying is always legal. Raises PenstockError for a move that is not in the table."""
    if new is not old and new not in MOVES[old]:
        raise PenstockError(f"a message cannot go from {old.value!r} to {new.value!r}")
    return new
