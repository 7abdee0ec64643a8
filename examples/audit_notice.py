"""Sends a new message from inside a sink: a notice to the auditors about mail that comes from outside for the board.

Bind it with:

    [[binding]]
    name = "audit-notice"
    sink = "audit_notice:AuditNotice"
    match = { recipient = "board@example.com" }
    settings = { auditors = ["audit@example.com"] }
"""

from dataclasses import dataclass
from email.message import EmailMessage

from penstock import Sink, on
from penstock.events import Submission


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Who is told.

    Args:
        auditors: their addresses.
    """

    auditors: list[str]


class AuditNotice(Sink[AuditSettings]):
    """Tells the auditors who wrote to whom; the message itself goes on untouched."""

    @on(Submission)
    async def notify(self, event: Submission) -> None:
        """``submit`` returns when the notice is as safe as any accepted mail. It is not shown to this sink again, so there is no loop."""
        written_to = ", ".join(str(recipient.address) for recipient in event.matched_recipients)
        notice = EmailMessage()
        notice["From"] = f"postmaster@{event.server.hostname}"
        notice["To"] = ", ".join(self.settings.auditors)
        notice["Subject"] = f"Mail for {written_to}"
        notice.set_content(f"<{event.message.sender}> wrote to {written_to}; message {event.message.id}.\n")
        # The null sender: should the notice bounce, nobody is told in turn.
        message = event.server.new_message(sender="", recipients=self.settings.auditors, content=notice)
        await event.server.submit(message)
