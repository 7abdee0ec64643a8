"""The stages of a message's way, as an enum with its legal moves.

The value is what the spool records. A stage is recorded when it is over, so after a crash a message begins again at the stage that it
had not finished; sinks therefore run at least once a stage."""

from __future__ import annotations

from enum import Enum

from ..errors import PenstockError


class Stage(Enum):
    """The last thing that is known to be over."""

    SUBMITTED = "submitted"  # accepted and durable; the sinks of Submission are next
    ROUTED = "routed"  # its recipients are final; delivery is next


MOVES: dict[Stage, tuple[Stage, ...]] = {
    Stage.SUBMITTED: (Stage.ROUTED,),
    Stage.ROUTED: (),
}


def move(old: Stage, new: Stage) -> Stage:
    """The new stage; staying is always legal. Raises PenstockError for a move that is not in the table."""
    if new is not old and new not in MOVES[old]:
        raise PenstockError(f"a message cannot go from {old.value!r} to {new.value!r}")
    return new
