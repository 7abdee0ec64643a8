"""Answers mail while somebody is away: once a sender, and never a list, a report, or another machine (RFC 3834).

Bind it with:

    [[binding]]
    name = "away-ann"
    sink = "autoresponder:Autoresponder"
    match = { recipient = "ann@example.com", header = { To = "*ann@example.com*" } }
    settings = { text = "I am away until Monday.", database = "answered.db" }
"""

import asyncio
import contextlib
import re
import sqlite3
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from penstock import MessageSnapshot, Sink, on
from penstock.events import Delivered

_TABLE = "CREATE TABLE IF NOT EXISTS answered (owner TEXT, sender TEXT, at REAL, PRIMARY KEY (owner, sender))"
_NOTE = "INSERT INTO answered VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at WHERE excluded.at - at >= ?"
# RFC 3834 §2: responders should not answer what lists send, nor addresses that people do not read.
_MACHINES = re.compile(r"(owner-.*|.*-(request|owner|bounces?)|mailer-daemon|no-?reply|listserv|majordomo|postmaster)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AwaySettings:
    """What is said, and how often.

    Args:
        text: the answer.
        database: an SQLite file that remembers who was answered, made when it is missing.
        days: after which a sender is answered again.
    """

    text: str
    database: Path
    days: float = 7.0


class Autoresponder(Sink[AwaySettings]):
    """Listens to Delivered: only what has arrived is answered, and nothing that goes wrong here can keep mail from arriving."""

    async def start(self) -> None:
        """Makes the table."""
        await asyncio.to_thread(self._ask, _TABLE, ())

    @on(Delivered)
    async def answer(self, event: Delivered) -> None:
        """The answer comes from nobody (RFC 3834 §3.3), so that nothing ever answers it."""
        message, owner = event.message, event.recipient.address
        now = event.server.now
        if _is_automatic(message) or not await asyncio.to_thread(
            self._ask, _NOTE, (str(owner), str(message.sender).lower(), now.timestamp(), self.settings.days * 86400)
        ):
            return
        answer = EmailMessage()
        answer["From"], answer["To"] = str(owner), str(message.sender)
        answer["Subject"] = f"Auto: {message.header.get('Subject', 'your message')}"
        answer["Date"], answer["Auto-Submitted"] = format_datetime(now), "auto-replied"
        if identity := message.header.get("Message-ID"):
            answer["In-Reply-To"] = answer["References"] = identity
        answer.set_content(self.settings.text)
        await event.server.submit(event.server.new_message(sender="", recipients=[message.sender], content=answer))

    def _ask(self, statement: str, values: tuple[object, ...]) -> bool:
        with contextlib.closing(sqlite3.connect(self.settings.database, timeout=5)) as database, database:
            return database.execute(statement, values).rowcount > 0


def _is_automatic(message: MessageSnapshot) -> bool:
    header, sender = message.header, message.sender
    return (
        sender.is_null
        or _MACHINES.fullmatch(sender.local) is not None
        or (header.get("Auto-Submitted") or "no").lower() != "no"
        or (header.get("Precedence") or "").lower() in ("bulk", "list", "junk")
        or any(field.name.lower().startswith("list-") for field in header)
    )
