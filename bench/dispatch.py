"""What it costs to ask sinks: nobody bound, one sink in each mode, ten, and a thousand bindings of which one is meant.

    python bench/dispatch.py [--events 20000] [--rounds 5] [--only WORD]

Prints microseconds an event, the best of the rounds: a machine that does something else only ever makes it slower. What is measured is
what a host does: it makes the event, asks the chain, and goes on with the outcome. The handlers do nothing.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import uvloop

from penstock import Address, Match, Recipient, Sink, on
from penstock.events.binding import Bindings
from penstock.events.catalog import RcptTo
from penstock.events.dispatch import PROCEED, Dispatcher, Outcome
from penstock.events.plug import Plug
from penstock.events.work import Facts, MessageWork, SessionWork
from penstock.isolation.sink_process import SinkProcess
from penstock.mail.envelope import Envelope
from penstock.mail.message import MessageRecord
from penstock.observe.log import get_log, set_up

MANY = 1000


class Inline(Sink):
    """Never waits."""

    @on(RcptTo, blocking=False)
    def look(self, event: RcptTo) -> None:
        """Does nothing."""


class Async(Sink):
    """May wait, and does not."""

    @on(RcptTo)
    async def look(self, event: RcptTo) -> None:
        """Does nothing."""


class Thread(Sink):
    """Runs in a thread."""

    @on(RcptTo)
    def look(self, event: RcptTo) -> None:
        """Does nothing."""


class NoServer:
    """As much of a server as an event needs that asks nothing of it."""

    name, hostname = "bench", "mx.example.com"

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}

    def now(self) -> float:
        """The time."""
        return time.time()


@dataclass
class Case:
    """One line of the table.

    Args:
        name: of the line.
        plugs: who is bound.
        part: of the events of a round that are asked here, since some cost a hundred times what others do.
    """

    name: str
    plugs: list[Plug]
    part: float = 1.0


def cases() -> list[Case]:
    """All lines."""
    apart = [Plug(f"sink{n}", Inline(), match=Match(recipient=f"customer{n}.example")) for n in range(MANY)]
    stars = [Plug(f"sink{n}", Inline(), match=Match(recipient=f"*@customer{n}.ex*")) for n in range(MANY)]
    return [
        Case("nobody bound", []),
        Case("one inline sink", [Plug("a", Inline())]),
        Case("one inline sink with a condition", [Plug("a", Inline(), match=Match(recipient="customer500.example"))]),
        Case("one async sink", [Plug("a", Async())], 0.5),
        Case("one thread sink", [Plug("a", Thread())], 0.1),
        Case("one process sink", [Plug("a", _in_process(), run_in="process")], 0.05),
        Case("10 inline sinks", [Plug(f"sink{n}", Inline()) for n in range(10)]),
        Case("10 async sinks", [Plug(f"sink{n}", Async()) for n in range(10)], 0.1),
        Case(f"{MANY} bindings, a recipient domain each", apart, 0.1),
        Case(f"{MANY} bindings, a pattern with * each", stars, 0.005),
    ]


def _in_process() -> Sink[None]:
    """A shell of the asynchronous sink, of a module that its process can import: this one is ``__main__``."""
    sink: Sink[None] = object.__new__(importlib.import_module("dispatch").Async)
    return sink


@asynccontextmanager
async def started(plugs: list[Plug], server: NoServer) -> AsyncIterator[list[Plug]]:
    """The plugs, with a process for each that needs one."""
    remotes = {plug.name: SinkProcess(plug, get_log(), server) for plug in plugs if plug.run_in == "process"}  # type: ignore[arg-type]
    try:
        for remote in remotes.values():
            await remote.start()
        yield [replace(plug, remote=remotes.get(plug.name)) for plug in plugs] if remotes else plugs
    finally:
        for remote in remotes.values():
            await remote.stop()


async def measure(case: Case, events: int, rounds: int) -> float:
    """Seconds an event, in the best round."""
    server = NoServer()
    async with started(case.plugs, server) as plugs:
        return await _measure(Bindings(plugs), server, max(int(events * case.part), 1), rounds)


async def _measure(bindings: Bindings, server: NoServer, count: int, rounds: int) -> float:
    dispatcher = Dispatcher(get_log())
    recipient = Recipient(Address.parse("bob@customer500.example"), "bob@customer500.example")
    record = MessageRecord(id="m1", received=0.0, size=0, envelope=Envelope(Address.parse("alice@example.com"), [recipient]))
    facts = Facts(server, SessionWork("s1", ("192.0.2.1", 4711), "mx", 0.0), MessageWork(record))  # type: ignore[arg-type]
    best = float("inf")
    for _ in range(rounds):
        before = time.perf_counter()
        for _ in range(count):
            chain = bindings.chain(RcptTo)
            answer = dispatcher.ask(RcptTo(facts, recipient), chain) if chain else PROCEED
            outcome = answer if isinstance(answer, Outcome) else await answer
            assert outcome is PROCEED
        best = min(best, (time.perf_counter() - before) / count)
    return best


async def run(args: argparse.Namespace) -> None:
    """Measures and prints."""
    for case in cases():
        if args.only in case.name:
            print(f"{case.name:45}{await measure(case, args.events, args.rounds) * 1e6:10.2f} us", flush=True)


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    set_up("info", "json")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
