"""What a sink remembers about a session: undone when its handler fails, and nobody else's when it returned."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.harness import Harness, session_work
from penstock import Sink, on
from penstock.events import Ehlo
from penstock.events.drafts import copied, unchanged
from penstock.events.work import SessionWork

values = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.sets(st.integers(), max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3), st.tuples(inner, inner)),
    max_leaves=8,
)


class Acts(Sink):
    """Does as told with its state."""

    def __init__(self, act: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__()
        self.act = act

    @on(Ehlo, blocking=False)
    def run(self, event: Ehlo) -> None:
        self.act(event.session.state)


async def greet(work: SessionWork, act: Callable[[dict[str, Any]], Any]) -> bool:
    """One EHLO; whether the sink failed."""
    harness = Harness.of(Acts(act))
    return (await harness.outcome(harness.make(Ehlo, session=work))).failed


def fill(state: dict[str, Any]) -> None:
    state.update(list=[1], deep={"a": [{"b": {1}}]}, pair=([1], 2), octets=bytearray(b"x"))


def change(state: dict[str, Any]) -> None:
    state["list"].append(2)
    state["deep"]["a"][0]["b"].add(2)
    state["pair"][0].append(2)
    state["octets"] += b"y"


async def test_what_a_handler_changed_deep_inside_is_kept_when_it_returns() -> None:
    work = session_work()
    await greet(work, fill)
    await greet(work, change)
    assert work.states["sink0"] == {"list": [1, 2], "deep": {"a": [{"b": {1, 2}}]}, "pair": ([1, 2], 2), "octets": bytearray(b"xy")}


async def test_what_a_handler_changed_deep_inside_is_undone_when_it_raises() -> None:
    def fail(state: dict[str, Any]) -> None:
        change(state)
        raise ValueError

    work, filled = session_work(), {}
    fill(filled)
    await greet(work, fill)
    assert await greet(work, fail)
    assert work.states["sink0"] == filled


async def test_what_a_handler_holds_on_to_is_not_the_sessions_any_more() -> None:
    kept: list[dict[str, Any]] = []
    work, filled = session_work(), {}
    fill(filled)
    await greet(work, lambda state: (fill(state), kept.append(state)))
    change(kept[0])
    assert work.states["sink0"] == filled


@pytest.mark.parametrize("value", [threading.Lock(), asyncio.Event(), object(), Ehlo, lambda: None, iter([])])
async def test_an_object_of_another_kind_is_the_same_one_in_every_handler(value: Any) -> None:
    seen: list[Any] = []
    work = session_work()
    assert not await greet(work, lambda state: state.update(it=value, among=[value]))
    assert not await greet(work, lambda state: seen.extend([state["it"], *state["among"]]))
    assert all(item is value for item in seen)
    assert len(seen) == 2


async def test_a_value_that_holds_itself_harms_nobody() -> None:
    loop: list[Any] = []
    loop.append(loop)
    work = session_work()
    assert not await greet(work, lambda state: state.update(loop=loop))
    assert not await greet(work, lambda state: state.update(other=1))
    assert work.states["sink0"]["other"] == 1


@given(values, values)
def test_a_copy_is_equal_and_unchanged_until_it_is_changed(value: Any, other: Any) -> None:
    copy = copied(value)
    assert copy == value
    assert unchanged(value, copy)
    if other != value:
        assert not unchanged(value, copied(other))
