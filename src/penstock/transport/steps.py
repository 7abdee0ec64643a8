"""Work that is done at once where nobody has to be waited for, and in a coroutine from where somebody has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from ..events.dispatch import Step

Call = Callable[[], Step]


def in_turn(calls: Iterable[Call]) -> Step:
    """Does one thing after the other: all at once, or in the coroutine that is returned."""
    rest = deque(calls)
    while rest:
        step = rest.popleft()()
        if step is not None:
            return _rest(step, rest) if rest else step
    return None


async def _rest(step: Step, rest: deque[Call]) -> None:
    while True:
        if step is not None:
            await step
        if not rest:
            return
        step = rest.popleft()()
