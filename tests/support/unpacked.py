"""Runs mail servers that were unpacked and not installed, because Debian lets only one of them be installed at a time.

``.ci/packages`` unpacks them below a cache folder (``PENSTOCK_TEST_PROGRAMS``, else /var/cache/penstock-tests). Their paths and users are
compiled in; each runs in a mount namespace of its own, where those paths are folders of the test and /etc/passwd knows the users. Nothing
of that is seen outside, and it is gone with the last process.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .needs import needs, needs_root, program

CACHE = Path(os.environ.get("PENSTOCK_TEST_PROGRAMS", "/var/cache/penstock-tests"))

# The mounts are made by the shell that becomes the server; a mount that fails ends it with the reason on standard error.
_ENTER = """\
set -eu
mount --make-rprivate /
while [ "$1" != -- ]; do
    mkdir -p "$2" 2>/dev/null || true
    mount --bind "$1" "$2"
    shift 2
done
shift
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Account:
    """A user, with a group of the same name, that exists for the unpacked server alone."""

    name: str
    number: int
    home: str = "/nonexistent"


def unpacked(package: str, *path: str) -> Path:
    """A file of an unpacked package; skips the test when it is not there or cannot be run here."""
    needs_root("mount namespaces and changing users")
    needs("unshare", "mount")
    found = CACHE.joinpath(package, *path)
    if not found.exists():
        pytest.skip(f"{package} is not unpacked in {CACHE} (run .ci/packages)")
    if not _namespaces():
        pytest.skip("no mount namespaces here (unshare -m is not permitted)")
    return found


@functools.cache
def _namespaces() -> bool:
    """Whether one can be made, and a mount in it."""
    script = "mount --make-rprivate / && mount -t tmpfs none /mnt"
    command = [program("unshare") or "", "-m", "sh", "-c", script]
    return subprocess.run(command, check=False, capture_output=True, timeout=10).returncode == 0


def with_accounts(folder: Path, accounts: Sequence[Account]) -> dict[Path, str]:
    """Mounts that make accounts known beside those of the machine."""
    users = [f"{one.name}:x:{one.number}:{one.number}::{one.home}:/bin/sh\n" for one in accounts]
    groups = [f"{one.name}:x:{one.number}:\n" for one in accounts]
    (folder / "passwd").write_text(Path("/etc/passwd").read_text() + "".join(users))
    (folder / "group").write_text(Path("/etc/group").read_text() + "".join(groups))
    return {folder / "passwd": "/etc/passwd", folder / "group": "/etc/group"}


def namespaced(mounts: Mapping[Path, str], *command: str) -> list[str]:
    """A command line that runs a command where each folder or file stands in the place given for it."""
    pairs = [text for source, place in mounts.items() for text in (str(source), place)]
    return [program("unshare") or "", "-m", shutil.which("sh") or "/bin/sh", "-c", _ENTER, "sh", *pairs, "--", *command]
