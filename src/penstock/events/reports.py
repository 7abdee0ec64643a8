"""The reports of transport: what became of a recipient, told after it is recorded; and of the server itself.

Reports cannot be answered, and show snapshots. After a crash a report may be told again for what is done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ..mail.address import Address
from ..mail.envelope import Recipient
from ..mail.reply import Reply
from .event import Report
from .views import MessageSnapshot, ShownRecipient
from .work import Facts


@dataclass(frozen=True, slots=True)
class Timings:
    """How long what took, in seconds, as Postfix logs it (delays=a/b/c/d).

    Args:
        before: from reception until the queue took it up.
        queued: in the queue until a connection was begun or reused.
        connected: for connecting, greeting and TLS.
        sent: for the transaction.
    """

    before: float = 0.0
    queued: float = 0.0
    connected: float = 0.0
    sent: float = 0.0


class RecipientReport(Report):
    """Something became of one recipient of a message."""

    __slots__ = ("_recipient", "message")

    def __init__(self, facts: Facts, message: MessageSnapshot, recipient: Recipient) -> None:
        super().__init__(facts)
        self.message = message
        self._recipient = ShownRecipient.of(recipient)

    @property
    def recipient(self) -> Recipient:
        """The recipient; it cannot be changed any more."""
        return self._recipient

    def recipients_now(self) -> Sequence[Recipient]:
        return (self._recipient,)

    _shown_recipients = recipients_now


class Attempted(RecipientReport):
    """A delivery was tried.

    ``where`` is where it went or should have gone (a path, or a remote server), ``status`` the enhanced status, ``text`` why, ``reply``
    what
    the remote server said, if it did, ``timings`` how long it took.
    """

    __slots__ = ("reply", "status", "text", "timings", "where")

    def __init__(self, facts: Facts, message: MessageSnapshot, recipient: Recipient, told: Told) -> None:
        super().__init__(facts, message, recipient)
        self.where = told.where
        self.status = told.status
        self.text = told.text
        self.reply = told.reply
        self.timings = told.timings


@dataclass(frozen=True, slots=True)
class Told:
    """What a report of a delivery says."""

    where: str = ""
    status: str = ""
    text: str = ""
    reply: Reply | None = None
    timings: Timings = Timings()


class DeliveredReport(Attempted):
    """A recipient was delivered to, here."""

    __slots__ = ()


class Relayed(Attempted):
    """Another server took responsibility for a recipient."""

    __slots__ = ()


class Failed(Attempted):
    """A recipient cannot be delivered to."""

    __slots__ = ()


class Expired(Attempted):
    """A recipient is given up, since it could not be delivered to for too long."""

    __slots__ = ()


class Deferred(Attempted):
    """A recipient is tried again later; ``until`` is when, in seconds since 1970, or 0 when its queue decides."""

    __slots__ = ("until",)

    def __init__(self, facts: Facts, message: MessageSnapshot, recipient: Recipient, told: Told, until: float) -> None:
        super().__init__(facts, message, recipient, told)
        self.until = until


class Expanded(RecipientReport):
    """A recipient was replaced by others: a list or an alias. ``members`` are the addresses it leads to."""

    __slots__ = ("members",)

    def __init__(self, facts: Facts, message: MessageSnapshot, recipient: Recipient, members: tuple[Address, ...]) -> None:
        super().__init__(facts, message, recipient)
        self.members = members


class Dropped(RecipientReport):
    """A recipient was dropped without a report to the sender, by a sink or an administrator; ``reason`` says why."""

    __slots__ = ("by", "reason")

    def __init__(self, facts: Facts, message: MessageSnapshot, recipient: Recipient, reason: str, by: str) -> None:
        super().__init__(facts, message, recipient)
        self.reason = reason
        self.by = by


class Quarantined(RecipientReport):
    """A message was put aside for one of its recipients; ``reason`` says why."""

    __slots__ = ("by", "reason")

    def __init__(self, facts: Facts, message: MessageSnapshot, recipient: Recipient, reason: str, by: str) -> None:
        super().__init__(facts, message, recipient)
        self.reason = reason
        self.by = by


class Step(IntEnum):
    """What can be tracked; the numbers are those of the original's MTE_ ids, which readers of its tracking logs know."""

    QUEUED_OUTBOUND = 1010
    TRANSFERRED_OUTBOUND = 1011
    RECEIVED_INBOUND = 1012
    TRANSFERRED_INBOUND = 1013
    REROUTED = 1014
    REPORT_TRANSFERRED_IN = 1015
    REPORT_TRANSFERRED_OUT = 1016
    REPORT_GENERATED = 1017
    REPORT_ABSORBED = 1018
    SUBMITTED = 1019
    BEGIN_OUTBOUND_TRANSFER = 1020
    BAD_MAIL = 1021
    QUEUE_FAILURE = 1022
    LOCAL_DELIVERY = 1023
    SUBMITTED_TO_CATEGORIZER = 1024
    BEGIN_SUBMIT = 1025
    FAILED = 1026
    ALL_FAILED = 1030
    END_OUTBOUND_TRANSFER = 1031


class Tracked(Report):
    """One trackable step of a message: ``step``, and ``details`` as plain data."""

    __slots__ = ("details", "message", "step")

    def __init__(self, facts: Facts, message: MessageSnapshot, step: Step, details: dict[str, Any]) -> None:
        super().__init__(facts)
        self.message = message
        self.step = step
        self.details = details

    def recipients_now(self) -> Sequence[Recipient]:
        return self.message.recipients

    _shown_recipients = recipients_now


class QueueStateChanged(Report):
    """A queue changed its state: "active", "backing-off", "suspended" or "empty"; ``reason`` says why, ``until`` when it goes on (0:
    unknown)."""

    __slots__ = ("queue", "reason", "state", "until")

    def __init__(self, facts: Facts, queue: str, state: str, reason: str, until: float) -> None:
        super().__init__(facts)
        self.queue = queue
        self.state = state
        self.reason = reason
        self.until = until


class ServerStarted(Report):
    """This worker accepts connections and works on its queues."""

    __slots__ = ()


class ServerStopping(Report):
    """This worker takes no new sessions any more."""

    __slots__ = ()


class ConfigChanged(Report):
    """This worker has reloaded; ``generation`` counts that, and ``changed`` names bindings that are new, gone or changed.

    Those who are told are the bindings of the new generation.
    """

    __slots__ = ("changed", "generation")

    def __init__(self, facts: Facts, generation: int, changed: tuple[str, ...]) -> None:
        super().__init__(facts)
        self.generation = generation
        self.changed = changed


class RoutesChanged(Report):
    """Next hops of what is queued were computed again; ``moved`` is how many messages got another."""

    __slots__ = ("moved",)

    def __init__(self, facts: Facts, moved: int) -> None:
        super().__init__(facts)
        self.moved = moved
