"""Where two runs of the same session differ: replies, verdicts and edits, and what became of the messages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ..capture.format import CapturedSession
from .replay_seen import Asked, Final, Run
from .replay_side import turns

_BDAT = re.compile(r"^BDAT [0-9]+(?: LAST)?\r$", re.IGNORECASE | re.MULTILINE)
# What a reply says that is another each time: ids, and sizes of chunks whose content was left out.
_OTHER = re.compile(r"queued as \S+|\d+ octets received")


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    Args:
        kind: "reply", "verdict", "edits", "error" or "message".
        where: the command, the event, or the message.
        today: what it was with today's bindings.
        candidate: what it was with the candidate's.
    """

    kind: str
    where: str
    today: str
    candidate: str


def differences(today: Run, candidate: Run) -> list[Difference]:
    """All differences between two runs, in the order in which things happened."""
    return [*_replies(today, candidate), *_verdicts(today.asked, candidate.asked), *_messages(today.finals, candidate.finals)]


def from_recording(session: CapturedSession, run: Run) -> list[Difference]:
    """The replies that are others than those that were captured; where something was not said again there are none to compare."""
    found = []
    recorded, again = recorded_replies(session), [reply for said in run.said if not said.skipped for reply in said.replies]
    for number, (then, now) in enumerate(zip_longest(recorded, again, fillvalue="(none)")):
        if _OTHER.sub("...", then) != _OTHER.sub("...", now):
            found.append(Difference("reply", f"reply {number + 1}", then, now))
    return found


def recorded_replies(session: CapturedSession) -> list[str]:
    """The replies of a capture to what is said again, whole ones, lines of one joined by ``\\n``."""
    octets = "".join(step.octets for step in session.steps if step.kind == "reply")
    lines = octets.encode("latin-1").decode("utf-8", "backslashreplace").split("\r\n")
    replies: list[str] = []
    gathered: list[str] = []
    for line in lines:
        gathered.append(line)
        if line and line[3:4] != "-":
            replies.append("\n".join(gathered))
            gathered = []
    return _of_what_is_said_again(session, replies)


def _of_what_is_said_again(session: CapturedSession, replies: Sequence[str]) -> list[str]:
    """The banner comes first; then the replies to each step of the client's, in order."""
    kept, at = list(replies[:1]), 1
    for step, why in turns(session.steps):
        count = len(_BDAT.findall(step.octets)) or 1 if step.kind == "content" else 1
        if why:
            at += count
        else:
            kept += replies[at : at + count]
            at += count
    return [*kept, *replies[at:]]


def _replies(today: Run, candidate: Run) -> Iterable[Difference]:
    for one, other in zip_longest(today.said, candidate.said):
        where = (one or other).client
        mine, theirs = _answer(one), _answer(other)
        if mine != theirs:
            yield Difference("reply", where, mine, theirs)


def _answer(said: object) -> str:
    replies, skipped = getattr(said, "replies", ()), getattr(said, "skipped", "")
    return " / ".join(replies) or (f"(not said: {skipped})" if skipped else "(none)")


def _verdicts(today: Sequence[Asked], candidate: Sequence[Asked]) -> Iterable[Difference]:
    """Events are put side by side by what they are about; where one side asked nobody, it proceeds and edits nothing."""
    mine, theirs = _numbered(today), _numbered(candidate)
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        event, about, number = key
        where = f"{event} {about}".rstrip() + (f" (time {number})" if number > 1 else "")
        one, other = mine.get(key, Asked(event, about)), theirs.get(key, Asked(event, about))
        if one.verdict != other.verdict:
            yield Difference("verdict", where, _by(one), _by(other))
        if one.edits != other.edits:
            yield Difference("edits", where, _lines(one.edits - other.edits), _lines(other.edits - one.edits))
        if one.errors != other.errors:
            yield Difference("error", where, _errors(one), _errors(other))


def _numbered(asked: Sequence[Asked]) -> dict[tuple[str, str, int], Asked]:
    counts: Counter[tuple[str, str]] = Counter()
    found = {}
    for one in asked:
        counts[one.event, one.about] += 1
        found[one.event, one.about, counts[one.event, one.about]] = one
    return found


def _by(asked: Asked) -> str:
    return f"{asked.verdict} by {asked.by}" if asked.by else asked.verdict


def _errors(asked: Asked) -> str:
    return "; ".join(f"{name}: {error}" for name, error in sorted(asked.errors.items())) or "none"


def _lines(lines: Counter[str]) -> str:
    return "\n".join(sorted(lines.elements())) or "none"


def _messages(today: Sequence[Final], candidate: Sequence[Final]) -> Iterable[Difference]:
    mine, theirs = {final.label: final.lines for final in today}, {final.label: final.lines for final in candidate}
    for label in [*mine, *(label for label in theirs if label not in mine)]:
        if label not in mine:
            yield Difference("message", label, "(none)", _lines(theirs[label]))
        elif label not in theirs:
            yield Difference("message", label, _lines(mine[label]), "(none)")
        elif mine[label] != theirs[label]:
            yield Difference("message", label, _lines(mine[label] - theirs[label]), _lines(theirs[label] - mine[label]))
