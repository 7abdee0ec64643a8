"""What is to be done to a message that is just being worked on: it is done when its present try ends.

A delivery under way cannot be stopped without the risk of a second copy, and a stage not without asking its sinks again. So the wish waits;
until then the message is held in the spool, so that nobody takes it up again if the try ends without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ..events.dispatch import Step
from ..queue.scheduler import Scheduler

# What is to be done to a message, given its id.
Wish = Callable[[str], None]
# How often it is looked whether a try ended without a word, such as one for which no connection came about.
LOOK_AGAIN = 1.0


class Later:
    """Wishes that wait, one a message: the last one counts.

    Args:
        scheduler: knows what is being worked on.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._wishes: dict[str, Wish] = {}
        self._parts: dict[str, list[str]] = {}
        self._ending: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def do(self, message_id: str, wish: Wish, *, instead: bool = True) -> bool:
        """Does it now, or when the present try ends; True when it is done.

        Args:
            message_id: which message.
            wish: what to do, given the id.
            instead: it takes the place of another wish that waits; else that one stays.
        """
        if not self._is_busy(message_id):
            self._wishes.pop(message_id, None)
            wish(message_id)
            return True
        if instead or message_id not in self._wishes:
            self._wishes[message_id] = wish
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_AGAIN, self._look)
        return False

    def split(self, message_id: str, part: str) -> None:
        """Tells that a part of a message is a message of its own from now on: what was wished of the whole is done to it too."""
        if message_id in self._wishes:
            self._parts.setdefault(message_id, []).append(part)

    async def until_over(self, message_id: str, step: Coroutine[Any, Any, None]) -> None:
        """Waits for the end of a message that nobody works on any more; wishes wait meanwhile, or it could end twice."""
        self._ending.add(message_id)
        try:
            await step
        finally:
            self._ending.discard(message_id)
            self.ended(message_id)

    def after(self, message_id: str, step: Step) -> Step:
        """A try that is over, or will be with a step; then what was wished meanwhile is done."""
        if step is not None:
            return self._after(message_id, step)
        self.ended(message_id)
        return None

    async def _after(self, message_id: str, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        finally:
            self.ended(message_id)

    def ended(self, message_id: str) -> None:
        """Tells that the try of a message ended, and what came of it is recorded."""
        if self._wishes:
            wish = self._wishes.pop(message_id, None)
            if wish is not None:
                parts = self._parts.pop(message_id, [])
                wish(message_id)
                for part in parts:
                    self.do(part, wish)

    def stop(self) -> None:
        """Waits no longer; what was not done is not."""
        if self._timer is not None:
            self._timer.cancel()

    def _is_busy(self, message_id: str) -> bool:
        return message_id in self._ending or self._scheduler.is_active(message_id)

    def _look(self) -> None:
        self._timer = None
        for message_id in [m for m in self._wishes if not self._is_busy(m)]:
            self.ended(message_id)
        if self._wishes:
            self._timer = asyncio.get_running_loop().call_later(LOOK_AGAIN, self._look)
