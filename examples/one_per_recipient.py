"""Splits a message into one for each recipient, so that later sinks may treat each of them differently.

Bind it with:

    [[binding]]
    name = "one-per-recipient"
    sink = "one_per_recipient:OnePerRecipient"

    [[binding]]
    name = "personal-footer"
    sink = "one_per_recipient:MarkRecipient"
    priority = 28000                    # after the one above, so once for each copy
"""

from penstock import Sink, on
from penstock.events import Submission


class OnePerRecipient(Sink):
    """Leaves the first recipient where he is and gives every other one a copy of his own."""

    @on(Submission)
    async def split(self, event: Submission) -> None:
        """``fork`` moves a recipient, with its properties, to a copy that goes on after this sink; content is shared, not copied."""
        for recipient in event.message.recipients[1:]:
            event.message.fork([recipient])


class MarkRecipient(Sink):
    """Writes into each copy whom it is for."""

    @on(Submission)
    async def mark(self, event: Submission) -> None:
        """Without the split above, all recipients would see each other here."""
        names = ", ".join(str(recipient.address) for recipient in event.message.recipients)
        event.message.header.replace("X-Copy-For", names)
