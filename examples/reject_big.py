"""Refuses big messages while the client still listens, so that the sender learns of it and no bounce is ever written.

Bind it with:

    [[binding]]
    name = "reject-big"
    sink = "reject_big:RejectBig"
    match = { recipient = "*@example.com" }
    settings = { octets = 1_000_000 }
"""

from dataclasses import dataclass

from penstock import Sink, on
from penstock.events import EndOfData, RcptTo
from penstock.verdicts import Reject


@dataclass(frozen=True, slots=True)
class RejectBigSettings:
    """How big is too big.

    Args:
        octets: the largest message that is taken, header included.
    """

    octets: int = 10_000_000


class RejectBig(Sink[RejectBigSettings]):
    """Refuses at RCPT what a client announces with SIZE, before it is sent, and at the end what was not announced."""

    @on(RcptTo, blocking=False)
    def early(self, event: RcptTo) -> Reject | None:
        """A client may lie, or say nothing: then the size is 0 or None here."""
        return self._judge(event.message.parameters.size or 0)

    @on(EndOfData, blocking=False)
    def late(self, event: EndOfData) -> Reject | None:
        """A Reject here refuses the whole message, for all its recipients."""
        return self._judge(event.message.size)

    def _judge(self, size: int) -> Reject | None:
        limit = self.settings.octets
        return Reject(552, "5.3.4", f"At most {limit} octets, please; these are {size}") if size > limit else None
