"""Queue ids are unique, and in order of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.storage.identity import ALPHABET, Identities


@given(st.lists(st.floats(0, 3e10), min_size=1, max_size=50))
def test_ids_grow_whatever_the_clock_does(times: list[float]) -> None:
    """Also when it is set back."""
    clock = iter(times)
    identities = Identities(lambda: next(clock))
    ids = [identities.new() for _ in times]
    assert ids == sorted(set(ids))
    assert all(len(one) == 16 and set(one) <= set(ALPHABET) for one in ids)


def test_more_than_a_thousand_in_a_millisecond_stay_unique_and_in_order() -> None:
    identities = Identities(lambda: 1_700_000_000.0)
    ids = [identities.new() for _ in range(5000)]
    assert ids == sorted(set(ids))


def test_two_processes_make_different_ids_at_the_same_time() -> None:
    one, two = Identities(lambda: 1.0), Identities(lambda: 1.0)
    assert not {one.new() for _ in range(500)} & {two.new() for _ in range(500)}
