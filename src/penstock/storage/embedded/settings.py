"""Every size, time and hook of the embedded spool, in one place.

The defaults suit a mail server with a disk of its own; a test or a small machine changes what it must. ``sync`` is here so that a test
can see, delay or fail each sync without replacing the operating system.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


def _silent(_line: str) -> None:
    """Background trouble nobody asked to hear of."""


def _nobody() -> None:
    """Nobody who could start the spool again."""


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """How one embedded spool works.

    Args:
        directory: where the spool lives; made when it is not there.
        segment_size: octets of one journal segment; made smaller by the spool on a file system with little room.
        large_content: contents of more octets than this get a file of their own.
        cache_size: at most so many octets of young contents are kept in memory.
        settle_after: seconds after which an entry that is still kept goes to the index.
        settle_interval: seconds between two looks at what is to be settled.
        append_delay: seconds that ``append`` may wait for company.
        retry_delay: seconds between two attempts to write what could not be written.
        slack_segments: so many segments may hold mostly dead bytes before live ones are moved out of the oldest.
        prewrite: True to fill new segments with zeros in the background, so that syncs write no file system metadata.
        sync: makes an open file durable (octets and size).
        on_trouble: told, from any thread, one line about each trouble in the background.
        on_broken: called, from any thread and perhaps more than once, when the spool cannot go on as it is and a new start repairs it.
    """

    directory: Path
    segment_size: int = 64 * MIB
    large_content: int = MIB
    cache_size: int = 64 * MIB
    settle_after: float = 2.0
    settle_interval: float = 0.25
    append_delay: float = 0.01
    retry_delay: float = 0.5
    slack_segments: int = 4
    prewrite: bool = True
    sync: Callable[[int], None] = os.fdatasync
    on_trouble: Callable[[str], None] = _silent
    on_broken: Callable[[], None] = _nobody
