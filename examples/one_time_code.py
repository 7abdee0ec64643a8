"""A way to log in that SMTP does not have: AUTH X-OTP asks for a user and for the six digits that his telephone shows (RFC 6238).

Bind it with:

    [[binding]]
    name = "one-time-code"
    sink = "one_time_code:OneTimeCode"
    listeners = ["submission"]
    settings = { database = "codes.db" }
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import Auth
from penstock.verdicts import Authenticated, Reject

_TABLE = "CREATE TABLE IF NOT EXISTS code (user TEXT PRIMARY KEY, secret TEXT NOT NULL, last INTEGER NOT NULL DEFAULT 0)"
_STEP = 30


@dataclass(frozen=True, slots=True)
class OneTimeCodeSettings:
    """Who may log in.

    Args:
        database: an SQLite file with a table ``code`` of users and their secrets in base32, as a telephone's program is given them; made
            when it is missing.
    """

    database: Path


class OneTimeCode(Sink[OneTimeCodeSettings]):
    """A code is good for a minute and a half, and once. The client hears the same whether the user or the code is wrong."""

    async def start(self) -> None:
        """Makes the table."""
        await asyncio.to_thread(self._accepts, "", "", 1)

    @on(Auth, mechanism="X-OTP")
    async def authenticate(self, event: Auth) -> Authenticated | Reject:
        """Each challenge is a line to the client and one back. What comes is a stranger's: a user name is text only once it is checked."""
        user = (await event.challenge(b"User:")).decode("utf-8", "replace").strip().lower()
        code = (await event.challenge(b"Code:")).decode("ascii", "replace").strip()
        if await asyncio.to_thread(self._accepts, user, code, int(event.server.now.timestamp()) // _STEP):
            return Authenticated(user)
        self.log.warning("wrong code", user=user[:80], client=event.session.client_ip)
        return Reject(535, "5.7.8", "Authentication credentials invalid")

    def _accepts(self, user: str, code: str, now: int) -> bool:
        with contextlib.closing(sqlite3.connect(self.settings.database, timeout=5)) as database, database:
            database.execute(_TABLE)
            row = database.execute("SELECT secret FROM code WHERE user = ?", (user,)).fetchone()
            secret = base64.b32decode(row[0]) if row else b"nobody's secret, which takes as long"
            step = next((step for step in (now, now - 1, now + 1) if hmac.compare_digest(_code(secret, step).encode(), code.encode())), 0)
            # The row is changed in the same breath, so that a code that was overheard is good for nobody, whichever worker he meets.
            return bool(
                row and step and database.execute("UPDATE code SET last = ? WHERE user = ? AND last < ?", (step, user, step)).rowcount
            )


def _code(secret: bytes, step: int) -> str:
    """The six digits of a step of half a minute (RFC 4226 §5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"
