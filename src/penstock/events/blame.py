"""Which binding runs, told from the stack of the loop's thread: what the watch over the loop asks when it is blocked.

The stack knows it at no cost; noting it at each call would cost every event something. A task that a sink started itself has no call of
ours on its stack: then the stack alone, with the sink's file and line, says whose it is."""

from __future__ import annotations

from types import FrameType

from .binding import Binding
from .calling import Calls
from .running import answer
from .wanting import judged, wanted

# Our functions that have a binding, and are on the stack while its handler or its conditions run on the loop.
_OURS = {function.__code__ for function in (Calls.inline, answer, wanted, judged)}


def blame(frame: FrameType) -> dict[str, str]:
    """The binding that runs in a thread, for a log line; {} when none does. Counts it against the binding where nobody else will.

    Args:
        frame: the innermost frame of the thread.
    """
    at: FrameType | None = frame
    while at is not None:
        if at.f_code in _OURS:
            binding = at.f_locals.get("binding")
            if isinstance(binding, Binding):
                if at.f_code is answer.__code__:
                    binding.counted.blocked += 1
                return {"binding": binding.name, "method": binding.method}
        at = at.f_back
    return {}
