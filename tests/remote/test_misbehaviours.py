"""The catalogue of misbehaving remotes is itself tried: a careful client survives each, with the outcomes that it names.

A remote that did not do what its name says, or an outcome that no client can reach, would make the tests of delivery prove nothing.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from remote.reference import Client
from support.misbehaviour import BOUNCED, DEFERRED, DELIVERED, UNCERTAIN, Behaviour, Outcome
from support.misbehaviours import ALL, CATALOGUE, OUT_OF_TURN
from support.remote import Remote

SIMPLE = [DELIVERED, DEFERRED, BOUNCED, UNCERTAIN]


async def _attempt(behaviour: Behaviour, remote: Remote, *ways: str) -> tuple[Outcome, ...]:
    """The outcomes of one attempt, when the remote is over with it."""
    async with asyncio.timeout(10):
        found = await Client(behaviour, remote.address, pipelining="pipelined" in ways, chunking="chunked" in ways).deliver()
        # A remote that reads nothing cannot see that the client left: what is unsent stands before the FIN.
        while remote.open and behaviour.name != "content-not-read":
            await asyncio.sleep(0.002)
    return found


@pytest.mark.parametrize("way", ["in-turn", "pipelined", "chunked"])
@pytest.mark.parametrize("behaviour", ALL, ids=lambda one: one.name)
async def test_a_careful_client_gets_an_outcome_that_is_expected(behaviour: Behaviour, way: str) -> None:
    """Every recipient ends as the catalogue says, and what the client takes for delivered is what the remote acknowledged."""
    async with Remote(behaviour.script) as remote:
        started = time.monotonic()
        found = await _attempt(behaviour, remote, way)
        took = time.monotonic() - started
        for address, got, expected in zip(behaviour.mail.addresses, found, behaviour.expected, strict=True):
            assert got in expected, f"{address}: {got}; {remote.sessions}"
            if got is DELIVERED:
                assert remote.copies()[address] == 1
        assert remote.faults == [] or behaviour.name in OUT_OF_TURN
        assert behaviour.remote_may_have or not remote.taken()
        assert took < 4.0  # some tenths of a second, on a machine that is not busy
        if behaviour.later:
            assert await _attempt(behaviour, remote, way) == behaviour.later


async def test_what_is_taken_is_what_was_sent() -> None:
    """Dots are undone and nothing else is changed."""
    behaviour = CATALOGUE["no-pipelining"]
    async with Remote(behaviour.script) as remote:
        await _attempt(behaviour, remote)
        (transaction,) = remote.transactions
        assert transaction.content == behaviour.mail.content
        assert list(transaction.recipients) == transaction.acknowledged == behaviour.mail.addresses
        assert transaction.sender == behaviour.mail.sender


def test_names_are_unique_and_outcomes_are_given_for_each_recipient() -> None:
    """No two behaviours share a name, and there are more than forty-five."""
    assert len(CATALOGUE) == len(ALL) > 45
    assert set(CATALOGUE) >= OUT_OF_TURN
    assert all(len(one.expected) == one.mail.recipients for one in ALL)
    assert all(any(simple in outcome for simple in SIMPLE) for one in ALL for outcome in one.expected)


async def test_what_is_scripted_for_chunks_happens_to_chunks() -> None:
    """The same remote that takes DATA refuses the first BDAT."""
    behaviour = CATALOGUE["bdat-503-for-the-first"]
    async with Remote(behaviour.script) as remote:
        assert await _attempt(behaviour, remote, "in-turn") == (DELIVERED,)
        assert await _attempt(behaviour, remote, "chunked") == (BOUNCED,)
        assert remote.copies().total() == 1
