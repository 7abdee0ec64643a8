"""Sinks that tests bind to a real server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import Submission

# TOML to append: accepted mail stays in the spool, at its first stage, while the file does not exist.
STALL = """
[[binding]]
name = "stall"
sink = "support.sinks:Stall"
timeout = "10 minutes"
settings = {{ until = "{until}" }}
"""


@dataclass(frozen=True, slots=True)
class StallSettings:
    """The file whose existence lets mail go on."""

    until: Path


class Stall(Sink[StallSettings]):
    """Keeps accepted mail where it is, so that a test can kill the server or spoil its disk before anything is delivered."""

    def __init__(self, settings: StallSettings) -> None:
        super().__init__(settings)
        self._watch: asyncio.Task[None] | None = None

    @on(Submission)
    async def wait(self, event: Submission) -> None:
        """Waits for the file; one task looks for it, however many messages wait."""
        if self.settings.until.exists():
            return
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look())
        await asyncio.shield(self._watch)

    async def _look(self) -> None:
        while not self.settings.until.exists():
            await asyncio.sleep(0.05)
