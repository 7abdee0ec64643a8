"""Records traces: chooses whose events are traced, and makes an entry of each.

What is chosen stays chosen: a session with all its messages, or a message, from its first event to its last, so that a trace is a whole
story. An id is drawn by its digits, the same way in each process and after each start; above a rate, no further ones are chosen, so
that a flood costs no more than usual. What meets a condition is traced in any case.

The steps between events are those that the log tells of: every line with the id of a message or a session is one, in the same words. So a
trace needs no second account of all that can happen to mail, and nothing can be in the one and not in the other.

It stands beside the dispatcher, since only here events and their bindings are known; ``observe`` keeps the entries, and knows neither.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from ..observe.log import tap
from ..observe.trace_entries import Asked, Entry, Looked
from ..observe.traces import TraceStore
from .binding import Binding
from .condition import Condition, place_of
from .difference import Sight, changes, sight
from .dispatch import Dispatcher
from .event import Event
from .rule import Match, compile_match
from .trace import Judged
from .verdict import Verdict
from .wording import about, verdict_words

T = TypeVar("T")
# So many ids are remembered, as chosen or not; of one that is forgotten, what comes later is decided anew.
_REMEMBERED, _FORGOTTEN = 40_000, 10_000
# Sessions that may be chosen at once after a quiet time, in seconds of the rate.
_BURST = 10.0
# Of an event with more bindings, those that were not asked are only counted.
_BINDINGS = 200
_NOT_DETAILS = frozenset({"event", "level", "message", "session", "exc_info", "exception", "timestamp", "time", "pid"})


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """What is traced.

    Args:
        sample: percent of sessions, and of messages that came in none.
        rate: of these, so many a second at most; 0 for any number.
        match: what is traced in any case; None for nothing.
        most: entries of one message, and of one session.
    """

    sample: float = 100.0
    rate: float = 10.0
    match: Match | None = None
    most: int = 500


@dataclass(frozen=True, slots=True)
class Order:
    """What an administrator asked for while the server runs.

    Args:
        match: what is traced; None for all.
        until: monotonic seconds.
    """

    match: Match | None
    until: float = math.inf


class Recorder:
    """A tracer: hands out trails, and keeps what they were told.

    Args:
        store: takes the entries.
        settings: what is traced.
    """

    def __init__(self, store: TraceStore, settings: RecordingSettings | None = None) -> None:
        self.store = store
        self.settings = settings or RecordingSettings()
        self._orders: tuple[tuple[_Matching, float], ...] = ()
        self._chosen: dict[str, bool] = {}
        self._counts: dict[str, int] = {}
        self._tokens, self._filled = self.settings.rate * _BURST, time.monotonic()
        # Told when an order has ended and nothing is left to be traced.
        self.on_idle: Callable[[], None] = lambda: None
        self.order(None)

    @property
    def wants(self) -> bool:
        """Whether anything could be traced at all."""
        return self.settings.sample > 0 or bool(self._orders)

    def order(self, order: Order | None) -> None:
        """Traces more than the settings say; None for what they say. Raises ValueError for conditions that are not understood."""
        wanted = [] if self.settings.match is None else [(_Matching(self.settings.match), math.inf)]
        if order is not None:
            wanted.append((_Matching(order.match), order.until))
        self._orders = tuple(wanted)

    def trail(self, event: Event) -> Trailing | None:
        """Where to tell of this event; None when it is not traced."""
        facts = event.facts
        if facts.message is not None:
            record = facts.message.record
            name, root = record.id, record.session or record.id
        else:
            about_it = facts.session or facts.outbound
            if about_it is None:
                return None
            name = root = about_it.id
        chosen = self._chosen.get(name)
        if chosen is None:
            chosen = self._choose(name, root)
        if not chosen and self._orders and self._is_ordered(event):
            self._chosen[name] = chosen = True
        return Trailing(self, event) if chosen and self._has_room(name) else None

    def step(self, line: Mapping[str, Any]) -> None:
        """Takes a line of the log, when it is about a message or a session that is traced; one that says what went wrong in any case."""
        message, session = line.get("message", ""), line.get("session", "")
        name = message or session
        if not isinstance(name, str) or not isinstance(session, str) or not name:
            return
        chosen = self._chosen.get(name)
        if chosen is None:
            chosen = self._choose(name, session or name) if session or self.settings.sample >= 100 else False
        if (chosen or line.get("level") == "error") and self._has_room(name):
            details = {key: str(value)[:300] for key, value in line.items() if key not in _NOT_DETAILS}
            what = str(line.get("event", ""))
            self.store.put(Entry(time.time(), what, "step", message, session, details=details))

    def keep(self, entry: Entry) -> None:
        """Takes what became of an event."""
        self.store.put(entry)

    def _choose(self, name: str, root: str) -> bool:
        """Decides about a session or a message that nobody has asked about yet, and remembers it."""
        if len(self._chosen) > _REMEMBERED:
            for old in list(islice(self._chosen, _FORGOTTEN)):
                self._chosen.pop(old, None)
                self._counts.pop(old, None)
        chosen = self._chosen.get(root)
        if chosen is None:
            chosen = self._chosen[root] = self._draw(root)
        self._chosen[name] = chosen
        return chosen

    def _draw(self, root: str) -> bool:
        settings = self.settings
        if settings.sample <= 0 or (settings.sample < 100 and place_of(root) >= settings.sample):
            return False
        if settings.rate <= 0:
            return True
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._filled) * settings.rate, max(settings.rate * _BURST, 1.0))
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _is_ordered(self, event: Event) -> bool:
        for matching, until in self._orders:
            if time.monotonic() >= until:
                self._orders = tuple(order for order in self._orders if order[1] > until)
                if not self.wants:
                    self.on_idle()
            elif matching.holds(event):
                return True
        return False

    def _has_room(self, name: str) -> bool:
        """Whether one more entry of a message or a session is kept; the last one says that there were more."""
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if count == self.settings.most:
            self.store.put(Entry(time.time(), "no more is traced", "step", name, details={"entries": str(count)}))
        return count < self.settings.most


class Trailing:
    """One event's part of a trace.

    Args:
        recorder: takes the entry when the event is over.
        event: the event.
    """

    __slots__ = ("_before", "_entry", "_event", "_pending", "_recorder")

    def __init__(self, recorder: Recorder, event: Event) -> None:
        facts = event.facts
        record = facts.message.record if facts.message is not None else None
        session = facts.session.id if facts.session is not None else record.session if record is not None else ""
        self._recorder = recorder
        self._event = event
        self._before: Sight | None = None
        self._pending: dict[int, Asked] = {}
        self._entry = Entry(
            time.time(),
            _name(event),
            message=record.id if record is not None else "",
            session=session,
            outbound=facts.outbound.id if facts.outbound is not None else "",
            about=_told(lambda: about(event), ""),
            attempt=event.attempt,
        )

    def not_asked(self, binding: Binding, reason: str, judged: tuple[Judged, ...] = ()) -> None:
        """A binding was not asked."""
        if len(self._entry.asked) >= _BINDINGS:
            self._entry.more += 1
            return
        self._note(binding, judged).reason = reason

    def asking(self, binding: Binding, event: Event, judged: tuple[Judged, ...]) -> None:
        """A handler is called now, or is to be told of a report."""
        self._pending[id(binding)] = self._note(binding, judged)
        # A report cannot be edited.
        self._before = _told(lambda: sight(event), None) if not event.report else None

    def answered(self, binding: Binding, event: Event, verdict: Verdict | None, seconds: float, error: str = "") -> None:
        """It returned, or failed."""
        asked = self._pending.pop(id(binding), None) or self._note(binding, ())
        asked.verdict, asked.ms, asked.error = verdict_words(verdict), round(seconds * 1000, 3), error
        before, self._before = self._before, None
        if before is not None and not error:
            asked.edits = _told(lambda: changes(before, event), ["what it changed cannot be told"])

    def over(self, verdict: Verdict | None, by: str) -> None:
        """The event is over."""
        self._entry.verdict, self._entry.by = verdict_words(verdict), by
        self._recorder.keep(self._entry)

    def _note(self, binding: Binding, judged: tuple[Judged, ...]) -> Asked:
        plug = binding.plug
        self._entry.generation = binding.generation
        looked = [Looked(*one) for one in judged]
        asked = Asked(binding.name, binding.method, sink_name(binding), plug.version, plug.priority, looked)
        self._entry.asked.append(asked)
        return asked


class _Matching:
    """A match that is asked about any event; at one where it cannot be judged it does not hold."""

    def __init__(self, match: Match | None) -> None:
        self._match = match
        self._by_event: dict[type[Event], list[Condition] | None] = {}
        if match is not None:
            check_match(match)

    def holds(self, event: Event) -> bool:
        """Whether all conditions hold at an event."""
        if self._match is None:
            return True
        kind = type(event)
        if kind not in self._by_event:
            try:
                self._by_event[kind] = compile_match(self._match, kind)
            except ValueError:
                self._by_event[kind] = None
        conditions = self._by_event[kind]
        if conditions is None:
            return False
        matched = event.matched
        try:
            return all(condition.test(event) for condition in conditions)
        except Exception:  # a predicate is the user's code, and a content may be damaged; neither may cost more than a trace
            return False
        finally:
            event.matched = matched


def check_match(match: Match) -> None:
    """Raises ValueError for conditions that hold at no event, or are not understood."""
    from .catalog import CATALOG

    faults = []
    for event in CATALOG.values():
        try:
            compile_match(match, event)
            return
        except ValueError as error:
            faults.append(str(error))
    raise ValueError(
        next((fault for fault in faults if "can never match" not in fault), "there is no event at which all of that could hold")
    )


class Recording:
    """Switches a worker's tracing on and off: what is off is not even asked.

    Args:
        dispatcher: tells of events.
        recorder: records them.
    """

    def __init__(self, dispatcher: Dispatcher, recorder: Recorder) -> None:
        self.recorder = recorder
        self._dispatcher = dispatcher
        self._stopped = False
        recorder.on_idle = self._apply
        self._apply()

    @property
    def active(self) -> bool:
        """Whether anything is traced."""
        return self._dispatcher.tracer is self.recorder

    def order(self, order: Order | None) -> None:
        """Traces what was ordered beside what the settings say; None for these alone. Raises ValueError."""
        self.recorder.order(order)
        self._stopped = False
        self._apply()

    def stop(self) -> None:
        """Traces nothing at all, until the next order."""
        self._stopped = True
        self._apply()

    def change(self, settings: RecordingSettings) -> None:
        """Goes on with other settings. Raises ValueError."""
        recorder = self.recorder
        before, recorder.settings = recorder.settings, settings
        try:
            recorder.order(None)
        except ValueError:
            recorder.settings = before
            raise
        self._apply()

    def close(self) -> None:
        """Traces nothing more, and writes what waits; blocks for a moment."""
        self.stop()
        self.recorder.store.close()

    def _apply(self) -> None:
        wanted = self.recorder.wants and not self._stopped
        self._dispatcher.tracer = self.recorder if wanted else None
        tap(self.recorder.step if wanted else None)


def _told(words: Callable[[], T], otherwise: T) -> T:
    """What can be said of an event: whatever is wrong with its content, or with us, must not cost the event itself."""
    try:
        return words()
    except Exception:
        return otherwise


def _name(event: Event) -> str:
    return type(event).__name__.removesuffix("Report")


def sink_name(binding: Binding) -> str:
    """Where the class of a binding's sink is found."""
    sink: Callable[..., Any] = type(binding.plug.sink)
    return f"{sink.__module__}:{sink.__qualname__}"


__all__ = ["Match", "Order", "Recorder", "Recording", "RecordingSettings", "Trailing", "check_match", "sink_name"]
