"""Schedules: what administrators write, in the time of the clock on the wall, also on the two nights on which that is set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.queue.schedule import ALWAYS, DAYS, Schedule

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTS = Schedule.parse("mon-fri 20:00-06:00, sat-sun")


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The zone of this process."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str, fold: int = 0) -> float:
    """Seconds since 1970 of a time in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def test_no_schedule_is_always_open() -> None:
    assert ALWAYS.always
    assert ALWAYS.is_open(0)
    assert ALWAYS.next_opening(5.0) == 5.0


def test_on_demand_is_never_open_by_itself() -> None:
    schedule = Schedule.parse("On-Demand")
    assert schedule.on_demand
    assert not schedule.is_open(at("2026-03-02 12:00"))
    assert schedule.next_opening(at("2026-03-02 12:00")) is None


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        ("2026-03-02 00:30", False),  # the night before belongs to Sunday, which ends at midnight
        ("2026-03-02 19:59", False),
        ("2026-03-02 20:00", True),
        ("2026-03-03 05:59", True),
        ("2026-03-03 06:00", False),
        ("2026-03-07 00:00", True),
        ("2026-03-08 23:59", True),
    ],
)
def test_hours_that_pass_midnight_belong_to_the_day_on_which_they_begin(when: str, is_open: bool) -> None:
    assert NIGHTS.is_open(at(when)) is is_open


@pytest.mark.parametrize(
    ("text", "now", "opening"),
    [
        ("mon-fri 20:00-06:00, sat-sun", "2026-03-02 12:00:30", "2026-03-02 20:00"),
        ("mon-fri 20:00-06:00, sat-sun", "2026-03-02 21:00", "2026-03-02 21:00"),
        ("tue 10:00-11:00", "2026-03-03 11:00", "2026-03-10 10:00"),
        ("12:00-13:00", "2026-03-03 13:00", "2026-03-04 12:00"),
        ("sun-mon", "2026-03-04 13:00", "2026-03-08 00:00"),
        ("fri 23:00-24:00", "2026-03-07 13:00", "2026-03-13 23:00"),
        # A setting of the clock lies between: still at that time of the wall clock.
        ("mon 08:00-09:00", "2026-03-27 12:00", "2026-03-30 08:00"),
        ("mon 08:00-09:00", "2026-10-23 12:00", "2026-10-26 08:00"),
        # 2:30 does not exist on this night: the clock goes from 2:00 to 3:00.
        ("02:30-04:00", "2026-03-29 01:10", "2026-03-29 03:00"),
        ("03:00-04:00", "2026-03-28 23:10", "2026-03-29 03:00"),
        ("02:10-02:50", "2026-03-29 01:10", "2026-03-30 02:10"),
    ],
)
def test_the_next_opening_is_the_first_instant_at_which_it_is_open(text: str, now: str, opening: str) -> None:
    assert Schedule.parse(text).next_opening(at(now)) == at(opening)


def test_an_hour_that_comes_twice_is_used_twice() -> None:
    schedule = Schedule.parse("02:30-03:00")
    first = schedule.next_opening(at("2026-10-25 00:00"))
    assert first == at("2026-10-25 02:30", fold=0)
    assert not schedule.is_open(at("2026-10-25 02:10", fold=1))
    assert schedule.next_opening(at("2026-10-25 02:10", fold=1)) == at("2026-10-25 02:30", fold=1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("monday", "'monday' is not a day of the week"),
        ("mon-fri 25:00-26:00", "25:00 is not a time"),
        ("mon 10:60-11:00", "10:60 is not a time"),
        ("mon 10:00-10:00", "has no length"),
        ("mon 24:00-06:00", "has no length"),
        ("mon,", "'' should be like"),
        ("mon 10-12", "should be like"),
        ("demand", "not a day of the week"),
        ("mon/tue", "should be like"),
        ("mon 10:00-12:00 tue", "should be like"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"schedule '{text}'") as error:
        Schedule.parse(text)
    assert reason in str(error.value)


times = st.integers(0, 23 * 60 + 59).map(lambda m: f"{m // 60}:{m % 60:02}")
items = st.builds(
    lambda first, last, begin, end: f"{first}-{last} {begin}-{end}" if begin != end else f"{first}-{last}",
    st.sampled_from(DAYS),
    st.sampled_from(DAYS),
    times,
    times,
)


@given(st.lists(items, min_size=1, max_size=3), st.floats(1.5e9, 2e9))
def test_until_the_next_opening_it_is_closed_and_then_it_is_open(texts: list[str], now: float) -> None:
    schedule = Schedule.parse(", ".join(texts))
    opening = schedule.next_opening(now)
    assert opening is not None
    assert now <= opening <= now + 15 * 86400
    assert schedule.is_open(opening)
    if opening > now:
        assert not schedule.is_open(opening - 0.001)
        assert not any(schedule.is_open(now + (opening - now) * part / 97) for part in range(97))
