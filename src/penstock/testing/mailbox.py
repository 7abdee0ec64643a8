"""Mailboxes in memory: what the server of a test delivers here, where the configuration says nothing else."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage

from ..events import LocalDelivery
from ..events.sink import Sink, on
from ..events.verdict import Delivered


@dataclass(frozen=True, slots=True)
class Mail:
    """One delivered message.

    Args:
        sender: the reverse-path.
        recipient: whom it was delivered to.
        content: header and body, with all edits.
        at: when, in seconds since 1970.
        id: its queue id.
    """

    sender: str
    recipient: str
    content: bytes
    at: float
    id: str

    @property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        return email.message_from_bytes(self.content, policy=email.policy.SMTP)


class Mailboxes(Sink[None]):
    """Delivers into lists.

    Args:
        now: the time, in seconds since 1970.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.all: list[Mail] = []
        self._now = now

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Delivered:
        """Keeps the message."""
        recipient, message = str(event.recipient.address), event.message
        self.all.append(Mail(str(message.sender), recipient, message.content.read(), self._now(), message.id))
        return Delivered("mailbox")

    def of(self, address: str) -> list[Mail]:
        """What one address got; domains are compared without regard to case."""
        return [mail for mail in self.all if mail.recipient.lower() == address.lower()]
