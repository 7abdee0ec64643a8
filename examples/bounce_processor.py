"""Reads the reports that come back for mail of ours, and notes which addresses are bad, where the program that sends can look.

Bind it with:

    [[binding]]
    name = "bounces"
    sink = "bounce_processor:BounceProcessor"
    priority = 8191                     # before the domain's own delivery, which gets what is no report
    match = { recipient = "bounces@example.com", sender = "<>" }
    settings = { database = "bounces.db" }
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from penstock import Address, Sink, on
from penstock.errors import AddressError
from penstock.events import LocalDelivery
from penstock.verdicts import Delivered

_TABLE = "CREATE TABLE IF NOT EXISTS bad (address TEXT PRIMARY KEY, status TEXT, reason TEXT, times INTEGER, last REAL)"
_NOTE = """INSERT INTO bad VALUES (?, ?, ?, 1, ?)
    ON CONFLICT DO UPDATE SET status = excluded.status, reason = excluded.reason, times = times + 1, last = excluded.last"""


@dataclass(frozen=True, slots=True)
class BounceSettings:
    """Where it is noted.

    Args:
        database: an SQLite file with the table ``bad``, made when it is missing.
    """

    database: Path


class BounceProcessor(Sink[BounceSettings]):
    """Believes permanent failures alone (RFC 3464 §2.3.3, action "failed", status 5.x.x); a full mailbox or a delay marks nobody."""

    async def start(self) -> None:
        """Makes the table."""
        await asyncio.to_thread(self._note, [], 0.0)

    @on(LocalDelivery)
    async def read(self, event: LocalDelivery) -> Delivered | None:
        """What is no report goes on to the mailbox. When the database cannot be written, this raises, and the report waits."""
        # Python's older parser: the newer one raises at some headers that strangers write, and this report would wait for ever.
        parsed = message_from_bytes(await event.message.read())
        if parsed.get_content_type() != "multipart/report":
            return None
        found = list(_failed(parsed))
        await asyncio.to_thread(self._note, found, event.message.received.timestamp())
        self.log.info("report read", message=event.message.id, bad=[address for address, _, _ in found])
        return Delivered(str(self.settings.database))

    def _note(self, found: list[tuple[str, str, str]], when: float) -> None:
        with contextlib.closing(sqlite3.connect(self.settings.database, timeout=5)) as database, database:
            database.execute(_TABLE)
            database.executemany(_NOTE, [(*one, when) for one in found])


def _failed(report: Message) -> Iterator[tuple[str, str, str]]:
    """Address, status and reason of each recipient that failed for good; what does not parse is left out."""
    for part in report.walk():
        groups = part.get_payload() if part.get_content_type() == "message/delivery-status" else None
        if not isinstance(groups, list):
            continue
        for group in (one for one in groups[1:] if isinstance(one, Message)):
            field = {name.lower(): " ".join(str(value).split()) for name, value in group.items()}
            # The address that we wrote to, rather than the one that somebody's forwarding made of it.
            kind, _, address = field.get("original-recipient", field.get("final-recipient", "")).partition(";")
            if field.get("action", "").lower() == "failed" and field.get("status", "").startswith("5") and kind.lower().endswith("822"):
                with contextlib.suppress(AddressError):
                    bad = str(Address.parse(address.strip())).lower()
                    yield bad, field["status"][:12], field.get("diagnostic-code", "")[:500]
