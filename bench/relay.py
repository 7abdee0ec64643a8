"""Measures relaying: Penstock, Postfix, Haraka, OpenSMTPD and Exim, each between one generator and one receiver: ``make bench-relay``.

``smtp-source`` hands messages in as fast as they are taken; the server passes all of them on to a receiver in a process of its own, which
counts them and costs next to nothing. The rate is that of the whole way: from the generator's start to the last message's arrival. The CPU
is that of all the server's processes until it is idle again; generator and receiver are not in it, but share the machine.

Each round runs all servers, the second in the opposite order, and what the machine's load was at each start is printed too: numbers of
different machines, or of different runs on a busy one, do not compare; the ratios within one run do.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import pytest
from tests.support.counting import CountingReceiver
from tests.support.needs import program

from .relay_peers import MAKERS, Missing, Relay
from .run import machine
from .source import Case, cpu_seconds, send, wait_idle

RECIPIENT = "bob@remote.example"
PATIENCE = 300.0  # seconds for what was accepted to arrive


@dataclass(frozen=True, slots=True)
class Relayed:
    """What one server did in one case of one round.

    Args:
        messages: how many it took and passed on.
        accepted: messages a second that it took, while the generator ran.
        rate: messages a second from the generator's start to the last arrival.
        cpu: milliseconds of CPU a message, of all its processes; NaN when they cannot be counted.
        load: the machine's load average of one minute before.
    """

    messages: int
    accepted: float
    rate: float
    cpu: float
    load: float


Results = dict[Case, dict[str, list[Relayed]]]


def main() -> None:
    """Runs the rounds and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one message a session only, one round, short runs")
    parser.add_argument("--rounds", type=int, default=0, help="default 2, quick 1")
    parser.add_argument("--seconds", type=float, default=0.0, help="of each run (default 6, quick 3)")
    parser.add_argument("--only", action="append", choices=list(MAKERS), help="measure only these servers")
    parser.add_argument("--folder", type=Path, help="where spools and queues go (default: a temporary folder)")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    if program("smtp-source") is None:
        sys.exit("smtp-source is missing; it comes with Postfix (Debian package: postfix)")
    cases = [Case(4096, 20, kept) for kept in ((False,) if given.quick else (False, True))]
    found: Results = {case: defaultdict(list) for case in cases}
    for number in range(given.rounds or (1 if given.quick else 2)):
        order = [name for name in MAKERS if not given.only or name in given.only]
        for name in reversed(order) if number % 2 else order:
            _measure_all(name, given.folder, found, given.seconds or (3.0 if given.quick else 6.0))
    text = machine() + "\n" + table(found)
    print("\n" + text)
    if given.output:
        given.output.write_text(text)


def _measure_all(name: str, parent: Path | None, found: Results, seconds: float) -> None:
    """All cases with one server in a folder of its own; says so when it cannot be measured here."""
    folder = Path(tempfile.mkdtemp(prefix="relay-", dir=parent))
    folder.chmod(0o755)  # Postfix works as a user of its own
    try:
        with ExitStack() as stack:
            receiver = stack.enter_context(CountingReceiver(folder / "receiver"))
            peer = stack.enter_context(MAKERS[name](folder, receiver.address))
            for case, rows in found.items():
                load = os.getloadavg()[0]
                one = measure(peer, receiver, case, seconds, load)
                rows[peer.name].append(one)
                _progress(f"{case}: {peer.name}: {one.rate:,.0f}/s, {one.cpu:.2f} ms, {one.messages} messages, load before {load:.1f}")
    except (Missing, pytest.skip.Exception) as why:
        _progress(f"{name} is left out: {why}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(peer: Relay, receiver: CountingReceiver, case: Case, seconds: float, load: float) -> Relayed:
    """Warms up, relays for about ``seconds``, and checks that each message arrived, once."""
    rate = 0.0
    for warm in (2 * case.sessions, 20 * case.sessions):
        began, ended, _ = _relay(peer, receiver, case, warm)
        rate = warm / (ended - began)
        if rate * seconds < 20 * case.sessions:  # a slow one: what it does in a short time is known by now
            break
    messages = max(int(rate * seconds), 2 * case.sessions)
    wait_idle(peer.root)
    before = cpu_seconds(peer.root)
    began, ended, sending = _relay(peer, receiver, case, messages)
    wait_idle(peer.root)
    spent = cpu_seconds(peer.root) - before
    cpu = spent / messages * 1000 if peer.countable else math.nan
    copies = receiver.count().copies
    assert copies.total() == len(copies) == messages, f"{peer.name}: {messages} sent, {copies.total()} copies of {len(copies)} arrived"
    return Relayed(messages, messages / sending, messages / (ended - began), cpu, load)


def _relay(peer: Relay, receiver: CountingReceiver, case: Case, messages: int) -> tuple[float, float, float]:
    """Sends and waits for the arrivals; when that began and ended, and how many seconds the generator took."""
    os.truncate(receiver.ids, 0)
    with ThreadPoolExecutor(1) as threads:
        began = time.time()
        sending = threads.submit(send, peer.address, case, messages, RECIPIENT)
        _wait_for(receiver.ids, messages, sending, f"{peer.name}: {messages} messages")
        # The receiver writes a line for each message, so its file was last changed by the last one; nobody has to look all the time.
        return began, receiver.ids.stat().st_mtime, sending.result()


def _wait_for(path: Path, lines: int, sending: Future[float], what: str) -> None:
    """Waits until a growing file has so many lines; reads each of them once. Gives up when the generator failed."""
    seen = 0
    deadline = time.monotonic() + PATIENCE
    with path.open("rb") as file:
        while seen < lines:
            if sending.done():
                sending.result()
            assert time.monotonic() < deadline, f"{what}: {seen} arrived in {PATIENCE:g} s"
            time.sleep(0.1)
            seen += file.read().count(b"\n")


def table(found: Results) -> str:
    """Markdown: a row a case and server, the means of the rounds and beside them each round's, and what Penstock does of it."""
    lines = [
        "| case | server | messages/s | CPU ms a message | accepted/s | load before | Postfix: rate | Postfix: per CPU second |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, rows in found.items():
        postfix = rows.get("Postfix")
        for name, rounds in rows.items():
            rate, cpu = mean(one.rate for one in rounds), mean(one.cpu for one in rounds)
            ratios = "- | -"
            if postfix and name != "Postfix":
                less = mean(p.cpu for p in postfix) / cpu
                ratios = f"{rate / mean(p.rate for p in postfix):.2f}x | " + ("-" if math.isnan(less) else f"{less:.1f}x")
            numbers = [
                _numbers(rate, (one.rate for one in rounds), ",.0f"),
                _numbers(cpu, (one.cpu for one in rounds), ".2f"),
                f"{mean(one.accepted for one in rounds):,.0f}",
                ", ".join(f"{one.load:.1f}" for one in rounds),
            ]
            lines.append(f"| {case} | {name} | {' | '.join(numbers)} | {ratios} |")
    return "\n".join(lines) + "\n"


def _numbers(middle: float, each: Iterable[float], form: str) -> str:
    """A mean, and in brackets what it is the mean of; a dash for what was not measured."""
    if math.isnan(middle):
        return "-"
    several = [format(one, form) for one in each]
    return format(middle, form) + (f" ({', '.join(several)})" if len(several) > 1 else "")


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
