"""A disk whose power can be cut: ext4 on a loop device whose image lies in memory.

The image holds what reached the device, and nothing that only the page cache of the mounted file system knows. So a copy of the image,
taken while nobody writes, is what a machine would find after a power cut at that instant."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from .needs import program
from .waiting import wait_until

MEMORY = Path("/dev/shm")


class Disk:
    """One mounted image; a context manager that leaves no mount, loop device or image behind.

    Args:
        mib: size of a new image.
        image: an existing image (a copy) to mount instead; it is removed at the end as well.
    """

    def __init__(self, mib: int = 1024, image: Path | None = None) -> None:
        self.image = image or _new_image(mib)
        self.path = Path(tempfile.mkdtemp(prefix="disk-"))
        self.device = ""

    def __enter__(self) -> Disk:
        try:
            self.device = _run("losetup", "--find", "--show", str(self.image))
            _run("mount", "-t", "ext4", "-o", "noatime", self.device, str(self.path))
        except subprocess.CalledProcessError as failed:
            self.__exit__()
            pytest.skip(f"cannot mount a loop device here: {failed.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if os.path.ismount(self.path):
                wait_until(self._unmounted, f"{self.path} can be unmounted", 15, 0.1)
        finally:
            if self.device:
                subprocess.run([program("losetup") or "", "--detach", self.device], check=False, timeout=30)
            self.image.unlink(missing_ok=True)
            self.path.rmdir()

    def _unmounted(self) -> bool:
        return subprocess.run([program("umount") or "", str(self.path)], capture_output=True, check=False).returncode == 0

    def counters(self) -> tuple[int, int]:
        """Sectors written to the device so far, and requests under way (Documentation/block/stat.rst)."""
        fields = Path(f"/sys/block/{Path(self.device).name}/stat").read_text().split()
        return int(fields[6]), int(fields[8])

    def copy(self) -> Path:
        """A copy of the image in which no write falls half into it; whoever writes to the disk must have been stopped.

        The kernel may still write back pages on its own; then the copy is thrown away and made again.
        """
        for _ in range(20):
            before = wait_until(self._quiet, "the device is quiet", 10)
            target = Path(tempfile.mkdtemp(prefix="cut-", dir=MEMORY)) / "image"
            subprocess.run(["cp", "--sparse=always", str(self.image), str(target)], check=True, timeout=60)
            if self.counters() == before:
                moved = MEMORY / f"{target.parent.name}.img"
                target.rename(moved)
                target.parent.rmdir()
                return moved
            shutil.rmtree(target.parent)
        raise AssertionError("the device did not come to rest")

    def _quiet(self) -> tuple[int, int] | None:
        """The counters, when nothing is under way and nothing moved for a moment."""
        before = self.counters()
        time.sleep(0.02)
        return before if before[1] == 0 and self.counters() == before else None


def _new_image(mib: int) -> Path:
    handle, name = tempfile.mkstemp(prefix="disk-", suffix=".img", dir=MEMORY)
    os.ftruncate(handle, mib << 20)
    os.close(handle)
    _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", name)
    return Path(name)


class SmallDisk:
    """A tmpfs of a few MiB; a context manager."""

    def __init__(self, path: Path, mib: int, options: str = "") -> None:
        self.path = path
        self._options = f"size={mib}m" + (f",{options}" if options else "")

    def __enter__(self) -> SmallDisk:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            _run("mount", "-t", "tmpfs", "-o", self._options, "tmpfs", str(self.path))
        except subprocess.CalledProcessError as failed:
            pytest.skip(f"cannot mount a tmpfs here: {failed.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", "--lazy", str(self.path))

    def fill(self) -> Path:
        """Takes all the room that is left with one file, and gives its path."""
        ballast = self.path / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:
                return ballast


def _run(tool: str, *arguments: str) -> str:
    command = [program(tool) or tool, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
