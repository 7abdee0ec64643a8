"""What came of one recipient at one try, in the words that settling, reports and DSNs need; whoever delivers fills it in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol

from ..events.dispatch import Step
from ..events.reports import Timings
from ..events.work import MessageWork
from ..mail.address import Address
from ..mail.envelope import Recipient
from ..mail.reply import Reply
from ..storage.base import Entry

NO_TIMINGS = Timings()


class Action(Enum):
    """What became of a recipient."""

    DELIVERED = "delivered"  # finally, here or by LMTP
    RELAYED = "relayed"  # another MTA took responsibility
    DEFERRED = "deferred"
    FAILED = "failed"
    DROPPED = "dropped"  # a sink wanted no report
    FORWARDED = "forwarded"  # others take its place, from the beginning of categorizing
    REROUTED = "rerouted"  # it goes on to another next hop
    UNSERVED = "unserved"  # no sink takes it
    EXPIRED = "expired"  # deferred for too long; settling makes this of DEFERRED, nobody else
    EXPANDED = "expanded"  # replaced by several others; categorizing says so, for the report (RFC 3461 §5.2.7.3)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one recipient.

    Args:
        recipient: who.
        action: what.
        status: the enhanced status code, e.g. "4.4.1" (RFC 3463).
        text: why, in words of ours.
        reply: what the remote server said, None when nobody did.
        remote: its host name, "" for a delivery here.
        address: its address, or where the message was put.
        after: with DEFERRED, when to try again; None for the schedule.
        wide: with DEFERRED, that the whole destination failed, not this message: its due time stays, and the queue backs off.
        to: with FORWARDED, the addresses.
        next_hop: with REROUTED, the queue it goes to.
        by: the binding that decided it, "" when it was none.
        timings: how long what took.
        dsn: with RELAYED, that the remote server takes over reporting success, as it offered DSN (RFC 3461 §5.2.1).
        uncertain: the connection was lost after the whole content was sent: the next try may deliver a second copy (RFC 1047).
    """

    recipient: Recipient
    action: Action
    status: str = ""
    text: str = ""
    reply: Reply | None = None
    remote: str = ""
    address: str = ""
    after: timedelta | None = None
    wide: bool = False
    to: tuple[Address, ...] = ()
    next_hop: str = ""
    by: str = ""
    timings: Timings = NO_TIMINGS
    dsn: bool = False
    uncertain: bool = False


class Handover(Protocol):
    """What a delivery sees of transport."""

    def load(self, job: MessageWork | Entry) -> MessageWork | None:
        """The message of a job, with its content; None when it is gone or held meanwhile.

        Raises: StorageDamaged; msgspec.DecodeError for a record that cannot be read; SpoolDamaged, and then nothing more is given out.
        """

    def served(self, work: MessageWork, results: list[Result], left: list[Recipient]) -> None:
        """Records who has the message by now, while those who are left are still being served: a crash then repeats only that.

        All of the results are handed to ``settle`` again in the end.
        """

    def settle(self, work: MessageWork, queue: str, results: list[Result]) -> Step:
        """Records what came of a try, in one atomic group; every recipient of the message is in exactly one of the results.

        Nearly always done when it returns. A coroutine is returned where a sink has to be waited for that is asked about a report, or a
        disk: it is to be awaited, and the message is worked on until then (``Destination.finished`` comes after it).
        """
