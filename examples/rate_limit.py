"""Limits how many recipients a user may write to in a time: what a stolen password can do until somebody notices.

Bind it with:

    [[binding]]
    name = "rate-limit"
    sink = "rate_limit:RateLimit"
    match = { authenticated = true }    # without this line it counts for each client address
    on_error = "continue"               # without its database it lets everybody send
    settings = { database = "rates.db", recipients = 200, seconds = 3600 }
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import RcptTo
from penstock.verdicts import Defer

_TABLE = "CREATE TABLE IF NOT EXISTS bucket (who TEXT PRIMARY KEY, level REAL, at REAL)"
_LEAK = """INSERT INTO bucket VALUES (:who, 1, :now)
    ON CONFLICT DO UPDATE SET level = max(0, level - (:now - at) * :rate) + 1, at = :now
    WHERE max(0, level - (:now - at) * :rate) + 1 <= :most"""


@dataclass(frozen=True, slots=True)
class RateLimitSettings:
    """How much.

    Args:
        database: an SQLite file, made when it is missing; it is what the worker processes share.
        recipients: so many in one go, when nothing was sent for a while.
        seconds: in which so many become possible again, evenly.
    """

    database: Path
    recipients: int = 200
    seconds: float = 3600.0


class RateLimit(Sink[RateLimitSettings]):
    """A leaky bucket for each user: recipients fill it, time empties it, and who would make it overflow has to wait."""

    async def start(self) -> None:
        """Makes the table."""
        with self._open() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(_TABLE)

    @on(RcptTo)
    def count(self, event: RcptTo) -> Defer | None:
        """One statement looks and counts, so two workers cannot both take the last place."""
        who, settings = event.session.user or event.session.client_ip, self.settings
        rate = settings.recipients / settings.seconds
        values = {"who": who, "now": event.server.now.timestamp(), "rate": rate, "most": settings.recipients}
        with self._open() as database, database:
            if database.execute(_LEAK, values).rowcount:
                return None
        self.log.warning("too many recipients", who=who)
        return Defer(450, "4.7.1", f"At most {settings.recipients} recipients in {settings.seconds:g} seconds, please")

    def _open(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self.settings.database, timeout=5))
