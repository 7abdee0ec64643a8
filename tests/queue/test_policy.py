"""The retry schedule: what administrators know, never too early for the next try, never after the message is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.queue.policy import DAY, HOUR, MINUTE, RetryPolicy

EXACT = RetryPolicy(jitter=0.0)
RECEIVED = 1_700_000_000.0


def test_the_default_schedule_is_15_30_60_minutes_and_then_every_four_hours() -> None:
    waits = [EXACT.next_due("m", n, RECEIVED, RECEIVED + 10) for n in range(7)]
    assert [due - RECEIVED - 10 for due in waits if due] == [15 * MINUTE, 30 * MINUTE, HOUR, 4 * HOUR, 4 * HOUR, 4 * HOUR, 4 * HOUR]


def test_a_message_is_given_up_after_five_days() -> None:
    assert EXACT.next_due("m", 9, RECEIVED, RECEIVED + 5 * DAY - 1) is not None
    assert EXACT.next_due("m", 9, RECEIVED, RECEIVED + 5 * DAY) is None


def test_the_last_try_is_made_when_time_is_up_and_not_later() -> None:
    assert EXACT.next_due("m", 9, RECEIVED, RECEIVED + 5 * DAY - HOUR) == RECEIVED + 5 * DAY


def test_a_whole_life_of_retries_ends_and_takes_five_days() -> None:
    now, tries = RECEIVED, 0
    while (due := RetryPolicy().next_due("m", tries, RECEIVED, now)) is not None:
        assert due > now
        now, tries = due, tries + 1
    assert now == RECEIVED + 5 * DAY
    assert 25 <= tries <= 40


policies = st.builds(
    RetryPolicy,
    st.lists(st.floats(1, DAY), min_size=1, max_size=6).map(tuple),
    st.floats(1, 10 * DAY),
    st.floats(0, 0.9),
)


@given(policies, st.text(max_size=10), st.integers(0, 100), st.floats(0, 20 * DAY))
def test_what_is_due_is_in_the_future_within_the_jitter_and_before_the_end(policy: RetryPolicy, key: str, tries: int, age: float) -> None:
    now = RECEIVED + age
    due = policy.next_due(key, tries, RECEIVED, now)
    if now - RECEIVED >= policy.expire:
        assert due is None
        return
    assert due is not None
    interval = policy.intervals[min(tries, len(policy.intervals) - 1)]
    slack = 1e-6 * RECEIVED / 1000
    assert due <= RECEIVED + policy.expire + slack
    assert due <= now + interval * (1 + policy.jitter) + slack
    assert due >= min(now + interval * (1 - policy.jitter), RECEIVED + policy.expire) - slack
    assert due == policy.next_due(key, tries, RECEIVED, now)


def test_what_failed_together_does_not_come_back_together() -> None:
    waits = [(RetryPolicy().next_due(f"m{n}", 0, RECEIVED, RECEIVED) or 0) - RECEIVED for n in range(500)]
    assert len({round(wait) for wait in waits}) > 100
    assert min(waits) < 14 * MINUTE
    assert max(waits) > 16 * MINUTE
    assert 14.8 * MINUTE < sum(waits) / len(waits) < 15.2 * MINUTE


def test_one_message_draws_anew_for_each_try() -> None:
    policy = RetryPolicy((HOUR,))
    assert len({policy.next_due("m", n, RECEIVED, RECEIVED) for n in range(20)}) == 20
