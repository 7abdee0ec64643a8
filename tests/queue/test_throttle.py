"""A destination's window and rests, and its rate, as arithmetic: no sessions, no spool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.queue.limits import DestinationLimits, TokenBucket
from penstock.queue.policy import RetryPolicy
from penstock.queue.throttle import Standing, Throttle

NOW = 1_700_000_000.0
EXACT = DestinationLimits(connections=20, window=5, retry=RetryPolicy((900.0, 1800.0), jitter=0.0, glitch=(60.0, 60.0)))


def test_a_window_of_successes_lets_one_more_session_in() -> None:
    throttle = Throttle(EXACT, "q")
    throttle.succeeded(5)
    assert throttle.allowed == 5
    for _ in range(5):
        throttle.succeeded(5)
    assert throttle.window == pytest.approx(5.9, abs=0.1)
    throttle.succeeded(5)
    assert throttle.allowed == 6


def test_a_window_that_is_not_used_up_does_not_grow() -> None:
    throttle = Throttle(EXACT, "q")
    for _ in range(100):
        throttle.succeeded(2)
    assert throttle.window == 5


def test_the_window_ends_at_the_connections_that_are_allowed() -> None:
    throttle = Throttle(EXACT, "q")
    for _ in range(1000):
        throttle.succeeded(throttle.allowed)
    assert throttle.window == 20


def test_a_failure_beside_living_sessions_halves_the_window_and_is_no_rest() -> None:
    throttle = Throttle(EXACT, "q", 16.0)
    assert not throttle.failed(NOW, 10)
    assert (throttle.allowed, throttle.until) == (8, 0.0)
    for _ in range(10):
        throttle.succeeded(8)
        assert not throttle.failed(NOW, 8)
    assert throttle.window == 1


def test_when_as_many_failed_in_a_row_as_there_are_sessions_it_rests() -> None:
    throttle = Throttle(EXACT, "q")
    rests = [throttle.failed(NOW, sessions) for sessions in (5, 4, 3)]
    assert rests == [False, False, True]
    assert throttle.until == NOW + 60
    assert throttle.standing is Standing.FAILING


def test_the_sessions_that_fail_after_the_rest_began_do_not_lengthen_it() -> None:
    throttle = Throttle(EXACT, "q")
    for sessions in (5, 4, 3, 2, 1):
        throttle.failed(NOW, sessions)
    assert throttle.until == NOW + 60


def test_glitches_come_before_the_schedule_and_the_last_interval_repeats() -> None:
    throttle, now, rests = Throttle(EXACT, "q"), NOW, []
    for _ in range(6):
        throttle.failed(now, 1)
        rests.append(throttle.until - now)
        now = throttle.until
    assert rests == [60, 60, 900, 1800, 1800, 1800]


def test_an_answer_ends_the_rest_and_begins_anew_with_the_first_window() -> None:
    throttle = Throttle(EXACT, "q")
    for now in (NOW, NOW + 60, NOW + 120):
        throttle.failed(now, 1)
    assert (throttle.allowed, throttle.window) == (1, 1)
    assert throttle.succeeded(1)
    assert (throttle.until, throttle.failures, throttle.allowed) == (0.0, 0, 5)
    throttle.failed(NOW + 200, 1)
    assert throttle.until == NOW + 260


def test_what_fails_together_does_not_come_back_together() -> None:
    limits = DestinationLimits(retry=RetryPolicy())
    ends = set()
    for number in range(200):
        throttle = Throttle(limits, f"mx:d{number}.example")
        throttle.failed(NOW, 1)
        ends.add(round(throttle.until - NOW, 1))
    assert len(ends) > 50
    assert min(ends) >= 54
    assert max(ends) <= 66


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.floats(0, 5000))))
def test_the_window_stays_within_its_bounds_and_a_rest_is_never_longer_than_the_policy_says(steps: list[tuple[bool, int, float]]) -> None:
    throttle, now = Throttle(EXACT, "q"), NOW
    for success, sessions, seconds in steps:
        now += seconds
        if success:
            throttle.succeeded(sessions)
            assert throttle.until == 0
        else:
            throttle.failed(now, sessions)
        assert 1 <= throttle.window <= 20
        assert 1 <= throttle.allowed <= 20
        assert throttle.until <= now + 1800


def test_a_bucket_lets_through_what_its_rate_says_and_a_burst_of_one_second() -> None:
    bucket, now, taken = TokenBucket(10, NOW), NOW, 0
    for _ in range(1000):
        if not bucket.wait(now):
            bucket.take()
            taken += 1
        else:
            now += bucket.wait(now)
        if now >= NOW + 20:
            break
    assert 208 <= taken <= 211


def test_a_slow_rate_lets_one_through_at_a_time() -> None:
    bucket = TokenBucket(1 / 60, NOW)
    bucket.take()
    assert bucket.wait(NOW) == pytest.approx(60)
    assert bucket.wait(NOW + 30) == pytest.approx(30)
    assert bucket.wait(NOW + 60) == 0


def test_a_token_that_was_not_used_is_there_again() -> None:
    bucket = TokenBucket(1 / 60, NOW)
    bucket.take()
    bucket.put_back()
    assert bucket.wait(NOW) == 0


def test_a_clock_that_is_set_back_neither_fills_nor_locks_a_bucket() -> None:
    bucket = TokenBucket(1.0, NOW)
    bucket.take()
    assert bucket.wait(NOW - 5000) == pytest.approx(1)
    assert bucket.wait(NOW - 4999) == 0


@pytest.mark.parametrize("wrong", [{"connections": 0}, {"rate": -1.0}, {"rate": float("inf")}, {"recipients": 0}])
def test_limits_that_would_stop_everything_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"destination needs|no rate"):
        DestinationLimits(**wrong)  # type: ignore[arg-type]
