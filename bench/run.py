"""Measures Penstock beside aiosmtpd and Postfix, on one machine in one run: ``make bench``, or ``python -m bench.run``.

All servers run through the whole matrix, one at a time, with the same generator, the same file system, and every
message on stable storage before its 250. Numbers of different machines, or of different runs on a busy one, do not
compare; the ratios do.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.support.needs import program

from . import peers
from .source import Case, Measured, measure

Row = dict[str, Measured]
NAMES = ("penstock", "maildir", "aiosmtpd", "uvloop", "postfix", "hold")


def main() -> None:
    """Runs the matrix and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 KiB with 20 sessions only, and short runs")
    parser.add_argument("--seconds", type=float, default=0.0, help="of each run (default 5, quick 2)")
    parser.add_argument("--only", action="append", choices=NAMES, help="measure only these servers")
    parser.add_argument("--folder", type=Path, help="where spools and queues go (default: a temporary folder)")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    if program("smtp-source") is None:
        sys.exit("smtp-source is missing; it comes with Postfix (Debian package: postfix)")
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=given.folder))
    folder.chmod(0o755)  # Postfix works as a user of its own
    try:
        seconds = given.seconds or (2.0 if given.quick else 5.0)
        rows = run(folder, set(given.only or NAMES), cases(given.quick), seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = machine() + "\n" + table(rows)
    print("\n" + text)
    if given.output:
        given.output.write_text(text)


def cases(quick: bool) -> list[Case]:
    """The matrix."""
    sizes, sessions = ([4096], [20]) if quick else ([4096, 102400], [20, 200])
    return [Case(size, count, kept) for size in sizes for count in sessions for kept in (True, False)]


def run(folder: Path, names: set[str], matrix: list[Case], seconds: float) -> dict[Case, Row]:
    """Each case, each server; progress goes to stderr."""
    rows: dict[Case, Row] = {}
    with ExitStack() as stack:
        started = [stack.enter_context(peer) for peer in _peers(folder, names)]
        for case in matrix:
            rows[case] = {}
            for peer in started:
                found = rows[case][peer.name] = measure(peer, case, seconds)
                _progress(f"{case}: {peer.name}: {found.rate:,.0f}/s, {found.cpu:,.0f} us, {found.messages} messages")
    return rows


def _peers(folder: Path, names: set[str]) -> list[peers.Peer]:
    """What can be measured here; says what cannot."""
    wanted: list[peers.Peer] = []
    if "penstock" in names:
        wanted.append(peers.Penstock(folder / "penstock"))
    if "maildir" in names:
        wanted.append(peers.Penstock(folder / "penstock-maildir", "Penstock (Maildir)", deliver=""))
    if "aiosmtpd" in names:
        wanted.append(peers.Aiosmtpd(folder / "aiosmtpd"))
    if "uvloop" in names:
        wanted.append(peers.Aiosmtpd(folder / "aiosmtpd-uvloop", "uvloop"))
    if os.geteuid() != 0 and names & {"postfix", "hold"}:
        _progress("not root: Postfix is left out")
        return wanted
    if "postfix" in names:
        wanted.append(peers.Postfix(folder))
    if "hold" in names:
        wanted.append(peers.Postfix(folder, hold=True))
    return wanted


def table(rows: dict[Case, Row]) -> str:
    """Markdown: a row a case and server, with Penstock's advantage over it."""
    lines = [
        "| case | server | messages/s | CPU us a message | of one core | Penstock: rate | Penstock: CPU |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, row in rows.items():
        ours = row.get("Penstock")
        for name, found in row.items():
            ratios = "- | -"
            if ours is not None and found is not ours:
                ratios = f"{ours.rate / found.rate:.1f}x | 1/{found.cpu / ours.cpu:.1f}"
            numbers = f"{found.rate:,.0f} | {found.cpu:,.0f} | {found.busy:.0%}"
            lines.append(f"| {case} | {name} | {numbers} | {ratios} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """What it ran on."""
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown CPU")
    python = platform.python_version()
    return f"{os.cpu_count()} cores ({cpu}), Linux {platform.release()}, Python {python}, all servers durable\n"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
