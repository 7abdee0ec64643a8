"""What one side of a replay did in one session: replies, verdicts with their edits, and what became of the messages.

Ids differ as soon as one side makes a message that the other does not; so each is replaced by the place in which it came."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..events.binding import Binding
from ..events.catalog import Event, Greeting, LocalDelivery, Verb
from ..events.event import OneRecipient
from ..events.picture import Picture, edits, picture
from ..events.trace import Judged
from ..events.verdict import Verdict

Labels = Callable[[str], str]
# Of a verdict so much is shown.
LONGEST = 300


@dataclass(frozen=True, slots=True)
class Said:
    """What the client said, and what it was answered.

    Args:
        client: the line, cut; or what it was, where it is long.
        replies: the answers, lines of one joined by ``\\n``.
        skipped: why it was not said again, or "".
    """

    client: str
    replies: tuple[str, ...]
    skipped: str = ""


@dataclass(slots=True)
class Asked:
    """What came of one event.

    Args:
        event: its name.
        about: the recipient or message that it is about.
        verdict: the final verdict in words; "proceed" for none.
        by: the binding that gave it.
        edits: what was edited, by all that were asked.
        errors: what failed, by binding.
    """

    event: str
    about: str
    verdict: str = "proceed"
    by: str = ""
    edits: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Final:
    """A message when the session was over and everything had been done that could be without delivering it.

    Args:
        label: which.
        lines: sender, recipients with what is known of them, queue, and the header fields.
    """

    label: str
    lines: Counter[str]


@dataclass(slots=True)
class Run:
    """One session on one side."""

    said: list[Said] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)


class Ids:
    """Puts the place in which an id came in the place of the id; for one session."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def note(self, made: str) -> None:
        """An id was made."""
        self._known.setdefault(made, f"#{len(self._known) + 1}")
        self._pattern = None

    def label(self, text: str) -> str:
        """A text without ids."""
        if not self._known:
            return text
        if self._pattern is None:
            self._pattern = re.compile("|".join(map(re.escape, self._known)))
        return self._pattern.sub("ID", text)


class Watching:
    """Listens to the dispatcher, as its tracer; ``run`` gets what it hears, and is None between sessions."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.labels: Labels = str

    def trail(self, event: Event) -> Watched | None:
        """Where to tell of this event; reports decide nothing, and nothing is delivered."""
        if self.run is None or event.report or isinstance(event, LocalDelivery):
            return None
        return Watched(self.run, event, self.labels)


class Watched:
    """One event while it is asked about."""

    def __init__(self, run: Run, event: Event, labels: Labels) -> None:
        self._event = event
        self._labels = labels
        self._before: Picture = picture(event)
        self._asked = Asked(type(event).__name__, labels(_about(event)))
        run.asked.append(self._asked)

    def not_asked(self, binding: Binding, reason: str, judged: tuple[Judged, ...] = ()) -> None:
        """Makes no difference to what came of it."""

    def asking(self, binding: Binding, event: Event, judged: tuple[Judged, ...]) -> None:
        """Makes no difference to what came of it."""

    def answered(self, binding: Binding, event: Event, verdict: Verdict | None, seconds: float, error: str = "") -> None:
        """Notes who failed."""
        if error:
            self._asked.errors[binding.name] = self._labels(error)[:LONGEST]

    def over(self, verdict: Verdict | None, by: str) -> None:
        """Notes what came of it."""
        asked = self._asked
        if verdict is not None:
            asked.verdict, asked.by = self._labels(str(verdict))[:LONGEST], by
        found = edits(self._before, picture(self._event))
        asked.edits = Counter({self._labels(line): count for line, count in found.items()})


def _about(event: Event) -> str:
    if isinstance(event, OneRecipient):
        return f"<{event.work.address}>"
    if isinstance(event, Greeting):
        return event.name
    if isinstance(event, Verb):
        return event.keyword
    destination = getattr(event, "destination", "")
    message = event.facts.message
    return str(destination) or (f"<{message.record.envelope.sender}>" if message is not None else "")
