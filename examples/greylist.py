"""Greylisting: who writes for the first time is asked to come again; a mail server does, and much that sends spam does not.

Bind it with:

    [[binding]]
    name = "greylist"
    sink = "greylist:Greylist"
    match = { authenticated = false }
    on_error = "continue"               # without its database it lets everybody in
    settings = { database = "greylist.db" }
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from penstock import Sink, on
from penstock.events import RcptTo
from penstock.verdicts import Defer

_TABLE = """CREATE TABLE IF NOT EXISTS seen (
    client TEXT, sender TEXT, recipient TEXT, first REAL, last REAL, PRIMARY KEY (client, sender, recipient))"""


@dataclass(frozen=True, slots=True)
class GreylistSettings:
    """How long.

    Args:
        database: an SQLite file, made when it is missing; all workers share it.
        wait: seconds before the second try is let in.
        keep: seconds after which somebody who did not write again is forgotten.
    """

    database: Path
    wait: float = 300.0
    keep: float = 36 * 86400.0


class Greylist(Sink[GreylistSettings]):
    """Remembers who wrote to whom from where; from the same network, since large senders try again from another address."""

    async def start(self) -> None:
        """Makes the database."""
        with self._open() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(_TABLE)

    @on(RcptTo)
    def check(self, event: RcptTo) -> Defer | None:
        """Waits for the disk, so it is a plain ``def`` and runs in a thread. The clock is the server's: when the message began."""
        now, message = event.message.received.timestamp(), event.message
        client = event.session.client_ip
        network = str(ip_network((client, 64 if ":" in client else 24), strict=False))
        who = (network, str(message.sender).lower(), str(event.recipient.address).lower())
        with self._open() as database, database:
            database.execute("DELETE FROM seen WHERE last < ?", (now - self.settings.keep,))
            database.execute("INSERT INTO seen VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET last = excluded.last", (*who, now, now))
            (first,) = database.execute("SELECT first FROM seen WHERE client = ? AND sender = ? AND recipient = ?", who).fetchone()
        if now - first >= self.settings.wait:
            return None
        return Defer(450, "4.7.1", f"Greylisted, please come again in {round(first + self.settings.wait - now)} seconds")

    def _open(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self.settings.database, timeout=5))
