"""Which sessions are captured: the conditions of ``[capture]``, looked at as soon as they can be.

A condition on the client is known when it connects, one on a recipient only at RCPT. So the conditions are compiled for the first event
that can meet all of them; where that is the connection, a session that is not wanted costs nothing further."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from ..events import catalog as events
from ..events.condition import Condition
from ..events.rule import Match, compile_match
from ..events.work import Facts
from ..wire.smtp import happening as wire

_MOMENTS: tuple[type[events.Event], ...] = (events.Connected, events.Ehlo, events.MailFrom, events.RcptTo)


@dataclass(frozen=True, slots=True)
class Moment:
    """When the conditions can be looked at, and the conditions.

    Args:
        event: the event that they are compiled for.
        conditions: all of which must hold.
    """

    event: type[events.Event]
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, match: Match | None) -> Moment:
        """The first moment at which the conditions can be looked at. Raises ConfigError when there is none."""
        last: ValueError | None = None
        for event in _MOMENTS:
            try:
                return cls(event, tuple(compile_match(match, event)) if match is not None else ())
            except ValueError as error:
                last = error
        what = "a capture is chosen by client, listener, helo, sender, recipient, user and the like"
        raise ConfigError("capture.match", str(last), what)

    @property
    def is_at_once(self) -> bool:
        """Whether it is clear from the beginning whether a session is wanted."""
        return self.event is events.Connected

    def begins(self, facts: Facts) -> bool:
        """Whether a session that just began is wanted, where that is clear at once."""
        return self._hold(events.Connected(facts))

    def comes(self, happening: wire.Happening, facts: Facts) -> bool:
        """Whether a session is wanted for what its client says now."""
        if self.event is events.Ehlo and isinstance(happening, wire.Greeting):
            return self._greets(happening, facts)
        if facts.message is None:
            return False
        if self.event is events.MailFrom and isinstance(happening, wire.Rcpt | wire.DataStart):
            return self._hold(events.MailFrom(facts))
        return self.event is events.RcptTo and isinstance(happening, wire.Rcpt) and self._hold(events.RcptTo(facts, happening.recipient))

    def _greets(self, happening: wire.Greeting, facts: Facts) -> bool:
        """The name counts only when it is accepted, and is looked at before."""
        assert facts.session is not None
        before, facts.session.helo = facts.session.helo, happening.name
        try:
            return self._hold(events.Ehlo(facts, happening.name, []))
        finally:
            facts.session.helo = before

    def _hold(self, event: events.Event) -> bool:
        try:
            return all(condition.test(event) for condition in self.conditions)
        except Exception:  # a predicate of somebody's: what it cannot judge is not wanted
            return False
