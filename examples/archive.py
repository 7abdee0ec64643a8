"""Keeps a copy of every message, in a folder a day; ``penstock.sinks:Archive`` is the plain one that ships.

Bind it with:

    [[binding]]
    name = "archive"
    sink = "archive:DailyArchive"
    priority = 8191                     # before those that edit: the copy is of what came
    settings = { directory = "/var/archive" }
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import Submission


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """What the configuration must say.

    Args:
        directory: where the folders are made; a relative path starts at the configuration file.
    """

    directory: Path


class DailyArchive(Sink[ArchiveSettings]):
    """Saves each message once, before it goes on.

    When the copy cannot be written, ``save`` raises, the message waits in the queue, and the archive is asked again later: no mail passes
    without its copy. With ``on_error = "continue"`` it would pass.
    """

    @on(Submission)
    async def copy(self, event: Submission) -> None:
        """The queue id is unique, so that a repetition after a crash replaces its own file."""
        folder = self.settings.directory / f"{event.message.received:%Y-%m-%d}"
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        await event.message.save(folder / f"{event.message.id}.eml")
