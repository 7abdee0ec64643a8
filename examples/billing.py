"""Keeps account of who used how much: sessions and messages in, copies relayed out.

Bind it with:

    [[binding]]
    name = "billing"
    sink = "billing:Billing"
    settings = { database = "usage.db" }
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import Accepted, Relayed, SessionEnded

_TABLE = """CREATE TABLE IF NOT EXISTS usage (
    day TEXT, who TEXT, sessions INTEGER, seconds REAL, messages INTEGER, octets INTEGER, relayed INTEGER, PRIMARY KEY (day, who))"""
_ADD = """INSERT INTO usage VALUES (:day, :who, :sessions, :seconds, :messages, :octets, :relayed) ON CONFLICT DO UPDATE SET
    sessions = sessions + :sessions, seconds = seconds + :seconds, messages = messages + :messages, octets = octets + :octets,
    relayed = relayed + :relayed"""


@dataclass(frozen=True, slots=True)
class BillingSettings:
    """Where it is kept.

    Args:
        database: an SQLite file with a row for each day and user, made when it is missing.
    """

    database: Path


class Billing(Sink[BillingSettings]):
    """Listens to reports alone, which are told after the fact: nothing here can slow a client down or lose its mail."""

    async def start(self) -> None:
        """Makes the table."""
        with self._open() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(_TABLE)

    @on(Accepted)
    def accepted(self, event: Accepted) -> None:
        """The client was told 250."""
        self._add(f"{event.server.now:%Y-%m-%d}", event.session.user or event.session.client_ip, messages=1, octets=event.message.size)

    @on(SessionEnded)
    def ended(self, event: SessionEnded) -> None:
        """However it ended."""
        self._add(f"{event.server.now:%Y-%m-%d}", event.session.user or event.session.client_ip, sessions=1, seconds=event.seconds)

    @on(Relayed)
    def relayed(self, event: Relayed) -> None:
        """The session is long gone; the sender's address is what is left of who it was."""
        self._add(f"{event.server.now:%Y-%m-%d}", str(event.message.sender), relayed=1)

    def _add(self, day: str, who: str, **amounts: float) -> None:
        nothing = dict.fromkeys(("sessions", "seconds", "messages", "octets", "relayed"), 0)
        with self._open() as database, database:
            database.execute(_ADD, {"day": day, "who": who, **nothing, **amounts})

    def _open(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self.settings.database, timeout=5))
