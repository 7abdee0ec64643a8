"""The retry schedule: what administrators know, never too early for the next try, never after the message is given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.queue.policy import DAY, HOUR, MINUTE, Policies, RetryPolicy

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


def test_a_destination_rests_for_the_glitches_first() -> None:
    assert [EXACT.back_off("q", n) for n in range(6)] == [MINUTE, MINUTE, MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR]
    assert RetryPolicy(glitch=(), jitter=0.0).back_off("q", 0) == 15 * MINUTE


def test_the_sender_is_told_of_a_delay_once_at_each_age() -> None:
    policy = RetryPolicy(notices=(4 * HOUR, DAY, 9 * DAY))
    first = policy.next_notice(RECEIVED, 0.0)
    assert first == RECEIVED + 4 * HOUR
    assert policy.next_notice(RECEIVED, first + 5) == RECEIVED + DAY
    # What would come after the message is given up never comes.
    assert policy.next_notice(RECEIVED, RECEIVED + DAY) is None
    assert RetryPolicy(notices=()).next_notice(RECEIVED, 0.0) is None


def test_a_domain_has_the_schedule_of_the_pattern_that_says_most() -> None:
    named = {pattern: RetryPolicy(expire=float(n)) for n, pattern in enumerate(("*", "example.org", ".example.org", ".a.example.org"), 1)}
    policies = Policies(RetryPolicy(), named)
    found = {
        d: policies.of(d).expire for d in ("elsewhere.example", "example.org", "b.example.org", "a.example.org", "x.a.example.org", "")
    }
    assert list(found.values()) == [1.0, 2.0, 3.0, 4.0, 4.0, 1.0]
    assert Policies().of("example.org") == RetryPolicy()
    assert Policies(EXACT, {"org": RetryPolicy()}).of("example.org") is EXACT


@pytest.mark.parametrize("pattern", ["", ".", "*.example", "Example.org", "a@b", "example.org."])
def test_a_pattern_that_could_never_match_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="should be"):
        Policies(domains={pattern: EXACT})


@pytest.mark.parametrize(
    "wrong", [{"intervals": ()}, {"intervals": (0.0,)}, {"glitch": (-1.0,)}, {"jitter": 1.0}, {"expire": float("inf")}, {"notices": (0.0,)}]
)
def test_a_schedule_that_would_spin_or_never_end_is_refused(wrong: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match=r"retry schedule|jitter"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]
