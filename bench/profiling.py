"""Says where the worker's time goes in one case of the benchmark: ``make profile``, or ``python -m bench.profiling --size 4096``.

py-spy looks at the worker from outside, many times a second, while ``smtp-source`` loads it; the server runs as it always does. Printed
are the functions by time of their own, and by time with all they call. Native frames are asked for, so that system calls and msgspec
show."""

from __future__ import annotations

import argparse
import collections
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from .peers import Penstock
from .source import Case, send, wait_idle


def main() -> None:
    """Profiles one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--one-each", action="store_true", help="one message a session")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--maildir", action="store_true", help="deliver to a Maildir instead of discarding")
    parser.add_argument("--top", type=int, default=35)
    parser.add_argument("--native", action="store_true", help="also look at native frames")
    parser.add_argument("--keep", type=Path, help="also keep the stacks here, for a flame graph")
    given = parser.parse_args()
    case = Case(given.size, given.sessions, not given.one_each)
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        sys.exit("py-spy is missing: .venv/bin/pip install py-spy")
    folder = Path(tempfile.mkdtemp(prefix="profile-"))
    try:
        stacks = folder / "stacks"
        with Penstock(folder / "penstock", deliver="" if given.maildir else "discard:") as peer:
            command = [str(spy), "record", "--pid", str(peer.worker), "--format", "raw", "--rate", "500"]
            command += ["--duration", str(given.seconds), "--output", str(stacks)]
            command += ["--native"] if given.native else []
            rate = _record(peer, case, command, given.seconds)
        print(f"{case}: about {rate:,.0f} messages/s while being watched\n")
        report(stacks.read_text(), given.top)
        if given.keep:
            shutil.copy(stacks, given.keep)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(peer: Penstock, case: Case, command: list[str], seconds: int) -> float:
    """Keeps the server busy for as long as py-spy watches; gives messages a second."""
    warm = max(200, 2 * case.sessions)
    guess = warm / send(peer.address, case, warm)
    wait_idle(peer.root)
    over = threading.Event()
    rates: list[float] = []

    def load() -> None:
        messages = max(int(guess), warm)
        while not over.is_set():
            rates.append(messages / send(peer.address, case, messages))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    except subprocess.CalledProcessError as failed:
        sys.exit(f"py-spy: {failed.stderr.strip()}")
    finally:
        over.set()
        thread.join()
    return sum(rates) / len(rates)


def report(stacks: str, top: int) -> None:
    """Prints the functions of folded stacks (``a;b;c 12``) by own and by whole time."""
    own: collections.Counter[str] = collections.Counter()
    whole: collections.Counter[str] = collections.Counter()
    total = 0
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_short(frame) for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    for title, counts in (("own time", own), ("with callees", whole)):
        print(f"{title}, share of {total} samples")
        for frame, count in counts.most_common(top):
            print(f"  {count / max(total, 1):6.1%}  {frame}")
        print()


def _short(frame: str) -> str:
    """``name (file:line)`` without the line, so that one function is one row."""
    name, _, place = frame.partition(" (")
    return f"{name} ({place.partition(':')[0]})" if place else name


if __name__ == "__main__":
    main()
