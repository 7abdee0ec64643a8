"""Dispatch: asks the bindings of an event in order until one gives a final verdict.

Where all bindings are ``inline`` (or there are none) the answer is there at once, without task or coroutine; the rest goes on in a
coroutine from the first binding that has to wait. A handler's drafts count when it returns and are dropped when it raises or takes too
long. A handler that has to wait is given a clone of the event, which is left behind with it when it takes too long: it may still be
running in a thread, and what it does there must reach nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ..errors import ClientGone, RemoteProtocolError, SinkError, StorageDamaged
from ..observe.log import Log
from .binding import Binding
from .chain import Chain
from .event import Event
from .running import Runner, Seldom
from .trace import Tracer
from .verdict import Defer, Reject, Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking.

    Args:
        verdict: the final verdict, or None to proceed.
        by: the name of the binding that gave it, or "".
        failed: True when it stands for a sink that failed.
    """

    verdict: Verdict | None = None
    by: str = ""
    failed: bool = False


PROCEED = Outcome()
# What a client hears of a sink that failed: nothing of why.
_FAILED_DEFER = Defer(451, "4.3.0", "Temporary failure, please try again later")
_FAILED_REJECT = Reject(554, "5.3.0", "The message cannot be handled")
# What a handler or a condition on the loop may raise without any harm but to itself: sys.exit() ends the handler, not the server, and
# CancelledError is nothing but an exception where nobody waits.
_FAILURES = (Exception, SystemExit, asyncio.CancelledError, GeneratorExit)
# A handler that keeps the loop for longer than this is named in the log: all sessions of the worker stand still meanwhile.
BLOCKING = 0.25
# So many reports wait for one binding at most; a sink that is slower than the mail hears of some of it only.
MOST_REPORTS = 1000


# What is left to do: nothing, or a coroutine to be awaited.
Step = Coroutine[Any, Any, None] | None


class Dispatcher:
    """Asks and tells.

    Args:
        log: where failures of sinks are written.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seldom = Seldom()
        self._runner = Runner(log, self._seldom)
        self._telling: set[asyncio.Task[None]] = set()
        # Who is told why bindings were asked, and why not; None while nothing is traced.
        self.tracer: Tracer | None = None

    def ask(self, event: Event, chain: Chain) -> Outcome | Coroutine[Any, Any, Outcome]:
        """Asks the bindings of a question; the outcome at once, or a coroutine that gives it."""
        for index, binding in enumerate(chain):
            try:
                if not wanted(binding, event):
                    continue
                if binding.mode != "inline":
                    return self._ask_from(event, chain, index)
            except _FAILURES as error:  # a condition is code too: ``when``
                outcome = self._failed(binding, event, error)
            else:
                outcome = self._ask_inline(binding, event)
            if outcome is not None:
                return outcome
        return PROCEED

    def ask_then(self, event: Event, chain: Chain, then: Callable[[Outcome], Step]) -> Step:
        """Asks, and goes on with the outcome: at once, or in the coroutine that is returned."""
        answer = self.ask(event, chain) if chain else PROCEED
        return then(answer) if isinstance(answer, Outcome) else _later(answer, then)

    def tell(self, event: Event, chain: Chain) -> None:
        """Tells the bindings of a report, in the background; conditions are judged now, while what happened is as it was."""
        told = []
        for binding in chain:
            try:
                if wanted(binding, event) and self._has_room(binding):
                    binding.counted.waiting += 1
                    told.append((binding, event.matched))
            except _FAILURES as error:
                self._failed(binding, event, error)
        if told:
            task = asyncio.get_running_loop().create_task(self._tell(event, told))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def drain(self) -> None:
        """Waits until all reports are told."""
        while self._telling:
            await asyncio.wait(set(self._telling))

    def _ask_inline(self, binding: Binding, event: Event) -> Outcome | None:
        started = time.perf_counter()
        begin(binding, event)
        try:
            verdict = binding.handler(event)
            return self._settle(binding, event, verdict)
        except _FAILURES as error:
            return self._failed(binding, event, error)
        finally:
            seconds = time.perf_counter() - started
            binding.counted.seconds += seconds
            if seconds > BLOCKING and self._seldom("blocks", binding.key):
                self._log.warning("sink blocks the loop", binding=binding.name, method=binding.method, seconds=round(seconds, 3))

    async def _ask_from(self, event: Event, chain: Chain, first: int) -> Outcome:
        for index in range(first, len(chain)):
            binding = chain[index]
            try:
                if index > first and not wanted(binding, event):
                    continue
            except _FAILURES as error:
                outcome = self._failed(binding, event, error)
            else:
                outcome = self._ask_inline(binding, event) if binding.mode == "inline" else await self._ask_waiting(binding, event)
            if outcome is not None:
                return outcome
        return PROCEED

    async def _ask_waiting(self, binding: Binding, event: Event) -> Outcome | None:
        started = time.perf_counter()
        shown = event.clone()
        begin(binding, shown)
        try:
            outcome = self._settle(binding, shown, await self._runner.run(binding, shown))
            event.absorb(shown)
            return outcome
        except (Exception, SystemExit) as error:
            return self._failed(binding, event, error)
        finally:
            binding.counted.seconds += time.perf_counter() - started

    def _settle(self, binding: Binding, event: Event, verdict: Any) -> Outcome | None:
        """Makes the handler's drafts count; the outcome, or None to go on with the next binding."""
        if verdict is not None and not isinstance(verdict, event.admits):
            raise SinkError(binding.name, f"{type(event).__name__} cannot be answered with {verdict!r}")
        forks = len(event.facts.message.forks) if event.facts.message else 0
        edit = event.judge(verdict) if verdict is not None and type(verdict) in event.edits else None
        event.commit()
        if verdict is None or edit is not None:
            if edit is not None:
                event.edit(edit)
                binding.counted.verdicts += 1
            if event.stage:
                _remember(binding, event, forks)
            return None
        binding.counted.verdicts += 1
        return Outcome(verdict, binding.name)

    def _failed(self, binding: Binding, event: Event, error: BaseException) -> Outcome | None:
        if isinstance(error, StorageDamaged) and not event.report:
            # Not the sink's fault, and no better the next time: transport holds the message.
            raise error
        if isinstance(error, RemoteProtocolError) and Reject in event.admits and not binding.event.report:
            # The client broke a dialogue, and gets the reply that it deserves; a breaker must not open for what strangers do.
            return Outcome(_deserved(error), "client")
        if isinstance(error, ClientGone):
            return Outcome(_FAILED_DEFER, "client")
        binding.counted.errors += 1
        self._log.error(
            "sink failed",
            binding=binding.name,
            method=binding.method,
            event_name=type(event).__name__,
            attempt=event.attempt,
            on_error="ignored" if event.report else binding.plug.on_error,
            error=f"{type(error).__name__}: {error}",
            exc_info=None if isinstance(error, SinkError) else error,
            **_ids(event),
        )
        return None if event.report else self._policy(binding)

    def _policy(self, binding: Binding) -> Outcome | None:
        if binding.plug.on_error == "continue":
            return None
        verdict = _FAILED_REJECT if binding.plug.on_error == "reject" else _FAILED_DEFER
        return Outcome(verdict, binding.name, failed=True)

    async def _tell(self, event: Event, told: list[tuple[Binding, tuple[int, ...]]]) -> None:
        for binding, matched in told:
            event.matched = matched
            try:
                if binding.mode == "inline":
                    self._ask_inline(binding, event)
                else:
                    await self._ask_waiting(binding, event)
            finally:
                binding.counted.waiting -= 1

    def _has_room(self, binding: Binding) -> bool:
        """Whether one more report may wait for a binding; counts and says when not."""
        if binding.counted.waiting < MOST_REPORTS:
            return True
        binding.counted.dropped += 1
        if self._seldom("dropped", binding.key):
            counters = binding.counted
            self._log.warning(
                "reports are dropped", binding=binding.name, method=binding.method, waiting=counters.waiting, dropped=counters.dropped
            )
        return False


def _deserved(error: RemoteProtocolError) -> Verdict:
    kind = Reject if error.code >= 500 else Defer
    return kind(error.code, error.enhanced, error.text)


def begin(binding: Binding, event: Event) -> None:
    """Starts a handler's drafts and its count."""
    binding.counted.matched += 1
    event.begin(binding.scope)


def wanted(binding: Binding, event: Event) -> bool:
    """Whether a binding is to be asked: its conditions hold, and at a stage the message neither came from it nor was seen by it before."""
    binding.counted.asked += 1
    message = event.facts.message
    if event.stage and message is not None:
        record = message.record
        # Only here: a sink that delivers, and writes mail too, is asked to deliver what it wrote.
        if binding.name in record.skip or binding.key in record.done:
            return False
    event.matched = ()
    for condition in binding.conditions:  # noqa: SIM110 - a generator would cost more than most conditions
        if not condition.test(event):
            return False
    return True


def _remember(binding: Binding, event: Event, forks: int) -> None:
    """Notes that this stage is done with this binding, for the message and for the copies that it split off."""
    message = event.facts.message
    if message is not None:
        done = [*message.record.done, binding.key]
        message.record.done = done
        for fork in message.forks[forks:]:
            fork.record.done = done


def _ids(event: Event) -> dict[str, str]:
    ids = {}
    if event.facts.message is not None:
        ids["message"] = event.facts.message.record.id
    if event.facts.session is not None:
        ids["session"] = event.facts.session.id
    return ids


async def _later(answer: Coroutine[Any, Any, Outcome], then: Callable[[Outcome], Step]) -> None:
    step = then(await answer)
    if step is not None:
        await step
