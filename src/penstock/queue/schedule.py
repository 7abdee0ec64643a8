"""When a queue is worked on: always, at certain times of the week, or only on demand.

    ""                               always
    "on-demand"                      only when somebody asks (ETRN, an administrator, a sink)
    "mon-fri 20:00-06:00, sat-sun"   in these times; hours that pass midnight belong to the day on which they begin

The times are those of the clock on the wall here, so that "20:00" stays 20:00 when summer time begins or ends. All is therefore asked of
``localtime``, one instant at a time; nothing is ever added to a wall-clock time, which may name an hour that does not exist, or two.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY, _WEEK = 24 * 60, 7 * 24 * 60
_ITEM = re.compile(r"(?:([a-z]+)(?:-([a-z]+))?)?\s*(?:(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2}))?")
# Clocks are set at full quarters of an hour of UTC, in every zone of the last hundred years: within one, wall-clock time is continuous.
_QUARTER = 900
# More than clocks are set at once.
_MARGIN = 3 * 60


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times at which a queue is worked on; made by ``parse``.

    Args:
        text: as it was written.
        spans: from and to, in minutes since Monday 0:00, in order, none touching the next. Empty for always, and for on demand.
    """

    text: str = ""
    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Parses one of the forms above.

        Raises: ValueError with the reason, in words for the one who wrote it.
        """
        written = " ".join(text.lower().split())
        if written in ("", "on-demand"):
            return cls(written)
        spans: list[tuple[int, int]] = []
        for item in written.split(","):
            spans += _spans(item.strip(), text)
        return cls(written, _merged(spans))

    @property
    def always(self) -> bool:
        """True when there is no time at which it is not open."""
        return not self.text

    @property
    def on_demand(self) -> bool:
        """True when it is never open by itself."""
        return bool(self.text) and not self.spans

    @property
    def words(self) -> str:
        """What its messages wait for while it is closed."""
        return "waits until somebody asks for it (on-demand)" if self.on_demand else f"waits for its schedule: {self.text}"

    def is_open(self, now: float) -> bool:
        """True when the queue is worked on at this time, in seconds since 1970."""
        return self._minutes_closed(now) == 0

    def next_opening(self, now: float) -> float | None:
        """The first time from now on at which it is open, in seconds since 1970; None for never."""
        if self.on_demand:
            return None
        while minutes := self._minutes_closed(now):
            # Far from the opening a setting of the clock on the way does no harm; near it, no step goes beyond the next one.
            beginning = now - now % 60
            near = min(beginning + minutes * 60, now - now % _QUARTER + _QUARTER)
            now = beginning + (minutes - _MARGIN) * 60 if minutes > _MARGIN + 15 else near
        return now

    def _minutes_closed(self, now: float) -> int:
        """How many minutes of the wall clock from the present one to the next opening; 0 when it is open."""
        if self.always:
            return 0
        if self.on_demand:
            return _WEEK
        wall = time.localtime(now)
        minute = wall.tm_wday * _DAY + wall.tm_hour * 60 + wall.tm_min
        place = bisect_right(self.spans, (minute, _WEEK))
        if place and minute < self.spans[place - 1][1]:
            return 0
        return (self.spans[place][0] if place < len(self.spans) else self.spans[0][0] + _WEEK) - minute


ALWAYS = Schedule()


def _spans(item: str, text: str) -> list[tuple[int, int]]:
    """The spans of what stands between two commas."""
    found = _ITEM.fullmatch(item)
    if not item or found is None:
        raise ValueError(f"schedule {text!r}: {item!r} should be like 'mon-fri 20:00-06:00', 'sat-sun' or '20:00-06:00'")
    first, last = _day(found[1] or "mon", text), _day(found[2] or found[1] or "sun", text)
    begin, end = (_minute(found[3], found[4], text), _minute(found[5], found[6], text)) if found[3] else (0, _DAY)
    if begin in (end, _DAY):
        raise ValueError(f"schedule {text!r}: {item!r} has no length; a whole day is written without hours")
    if end < begin:
        end += _DAY
    days = range(first, last + 1 if last >= first else last + 8)
    return [(day % 7 * _DAY + begin, day % 7 * _DAY + end) for day in days]


def _day(name: str, text: str) -> int:
    if name not in DAYS:
        raise ValueError(f"schedule {text!r}: {name!r} is not a day of the week: {', '.join(DAYS)}")
    return DAYS.index(name)


def _minute(hour: str, minute: str, text: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > _DAY:
        raise ValueError(f"schedule {text!r}: {hour}:{minute} is not a time between 0:00 and 24:00")
    return value


def _merged(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same times in order, within one week, without overlaps."""
    inside = [part for begin, end in spans for part in ((begin, min(end, _WEEK)), (0, end - _WEEK)) if part[0] < part[1]]
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(inside):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return tuple(merged)
