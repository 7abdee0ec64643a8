"""Files that only root may read, in the hands of a server that is root no longer.

A server that is started as root gives its rights up before it looks at mail (``config.account``). What it can read no more by then, the
keys of certificates above all, it reads before, and keeps in memory that belongs to no folder (``memfd_create``), sealed against changes;
its workers are handed the descriptors. So a worker that dies comes back with the same keys, without a process that stays root for that.

It stands beside ``Secret``, which is read so, below all who read keys. Rejected: copies in a folder of the server's user, which would
outlive it; and a helper that stays root, which would be there to be attacked.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path

# The environment variable that tells a process what it was handed: a JSON object, path to descriptor.
VARIABLE = "PENSTOCK_HANDED"
# Keys and tokens are small; what is larger is none, and would be held in memory for nothing.
LARGEST = 1024 * 1024


def read(path: Path) -> bytes:
    """The octets of a file, or of what was handed down in its place. Raises OSError."""
    try:
        return path.read_bytes()
    except PermissionError:
        descriptor = handed().get(str(path))
        if descriptor is None:
            raise
        return os.pread(descriptor, LARGEST, 0)


def is_there(path: Path) -> bool:
    """Whether there is such a file, or one was handed down in its place."""
    try:
        return path.is_file() or str(path) in handed()
    except PermissionError:
        return str(path) in handed()


def openable(path: Path) -> Path:
    """A name by which the file can be opened, for libraries that take nothing but names: its own where that will do."""
    descriptor = handed().get(str(path))
    if descriptor is None or os.access(path, os.R_OK):
        return path
    return Path(f"/proc/self/fd/{descriptor}")


def hand_down(contents: Mapping[Path, bytes], uid: int) -> dict[str, int]:
    """Puts contents into memory that only this user may open; path to descriptor.

    Args:
        contents: what the files hold.
        uid: the user that the server runs as.

    Raises: OSError.
    """
    made: dict[str, int] = {}
    for path, content in contents.items():
        descriptor = os.memfd_create("penstock-handed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        made[str(path)] = descriptor
        os.write(descriptor, content)
        os.fchmod(descriptor, 0o400)
        os.fchown(descriptor, uid, -1)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return made


def take_up(descriptors: Mapping[str, int]) -> None:
    """From now on these are what this process was handed, as if it had been started with them."""
    os.environ.update(announce(descriptors))
    handed.cache_clear()
    handed()


def announce(descriptors: Mapping[str, int]) -> dict[str, str]:
    """The variables that tell a process what it is handed; {} for nothing."""
    return {VARIABLE: json.dumps(descriptors)} if descriptors else {}


@functools.cache
def handed() -> Mapping[str, int]:
    """What this process was handed: path to descriptor. From then on its own children know nothing of it."""
    text = os.environ.pop(VARIABLE, "")
    try:
        found = {str(path): int(descriptor) for path, descriptor in json.loads(text or "{}").items()}
        for descriptor in found.values():
            os.set_inheritable(descriptor, False)
    except (ValueError, AttributeError, TypeError, OSError):
        # Nobody but our supervisor sets it: what does not read is somebody's mistake, and nothing was handed.
        return {}
    return found
