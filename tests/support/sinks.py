"""Sinks that tests bind to a real server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import Submission

# TOML to append: accepted mail stays in the spool, at its first stage, until the file exists.
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

    @on(Submission)
    async def wait(self, event: Submission) -> None:
        """Waits for the file."""
        while not Path(self.settings.until).exists():
            await asyncio.sleep(0.05)
