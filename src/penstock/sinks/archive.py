"""An archive of all mail: one file a message, kept before anybody can change it further on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import Submission

from .folders import must_be_writable


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Where copies are kept.

    Args:
        directory: the folder; made when it is missing.
    """

    directory: Path


class Archive(Sink[ArchiveSettings]):
    """Keeps a copy of every message that enters transport.

    The copy is on stable storage before the message goes on. When it cannot be written, the message waits and is tried again, so that
    none passes without its copy; a message that comes twice, after a crash, replaces its own copy.
    """

    async def start(self) -> None:
        """Makes the folder and tries it out. Raises ConfigError."""
        await asyncio.to_thread(must_be_writable, "Archive: directory", self.settings.directory)

    @on(Submission)
    async def copy(self, event: Submission) -> None:
        """Saves the message under its queue id."""
        await event.message.save(self.settings.directory / f"{event.message.id}.eml")
