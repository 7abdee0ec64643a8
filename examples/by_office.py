"""Looks an attribute of each recipient up in a directory, and lets what is found decide where the mail goes.

Bind it with:

    [[binding]]
    name = "by-office"
    sink = "by_office:ByOffice"
    settings = { directory = "people.db", servers = { paris = "[192.0.2.11]:25", oslo = "[192.0.2.12]:25" } }
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import PostCategorize, Resolve


@dataclass(frozen=True, slots=True)
class ByOfficeSettings:
    """Who is where.

    Args:
        directory: an SQLite file with a table ``person (address TEXT PRIMARY KEY, office TEXT)``, in lower case.
        servers: the mail server of each office.
    """

    directory: Path
    servers: dict[str, str]


class ByOffice(Sink[ByOfficeSettings]):
    """Asks at Resolve for all recipients at once, and acts when they are final; what was found stays with the recipient meanwhile."""

    @on(Resolve)
    async def look_up(self, event: Resolve) -> None:
        """An attribute decides nothing, so other directories are still asked whether the address exists."""
        offices = await asyncio.to_thread(self._offices, [str(item.address).lower() for item in event.items])
        for item in event.items:
            if office := offices.get(str(item.address).lower()):
                item.attributes["office"] = office

    @on(PostCategorize)
    async def send(self, event: PostCategorize) -> None:
        """The route of a recipient is its own: others of the same domain go elsewhere."""
        for recipient in event.message.recipients:
            office = recipient.properties.get("attributes", {}).get("office", "")
            if office in self.settings.servers:
                recipient.route = self.settings.servers[office]

    def _offices(self, addresses: Sequence[str]) -> dict[str, str]:
        with contextlib.closing(sqlite3.connect(f"{self.settings.directory.as_uri()}?mode=ro", uri=True, timeout=5)) as directory:
            query = "SELECT office FROM person WHERE address = ?"
            rows = ((address, directory.execute(query, (address,)).fetchone()) for address in addresses)
            return {address: row[0] for address, row in rows if row}
