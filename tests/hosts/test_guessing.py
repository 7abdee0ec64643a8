"""How failures of logins are counted: by address and user, in a sliding window, with a bound on what is remembered."""

from __future__ import annotations

import pytest

from penstock.hosts.smtp import guessing
from penstock.hosts.smtp.guessing import Guesses, GuessLimits

LIMITS = GuessLimits(delay=1.0, longest_delay=10.0, window=600.0, client=5, user=8)


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_costs_twice_the_last_up_to_the_longest() -> None:
    guesses = Guesses(Clock())
    assert [guesses.failed("192.0.2.1", "", LIMITS) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert guesses.failed("192.0.2.2", "", LIMITS) == 1
    for _ in range(3000):
        guesses.failed("192.0.2.1", "alice", LIMITS)
    assert guesses.failed("192.0.2.1", "alice", LIMITS) == 10


def test_a_user_is_counted_over_all_addresses_and_however_the_name_is_written() -> None:
    guesses = Guesses(Clock())
    assert [guesses.failed(f"192.0.2.{n}", name, LIMITS) for n, name in enumerate(("alice", "Alice", "ALICE"))] == [1, 2, 4]


def test_what_is_over_is_forgotten_little_by_little() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    for _ in range(6):
        guesses.failed("192.0.2.1", "", LIMITS)
    assert guesses.refuses_client("192.0.2.1", LIMITS)
    clock.now += 650
    assert guesses.refuses_client("192.0.2.1", LIMITS)
    clock.now += 150
    assert not guesses.refuses_client("192.0.2.1", LIMITS)
    clock.now += 500
    assert guesses.failed("192.0.2.1", "", LIMITS) == 1


def test_a_user_is_refused_but_not_from_where_that_user_got_in() -> None:
    guesses = Guesses(Clock())
    guesses.succeeded("192.0.2.7", "Alice")
    for number in range(8):
        guesses.failed(f"203.0.113.{number}", "alice", LIMITS)
    assert guesses.refuses_user("203.0.113.99", "alice", LIMITS)
    assert not guesses.refuses_user("192.0.2.7", "alice", LIMITS)
    assert not guesses.refuses_user("203.0.113.99", "bob", LIMITS)


def test_no_limit_is_none() -> None:
    guesses = Guesses(Clock())
    free = GuessLimits(client=0, user=0)
    for _ in range(1000):
        guesses.failed("192.0.2.1", "alice", free)
    assert not guesses.refuses_client("192.0.2.1", free)
    assert not guesses.refuses_user("192.0.2.1", "alice", free)


def test_what_strangers_make_us_remember_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guessing, "MOST_REMEMBERED", 10)
    guesses = Guesses(Clock())
    for _ in range(5):
        guesses.failed("192.0.2.1", "", LIMITS)
    for number in range(9):
        guesses.failed(f"10.0.0.{number}", f"user{number}" * 100, LIMITS)
        guesses.succeeded(f"10.0.0.{number}", f"user{number}" * 100)
    assert guesses.refuses_client("192.0.2.1", LIMITS)
    guesses.failed("10.0.1.1", "x" * 100_000, LIMITS)
    assert not guesses.refuses_client("192.0.2.1", LIMITS)
    assert len(guesses._clients) == 10
    assert len(guesses._users) == 10
    assert max(map(len, guesses._users)) <= 256
