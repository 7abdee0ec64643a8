"""Journals mail: for each message that is to be kept, a report with its envelope, and the message itself within, octet for octet.

Bind it with:

    [[binding]]
    name = "journal"
    sink = "journal:Journal"
    priority = 8191                     # before those that edit: the journal is of what came
    settings = { mailbox = "journal@archive.example" }
"""

import secrets
from dataclasses import dataclass
from email.utils import format_datetime, make_msgid

from penstock import Sink, on
from penstock.events import Submission


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Where the reports go.

    Args:
        mailbox: the journal's address.
    """

    mailbox: str


class Journal(Sink[JournalSettings]):
    """The envelope tells what the header does not: blind copies, and who was written to when a list was."""

    @on(Submission)
    async def report(self, event: Submission) -> None:
        """``submit`` returns when the report is safe, and raises when it cannot be: then the message waits, and does not pass unseen."""
        message, state = event.message, event.message.state
        if "journal" in state or str(message.sender) == self.settings.mailbox:
            return
        envelope = [
            f"Sender: {message.sender}",
            *(f"Recipient: {recipient.address}" for recipient in message.recipients),
            f"Received: {format_datetime(message.received)}",
            f"Queue-Id: {message.id}",
            f"Origin: {event.origin}",
        ]
        boundary = f"journal-{secrets.token_hex(16)}"
        head = [
            f"From: <postmaster@{event.server.hostname}>",
            f"To: <{self.settings.mailbox}>",
            f"Subject: Journal of {message.id}",
            f"Date: {format_datetime(message.received)}",
            f"Message-ID: {make_msgid(domain=event.server.hostname)}",
            "MIME-Version: 1.0",
            "Auto-Submitted: auto-generated",
            f'Content-Type: multipart/mixed; boundary="{boundary}"',
        ]
        top = [*head, "", f"--{boundary}", "Content-Type: text/plain; charset=utf-8", "", *envelope, f"--{boundary}"]
        start = "\r\n".join([*top, "Content-Type: message/rfc822", "Content-Disposition: attachment", "", ""]).encode()
        content = start + await message.read() + f"\r\n--{boundary}--\r\n".encode()
        # Nobody is to be told when the journal cannot be delivered to but the administrator, who sees the queue.
        report = event.server.new_message(sender="", recipients=[self.settings.mailbox], content=content)
        state["journal"] = await event.server.submit(report)
