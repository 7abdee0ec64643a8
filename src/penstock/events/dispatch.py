"""Dispatch: asks the bindings of an event in order until one gives a final verdict.

Where all bindings are ``inline`` (or there are none) the answer is there at once, without task or coroutine; the rest goes on in a
coroutine from the first binding that has to wait. How one handler is called is in ``calling``; how an event is traced, where every binding
and every condition is looked at, in ``tracing``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any

from ..observe.log import Log
from .binding import Binding
from .breaker import Breakers
from .calling import FAILURES, Calls
from .calling import PROCEED as PROCEED
from .calling import Outcome as Outcome
from .chain import Chain
from .event import Event
from .running import Runner, Seldom
from .shadow import Rehearsal, Shadowing
from .trace import Tracer, Trail
from .tracing import Tracing
from .wanting import wanted

# So many reports wait for one binding at most; a sink that is slower than the mail hears of some of it only.
MOST_REPORTS = 1000
# What is left to do: nothing, or a coroutine to be awaited.
Step = Coroutine[Any, Any, None] | None
# A report that a binding is to be told of, with the recipients that met its conditions.
Due = tuple[Binding, tuple[int, ...]]


class Dispatcher:
    """Asks and tells.

    ``tracer`` is told why bindings were asked, and why not; None while nothing is traced.

    Args:
        log: where failures of sinks are written.
        clock: monotonic seconds, by which breakers rest.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._seldom = Seldom()
        runner = Runner(log, self._seldom)
        self._calls = Calls(log, runner, Breakers(log, clock), self._seldom)
        self._shadowing = Shadowing(runner, log, self._seldom, wanted)
        self._tracing = Tracing(self._calls)
        self._telling: set[asyncio.Task[None]] = set()
        self.tracer: Tracer | None = None

    def ask(self, event: Event, chain: Chain) -> Outcome | Coroutine[Any, Any, Outcome]:
        """Asks the bindings of a question; the outcome at once, or a coroutine that gives it."""
        if self.tracer is None and not chain.shadows:
            return self._ask(event, chain)
        rehearsal = self._shadowing.before(event, chain) if chain.shadows else None
        trail = self.tracer.trail(event) if self.tracer is not None and chain else None
        answer = self._ask(event, chain) if trail is None else self._tracing.ask(event, chain, trail)
        if rehearsal is None:
            return answer
        if isinstance(answer, Outcome):
            rehearsal.after(answer)
            return answer
        return _rehearsed(answer, rehearsal)

    def ask_then(self, event: Event, chain: Chain, then: Callable[[Outcome], Step]) -> Step:
        """Asks, and goes on with the outcome: at once, or in the coroutine that is returned."""
        answer = self.ask(event, chain) if chain else PROCEED
        return then(answer) if isinstance(answer, Outcome) else _later(answer, then)

    def tell(self, event: Event, chain: Chain) -> None:
        """Tells the bindings of a report, in the background; conditions are judged now, while what happened is as it was."""
        if not chain:
            return
        trail = self.tracer.trail(event) if self.tracer is not None else None
        rehearsal = self._shadowing.before(event, chain) if chain.shadows else None
        told = self._due(event, chain) if trail is None else self._tracing.due(event, chain, trail, self._has_room)
        if rehearsal is not None:
            rehearsal.after(None)
        if told:
            task = asyncio.get_running_loop().create_task(self._tell(event, told, trail))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        elif trail is not None:
            trail.over(None, "")

    async def drain(self) -> None:
        """Waits until all reports are told, and all shadows were asked."""
        while self._telling:
            await asyncio.wait(set(self._telling))
        await self._shadowing.drain()

    def _ask(self, event: Event, chain: Chain) -> Outcome | Coroutine[Any, Any, Outcome]:
        walk = iter(chain) if chain.finder is None else chain.finder.walk(event)
        for binding in walk:
            try:
                if not wanted(binding, event):
                    continue
                if (binding.gate is not None or binding.standing.failures) and (held := self._calls.held(binding, event)):
                    outcome = self._calls.policy(binding, event) if held == "breaker" else None
                elif binding.mode != "inline":
                    return self._ask_from(event, walk, binding)
                else:
                    outcome = self._calls.inline(binding, event)
            except FAILURES as error:  # a condition is code too: ``when``
                outcome = self._calls.condition_failed(binding, event, error)
            if outcome is not None:
                _end(walk)
                return outcome
        return PROCEED

    async def _ask_from(self, event: Event, walk: Iterator[Binding], first: Binding) -> Outcome:
        outcome = await self._calls.waiting(first, event)
        if outcome is not None:
            _end(walk)
            return outcome
        for binding in walk:
            try:
                if not wanted(binding, event):
                    continue
                held = self._calls.held(binding, event) if binding.gate is not None or binding.standing.failures else ""
            except FAILURES as error:
                outcome = self._calls.condition_failed(binding, event, error)
            else:
                if held:
                    outcome = self._calls.policy(binding, event) if held == "breaker" else None
                else:
                    outcome = await self._call(binding, event)
            if outcome is not None:
                _end(walk)
                return outcome
        return PROCEED

    async def _call(self, binding: Binding, event: Event, trail: Trail | None = None) -> Outcome | None:
        return self._calls.inline(binding, event, trail) if binding.mode == "inline" else await self._calls.waiting(binding, event, trail)

    def _due(self, event: Event, chain: Chain) -> list[Due]:
        """The bindings that are to be told of a report."""
        told = []
        for binding in chain.walk(event):
            try:
                if wanted(binding, event) and self._has_room(binding):
                    told.append((binding, event.matched))
            except FAILURES as error:
                self._calls.condition_failed(binding, event, error)
        return told

    async def _tell(self, event: Event, told: list[Due], trail: Trail | None) -> None:
        for binding, matched in told:
            event.matched = matched
            try:
                held = self._held(binding, event)
                if not held:
                    await self._call(binding, event, trail)
                elif trail is not None:
                    trail.not_asked(binding, held)
            finally:
                binding.counted.waiting -= 1
        if trail is not None:
            trail.over(None, "")

    def _held(self, binding: Binding, event: Event) -> str:
        try:
            return self._calls.held(binding, event)
        except FAILURES as error:  # what decides of a canary looks at conditions
            self._calls.condition_failed(binding, event, error)
            return "failed"

    def _has_room(self, binding: Binding) -> bool:
        """Whether one more report may wait for a binding, which it then does; counts and says when not."""
        counted = binding.counted
        if counted.waiting < MOST_REPORTS:
            counted.waiting += 1
            return True
        counted.dropped += 1
        if self._seldom("dropped", binding.key):
            self._log.warning(
                "reports are dropped", binding=binding.name, method=binding.method, waiting=counted.waiting, dropped=counted.dropped
            )
        return False


def _end(walk: Iterator[Binding]) -> None:
    """Ends a walk where it is, now: the traceback of an error that somebody keeps would keep the walk, and with it what it counted."""
    if isinstance(walk, Generator):
        walk.close()


async def _rehearsed(answer: Coroutine[Any, Any, Outcome], rehearsal: Rehearsal) -> Outcome:
    outcome = await answer
    rehearsal.after(outcome)
    return outcome


async def _later(answer: Coroutine[Any, Any, Outcome], then: Callable[[Outcome], Step]) -> None:
    step = then(await answer)
    if step is not None:
        await step
