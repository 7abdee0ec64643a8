"""Catches all mail of a domain by a directory: whoever is listed gets his own mail, everybody else's goes to the domain's keeper.

Bind it with:

    [[binding]]
    name = "catch-all"
    sink = "catch_all:CatchAll"
    match = { recipient = "*@example.com" }
    settings = { directory = "people.db", domain = "example.com", keeper = "office@example.com" }
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import Resolve


@dataclass(frozen=True, slots=True)
class CatchAllSettings:
    """Whose mail is caught.

    Args:
        directory: an SQLite file with a table ``person (address TEXT PRIMARY KEY)``, in lower case.
        domain: the domain.
        keeper: who gets what is for nobody.
    """

    directory: Path
    domain: str
    keeper: str


class CatchAll(Sink[CatchAllSettings]):
    """Answers for one domain. Recipients elsewhere are not touched, so none can get lost, and each keeps his DSN parameters."""

    async def start(self) -> None:
        """A directory that cannot be read is an error now, not with the first message."""
        await asyncio.to_thread(self._known, [])

    @on(Resolve)
    async def catch(self, event: Resolve) -> None:
        """When the directory cannot be asked, this raises and the message is tried again later: nobody's mail is caught by accident."""
        ours = [item for item in event.open if item.kind == "recipient" and item.address.domain == self.settings.domain]
        known = await asyncio.to_thread(self._known, [str(item.address).lower() for item in ours])
        for item in ours:
            if str(item.address).lower() in known:
                item.resolve()
            else:
                item.rewrite(self.settings.keeper)

    def _known(self, addresses: Sequence[str]) -> set[str]:
        with contextlib.closing(sqlite3.connect(f"{self.settings.directory.as_uri()}?mode=ro", uri=True, timeout=5)) as directory:
            query = "SELECT 1 FROM person WHERE address = ?"
            directory.execute(query, ("",))
            return {self.settings.keeper.lower(), *(one for one in addresses if directory.execute(query, (one,)).fetchone())}
