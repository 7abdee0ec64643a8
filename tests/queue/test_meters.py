"""Counting by key: never more than the budget in its period, nothing lost when refused, and bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.queue.meters import Budget, Meters


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_whole_budget_may_be_used_at_once_and_comes_back_little_by_little() -> None:
    clock = Clock()
    meters = Meters(clock=clock)
    budget = Budget(10, 60)
    assert [meters.take("a", budget) for _ in range(12)] == [True] * 10 + [False] * 2
    clock.now += 6
    assert [meters.take("a", budget) for _ in range(2)] == [True, False]
    clock.now += 60
    assert [meters.take("a", budget) for _ in range(11)] == [True] * 10 + [False]


def test_keys_do_not_share_and_what_is_refused_costs_nothing() -> None:
    clock = Clock()
    meters = Meters(clock=clock)
    budget = Budget(2, 60)
    assert meters.take("a", budget, 2)
    assert not any(meters.take("a", budget) for _ in range(100))
    assert meters.take("b", budget)
    assert meters.left("b", budget) == pytest.approx(1)
    clock.now += 30
    assert meters.take("a", budget)


def test_no_budget_is_no_limit() -> None:
    meters = Meters()
    assert all(meters.take("a", Budget(0, 1)) for _ in range(100))
    assert len(meters) == 0


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 3)), max_size=60), st.integers(1, 10), st.integers(1, 60))
def test_in_no_period_more_than_twice_the_budget_passes(steps: list[tuple[float, int]], count: int, period: int) -> None:
    """The burst, and what flowed off meanwhile."""
    clock = Clock()
    meters = Meters(clock=clock)
    taken: list[tuple[float, int]] = []
    for wait, amount in steps:
        clock.now += wait
        if meters.take("k", Budget(count, period), amount):
            taken.append((clock.now, amount))
    for start, _ in taken:
        assert sum(amount for at, amount in taken if start <= at < start + period) <= 2 * count + 1e-6


def test_strangers_cannot_fill_the_memory() -> None:
    """The key that was used longest ago is forgotten."""
    meters = Meters(most=100, clock=Clock())
    budget = Budget(1, 60)
    assert meters.take("mine", budget)
    for number in range(99):
        meters.take(number, budget)
    assert not meters.take("mine", budget)
    for number in range(1000):
        meters.take(number, budget)
    assert len(meters) == 100


@pytest.mark.parametrize(("text", "budget"), [("100/min", (100, 60)), ("20/10 minutes", (20, 600)), ("5/s", (5, 1)), ("0/h", (0, 3600))])
def test_a_budget_is_read_as_it_is_written(text: str, budget: tuple[float, float]) -> None:
    assert Budget.parse(text) == Budget(*budget)


@pytest.mark.parametrize("text", ["", "5", "5/", "/s", "5/0 s", "-1/s", "5/fortnight", "1e9/s", "5/s " * 100])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        Budget.parse(text)
