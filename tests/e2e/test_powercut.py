"""Power cuts under load: what was acknowledged survives on what had reached the disk.

Spool and Maildirs lie on ext4 on a loop device. A cut freezes the server, copies the image behind the device, and lets the server go
on; a second server then starts on the copy, as after a power failure. All that was acknowledged by then must be delivered there: from
its spool, or because the copy in the Maildir had reached the disk before the spool forgot it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.blockdevice import Disk
from support.load import BackgroundLoad, Plan
from support.needs import needs_loop_devices
from support.server import Server
from support.sinks import STALL
from support.waiting import wait_until

CUTS = 10  # of each kind
LIMITS = "[limits]\nconnections_per_client = 1000\n"


@dataclass(frozen=True, slots=True)
class Cut:
    """What one power cut left."""

    image: Path
    acknowledged: dict[str, str]


def _cut(server: Server, disk: Disk, load: BackgroundLoad) -> Cut:
    """Freezes the server and copies the disk. Answers that arrive meanwhile were sent before, so they count."""
    server.freeze()
    try:
        image = disk.copy()
        return Cut(image, load.acknowledged())
    finally:
        server.thaw()


def _survivors(folder: Path, cut: Cut) -> tuple[int, int]:
    """Starts a server on the copy and compares; gives how many were delivered by it, and how many twice."""
    with Disk(image=cut.image) as disk, Server(folder, disk=disk.path, more=LIMITS) as server:
        server.mailboxes.wait_for(cut.acknowledged, 30)
        found = server.mailboxes.compare(cut.acknowledged)
        assert not found.missing
        assert not found.corrupt
        return len(server.mailboxes.copies), len(found.duplicates)


def _wait_for_more(load: BackgroundLoad, count: int) -> None:
    """Waits until so many more messages are acknowledged."""
    goal = len(load.results.acknowledged) + count
    wait_until(lambda: len(load.results.acknowledged) >= goal, "mail flows between cuts", 30)


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stalled", [False, True], ids=["delivering", "stalled"])
def test_no_acknowledged_message_is_lost_or_damaged_by_a_power_cut(tmp_path: Path, stalled: bool) -> None:
    """On the disk as it was at each of ten cuts, a new server finds and delivers all that was acknowledged before.

    While mail is delivered at once, most of it must be found in the Maildirs; while it is kept back, all of it in the spool.
    """
    needs_loop_devices()
    started = time.monotonic()
    plan = Plan(sessions=60, size=3000, rate=250, patience=60)
    more = LIMITS + (STALL.format(until=tmp_path / "never") if stalled else "")
    with (
        Disk(mib=1024) as disk,
        Server(tmp_path / "main", disk=disk.path, more=more) as server,
        BackgroundLoad(plan, server.address) as load,
    ):
        for number in range(CUTS):
            _wait_for_more(load, 30 + 17 * number % 150)
            cut = _cut(server, disk, load)
            delivered, twice = _survivors(tmp_path / f"cut-{number}", cut)
            print(f"cut {number}: {len(cut.acknowledged)} acknowledged, {delivered} delivered, {twice} twice")
        load.stop()
    print(f"{CUTS} cuts, {time.monotonic() - started:.0f} s")
