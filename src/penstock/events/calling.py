"""One call of one handler: its drafts are begun, it runs, and what it said and edited counts, or is dropped when it failed.

A handler that has to be waited for is given a clone of the event, which is left behind with it when it takes too long: it may still be
running in a thread, and what it does there must reach nobody."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ..errors import ClientGone, RemoteProtocolError, SinkError, StorageDamaged
from ..mail.envelope import Recipient
from ..observe.log import Log
from .binding import Binding
from .breaker import Breakers
from .canary import is_refusal
from .event import Event
from .running import Runner, Seldom
from .trace import Trail
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
FAILURES = (Exception, SystemExit, asyncio.CancelledError, GeneratorExit)
# A handler that keeps the loop for longer than this is named in the log: all sessions of the worker stand still meanwhile.
BLOCKING = 0.25
_DEBUG = 10


class Calls:
    """Calls handlers.

    Args:
        log: where failures of sinks are written.
        runner: runs those that have to be waited for.
        breakers: told of failures, and of what went well after them.
        seldom: keeps what goes on and on from filling the log.
    """

    def __init__(self, log: Log, runner: Runner, breakers: Breakers, seldom: Seldom) -> None:
        self._log = log
        self._runner = runner
        self._breakers = breakers
        self._seldom = seldom
        # Who changed which recipients is said on request only: it costs a look at all of them before and after each call.
        self._tells_recipients = _is_enabled(log, _DEBUG)
        self._is_plain = not self._tells_recipients

    def held(self, binding: Binding, event: Event) -> str:
        """Why a binding whose conditions hold is not asked, as ``Trail.not_asked`` says it; "" when it must be, now. Counts it."""
        reason = binding.gate.refuses(event) if binding.gate is not None else ""
        if not reason and binding.standing.failures and self._breakers.holds(binding.plug):
            reason = "breaker"
        if reason:
            binding.counted.refused += 1
        return reason

    def inline(self, binding: Binding, event: Event, trail: Trail | None = None) -> Outcome | None:
        """Calls a handler that never waits; None to go on with the next binding."""
        verdict = outcome = None
        error = ""
        started = time.perf_counter()
        begin(binding, event)
        try:
            verdict = binding.handler(event)
            if verdict is None and self._is_plain and not event.stage:
                event.commit()
            else:
                outcome = self._settle(binding, event, verdict)
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # some libraries have exceptions that are no Exception
            error = said(raised)
            outcome = self.failed(binding, event, raised)
        finally:
            seconds = time.perf_counter() - started
            binding.counted.seconds += seconds
            if seconds > BLOCKING:
                self._blocked(binding, seconds)
        if trail is not None or binding.gate is not None or binding.standing.failures:
            self._over(binding, event, verdict, seconds, error, trail)
        return outcome

    async def waiting(self, binding: Binding, event: Event, trail: Trail | None = None) -> Outcome | None:
        """Calls a handler that has to be waited for; None to go on with the next binding."""
        verdict: Any = None
        outcome, error = None, ""
        started = time.perf_counter()
        shown = event.clone()
        begin(binding, shown)
        try:
            verdict = await self._runner.run(binding, shown)
            outcome = self._settle(binding, shown, verdict)
            event.absorb(shown)
        except asyncio.CancelledError:
            # Whoever asked is gone; nothing can be said of the sink.
            self._breakers.gave_up(binding.plug)
            raise
        except (Exception, SystemExit) as raised:
            error = said(raised)
            outcome = self.failed(binding, event, raised)
        finally:
            seconds = time.perf_counter() - started
            binding.counted.seconds += seconds
        if trail is not None or binding.gate is not None or binding.standing.failures:
            self._over(binding, event, verdict, seconds, error, trail)
        return outcome

    def _over(self, binding: Binding, event: Event, verdict: Any, seconds: float, error: str, trail: Trail | None) -> None:
        """A call is over: tells those who compare, and who trace."""
        if not error and binding.standing.failures:
            self._breakers.fine(binding.plug)
        if binding.gate is not None and binding.gate.canaries is not None:
            binding.gate.canaries.note(binding.plug, bool(error), seconds, not error and is_refusal(verdict))
        if trail is not None:
            trail.answered(binding, event, verdict if not error else None, seconds, error)

    def _settle(self, binding: Binding, event: Event, verdict: Any) -> Outcome | None:
        """Makes the handler's drafts count; the outcome, or None to go on with the next binding."""
        if verdict is not None and not isinstance(verdict, event.admits):
            raise SinkError(binding.name, f"{type(event).__name__} cannot be answered with {verdict!r}")
        message = event.facts.message
        forks = len(message.forks) if message is not None else 0
        before = tuple(event.recipients_now()) if self._tells_recipients else ()
        edit = event.judge(verdict) if verdict is not None and type(verdict) in event.edits else None
        event.commit()
        if edit is not None:
            event.edit(edit)
        if self._tells_recipients:
            self._tell_recipients(binding, event, before, forks)
        if verdict is None or edit is not None:
            if edit is not None:
                binding.counted.verdicts += 1
            if event.stage:
                _remember(binding, event, forks)
            return None
        binding.counted.verdicts += 1
        return Outcome(verdict, binding.name)

    def condition_failed(self, binding: Binding, event: Event, error: BaseException) -> Outcome | None:
        """What becomes of an event when a condition raised, which is code too: ``when``."""
        if self._breakers.is_open(binding.plug) and not isinstance(error, StorageDamaged):
            binding.counted.refused += 1
            return self.policy(binding, event)
        return self.failed(binding, event, error)

    def failed(self, binding: Binding, event: Event, error: BaseException) -> Outcome | None:
        """What becomes of an event when a handler failed; what is not the sink's fault is not counted against it."""
        if isinstance(error, StorageDamaged) and not event.report:
            # Not the sink's fault, and no better the next time: transport holds the message.
            self._breakers.gave_up(binding.plug)
            raise error
        if isinstance(error, RemoteProtocolError) and Reject in event.admits and not binding.event.report:
            # The client broke a dialogue, and gets the reply that it deserves; a breaker must not open for what strangers do.
            self._breakers.gave_up(binding.plug)
            return Outcome(_deserved(error), "client")
        if isinstance(error, ClientGone):
            self._breakers.gave_up(binding.plug)
            return Outcome(_FAILED_DEFER, "client")
        binding.counted.errors += 1
        self._log.error(
            "sink failed",
            binding=binding.name,
            method=binding.method,
            event_name=type(event).__name__,
            attempt=event.attempt,
            on_error="ignored" if event.report else binding.plug.on_error,
            error=said(error),
            exc_info=None if isinstance(error, SinkError) else error,
            **_ids(event),
        )
        self._breakers.failed(binding.plug, said(error))
        return self.policy(binding, event)

    def policy(self, binding: Binding, event: Event) -> Outcome | None:
        """What ``on_error`` says; None to go on with the next binding."""
        if event.report or binding.plug.on_error == "continue":
            return None
        verdict = _FAILED_REJECT if binding.plug.on_error == "reject" else _FAILED_DEFER
        return Outcome(verdict, binding.name, failed=True)

    def _blocked(self, binding: Binding, seconds: float) -> None:
        binding.counted.blocked += 1
        if self._seldom("blocks", binding.key):
            self._log.warning("sink blocks the loop", binding=binding.name, method=binding.method, seconds=round(seconds, 3))

    def _tell_recipients(self, binding: Binding, event: Event, before: tuple[Recipient, ...], forks: int) -> None:
        was, now = Counter(str(r.address) for r in before), Counter(str(r.address) for r in event.recipients_now())
        split = len(event.facts.message.forks) - forks if event.facts.message is not None else 0
        if was != now or split:
            self._log.debug(
                "sink changed recipients",
                binding=binding.name,
                method=binding.method,
                added=sorted((now - was).elements()),
                removed=sorted((was - now).elements()),
                forks=split,
                **_ids(event),
            )


def begin(binding: Binding, event: Event) -> None:
    """Starts a handler's drafts and its count."""
    binding.counted.matched += 1
    if binding.gate is not None:
        binding.standing.firings += 1
    event.begin(binding.scope)


def said(error: BaseException) -> str:
    """An error in one line, for administrators."""
    return f"{type(error).__name__}: {error}"


def _deserved(error: RemoteProtocolError) -> Verdict:
    kind = Reject if error.code >= 500 else Defer
    return kind(error.code, error.enhanced, error.text)


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


def _is_enabled(log: Log, level: int) -> bool:
    ask = getattr(log, "is_enabled_for", None)
    return bool(ask is not None and ask(level))
