"""Nothing that was acknowledged is lost when the process is killed or the power is cut, and nothing durably removed comes back."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import hammer
from storage.hammer import Ledger
from support.blockdevice import Disk
from support.needs import needs_loop_devices

KILLS = 20
CUTS = 20


class Hammer:
    """A hammering process, and what it has said so far."""

    def __init__(self, folder: Path, seed: int, *words: str) -> None:
        command = [sys.executable, hammer.__file__, str(folder), str(seed), *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._said: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            self._said.append(data)

    def said(self) -> str:
        return b"".join(self._said).decode()

    def wait_for_more(self, lines: int, timeout: float = 30) -> None:
        goal = self.said().count("\n") + lines
        end = time.monotonic() + timeout
        while self.said().count("\n") < goal:
            assert self.process.poll() is None, "the hammer died"
            assert time.monotonic() < end, "the hammer is stuck"
            time.sleep(0.005)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        while Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
            time.sleep(0.001)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> str:
        """Kills it, and gives all it has said."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.said()


@contextmanager
def hammering(folder: Path, seed: int, *words: str) -> Iterator[Hammer]:
    running = Hammer(folder, seed, *words)
    try:
        yield running
    finally:
        running.kill()


@pytest.mark.slow
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Twenty times, at a random moment under load, on one and the same spool."""
    chance = random.Random(1)
    ledger = Ledger()
    for number in range(KILLS):
        running = Hammer(tmp_path / "spool", number)
        try:
            running.wait_for_more(10)
            time.sleep(chance.random() * 0.8)
        finally:
            said = running.kill()
        ledger.read(said)
        recovered, wrong = await ledger.compare(tmp_path / "spool")
        assert wrong == []
        assert [line for line in recovered.damaged if "the last group" not in line] == []
    print(f"{len(ledger.kept)} kept, {len(ledger.gone)} gone, {len(ledger.left)} in between")


def _cut(running: Hammer, disk: Disk) -> tuple[Path, str]:
    """The disk as a power cut would leave it now, and all that was acknowledged before."""
    running.freeze()
    try:
        time.sleep(0.01)  # what it said before is in the pipe; let the reader have it
        return disk.copy(), running.said()
    finally:
        running.thaw()


@pytest.mark.slow
@pytest.mark.root
async def test_a_power_cut_loses_nothing_that_was_acknowledged() -> None:
    """What had reached the device at each of twenty cuts is enough to give back all that was acknowledged before it."""
    needs_loop_devices()
    with Disk(mib=300) as disk, hammering(disk.path / "spool", 1) as running:
        for number in range(CUTS):
            running.wait_for_more(200 + 137 * number % 500)
            image, said = _cut(running, disk)
            ledger = Ledger()
            ledger.read(said)
            with Disk(image=image) as copy:
                recovered, wrong = await ledger.compare(copy.path / "spool")
            assert wrong == [], f"cut {number}: {len(wrong)} of {len(ledger.kept)}"
            assert [line for line in recovered.damaged if "the last group" not in line] == []
            print(f"cut {number}: {len(ledger.kept)} kept, {len(ledger.gone)} gone, {recovered}")


@pytest.mark.root
async def test_a_spool_that_does_not_sync_loses_mail_in_a_power_cut() -> None:
    """The power cuts of the test above are real: without fdatasync they show the loss at once."""
    needs_loop_devices()
    with Disk(mib=300) as disk, hammering(disk.path / "spool", 2, "without-sync") as running:
        running.wait_for_more(2000)
        image, said = _cut(running, disk)
        ledger = Ledger()
        ledger.read(said)
        with Disk(image=image) as copy:
            _, wrong = await ledger.compare(copy.path / "spool")
    assert len([line for line in wrong if line.endswith("is lost")]) > 10
