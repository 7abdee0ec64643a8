"""Canaries: bindings that are tried on a part of the traffic, beside the bindings that they are to replace, and taken back when they fail.

Which part is decided by a hash of the message's or the session's id, so that the same message always has the same choice, in every worker
and after every restart. Each worker judges by the calls that it made itself, since workers share nothing; so one may take a canary back
before the others do.

The binding that is to be replaced is left out only where the canary is asked in its place: at an event that the canary does not handle, or
where its own conditions do not hold, nobody would be asked. So a canary never opens a gap in a policy."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..observe.log import Log
from . import verdict as v
from . import verdict_transit as t
from .catalog import Event, Verb
from .plug import CanarySettings, Plug, Tally, Trial
from .verdict_each import RefuseRecipients

if TYPE_CHECKING:
    from .binding import Binding

# A canary is judged by its last calls: when it has made so many times those after which it is judged, all that was counted counts half.
MEMORY = 4
# Below so many calls nobody knows how often the binding that is to be replaced refuses.
KNOWN = 10
_REFUSALS = (v.Reject, v.Defer, v.Disconnect, v.Discard, v.Quarantine, RefuseRecipients, v.Drop, v.Bounce, t.Unreachable, t.Hold)


def is_refusal(verdict: v.Verdict | None) -> bool:
    """Whether a verdict keeps a message, or a session, from going on."""
    if isinstance(verdict, v.Respond):
        return not verdict.reply.is_positive
    return isinstance(verdict, _REFUSALS)


@dataclass(frozen=True, slots=True)
class _Canary:
    """One canary, and its handlers."""

    plug: Plug
    settings: CanarySettings
    bindings: tuple[Binding, ...]

    def is_on(self, event: Event) -> bool:
        """Whether it can be asked at all about this event, whatever its conditions say."""
        plug, standing = self.plug, self.plug.standing
        if standing.rolled_back or not plug.enabled or plug.mode != "active" or not in_sample(plug, event):
            return False
        if plug.expires and event.facts.server.now() >= plug.expires:
            return False
        return not (plug.max_firings and standing.firings >= plug.max_firings) and standing.open_until <= time.monotonic()

    def handles(self, event: Event) -> bool:
        """Whether one of its handlers is bound to this event, and its conditions hold."""
        matched = event.matched
        try:
            return any(self._matches(binding, event) for binding in self.bindings)
        finally:
            event.matched = matched

    def _matches(self, binding: Binding, event: Event) -> bool:
        if binding.event is not type(event) or (isinstance(event, Verb) and binding.keyword != event.keyword):
            return False
        return all(condition.test(event) for condition in binding.conditions)

    def chose(self, event: Event) -> bool:
        """Whether this event is in its part of the traffic."""
        return share(self.plug.name, _id(self.settings, event)) < self.settings.percent


class Canaries:
    """The canaries of one generation of bindings.

    Args:
        plugs: all bindings as an administrator sees them.
        bindings: all handlers.
        log: where it is said that a canary was taken back.
    """

    def __init__(self, plugs: Sequence[Plug], bindings: Sequence[Binding], log: Log) -> None:
        self._log = log
        self._own: dict[str, _Canary] = {}
        self._instead: dict[str, _Canary] = {}
        for plug in plugs:
            if plug.canary is not None:
                _begin(plug)
                canary = _Canary(plug, plug.canary, tuple(b for b in bindings if b.plug is plug))
                self._own[plug.name] = canary
                if plug.canary.replaces and plug.mode == "active":
                    self._instead[plug.canary.replaces] = canary

    def concerns(self, plug: Plug) -> bool:
        """Whether a binding is a canary, or to be replaced by one; all others need not be asked about."""
        return plug.name in self._own or plug.name in self._instead

    def takes(self, plug: Plug, event: Event) -> bool:
        """Whether a binding is asked about this event, as far as canaries are concerned. May raise what conditions raise."""
        own = self._own.get(plug.name)
        if own is not None and (plug.standing.rolled_back or not own.chose(event)):
            return False
        canary = self._instead.get(plug.name)
        return canary is None or not (canary.is_on(event) and canary.chose(event) and canary.handles(event))

    def note(self, plug: Plug, failed: bool, seconds: float, refused: bool) -> None:
        """Counts a call, and takes the canary back when it does too badly.

        Args:
            plug: whose handler was called.
            failed: whether it raised or took too long.
            seconds: how long it took.
            refused: whether its verdict was a refusal.
        """
        instead = self._instead.get(plug.name)
        if instead is not None:
            _add(instead.plug.standing.trial.others, failed, seconds, refused, 100 * instead.settings.after)
        own = self._own.get(plug.name)
        if own is None or plug.standing.rolled_back:
            return
        trial = plug.standing.trial
        _add(trial.own, failed, seconds, refused, MEMORY * own.settings.after)
        why = _judge(own.settings, trial) if trial.own.calls >= own.settings.after else ""
        if why:
            plug.standing.rolled_back = why
            self._log.error("canary rolled back", binding=plug.name, reason=why, replaces=own.settings.replaces)


def share(name: str, key: str) -> float:
    """Where an id lies among all, from 0 up to 100; another order for each binding, so that canaries do not all get the same part."""
    digest = hashlib.blake2b(f"{name}\0{key}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48 * 100


def in_sample(plug: Plug, event: Event) -> bool:
    """Whether an event's message is in a binding's sample, or its session before there is a message; what belongs to neither is."""
    facts = event.facts
    about = facts.message.record if facts.message is not None else facts.session or facts.outbound
    # Another order than that of a canary's share, which would else be all in or all out.
    return plug.sample >= 100 or about is None or share(f"{plug.name} sample", about.id) < plug.sample


def _id(settings: CanarySettings, event: Event) -> str:
    """What stays with its choice."""
    facts = event.facts
    session = facts.session or facts.outbound
    if facts.message is None or (settings.sticky == "session" and session is not None):
        return session.id if session is not None else ""
    record = facts.message.record
    return record.session or record.id if settings.sticky == "session" else record.id


def _begin(plug: Plug) -> None:
    """Begins a trial anew when what is tried is another than before the reload."""
    trial = plug.standing.trial
    if trial.sink is not plug.sink or trial.settings != plug.canary or trial.version != plug.version:
        plug.standing.trial = Trial(plug.sink, plug.canary, plug.version)
        plug.standing.rolled_back = ""


def _add(tally: Tally, failed: bool, seconds: float, refused: bool, most: int) -> None:
    tally.calls += 1
    tally.failed += failed
    tally.seconds += seconds
    tally.refused += refused
    if tally.calls >= max(most, 2):
        tally.calls, tally.failed = tally.calls / 2, tally.failed / 2
        tally.seconds, tally.refused = tally.seconds / 2, tally.refused / 2


def _judge(settings: CanarySettings, trial: Trial) -> str:
    """Why a canary is taken back, or ""."""
    own, others = trial.own, trial.others
    errors = 100 * own.failed / own.calls
    if errors > settings.most_errors:
        return f"{errors:.1f} % of its calls failed, {settings.most_errors:g} % may"
    mean = own.seconds / own.calls
    if mean > settings.slowest:
        return f"its calls took {mean:.3f} s in the mean, {settings.slowest:g} s are allowed"
    if settings.replaces and settings.percent < 100 and others.calls < KNOWN:
        return ""
    refused = 100 * own.refused / own.calls
    usual = 100 * others.refused / others.calls if others.calls else 0.0
    if refused - usual > settings.most_rejects:
        beside = f"{settings.replaces} refused {usual:.1f} %, " if settings.replaces and others.calls else ""
        return f"it refused {refused:.1f} % of its calls, {beside}{settings.most_rejects:g} points more are allowed"
    return ""
