"""The verdicts of routing, delivery and reports: what a sink answers once a message is in transport, beside those of ``verdict``.

They stand apart only for the length of the file; to a sink author all verdicts are in ``penstock.verdicts``.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from ..mail.address import Address
from ..mail.envelope import Recipient
from ..mail.nexthop import NextHop
from ..mail.reply import Reply
from .verdict import Bounce, Verdict, check_enhanced, must_be


@dataclass(frozen=True, slots=True)
class Skip(Verdict):
    """Leaves the message for another connection: it goes back to its queue as if it had not been taken.

    Args:
        reason: for the log.
    """

    reason: str = ""

    def __post_init__(self) -> None:
        must_be(self, "reason", str)


@dataclass(frozen=True, slots=True)
class Reroute(Verdict):
    """Sends what is left of the message to another next hop.

    Args:
        next_hop: e.g. "relay.example:25", "[192.0.2.1]:25", "lmtp:[127.0.0.1]:24" or "mx:example.com".
    """

    next_hop: NextHop | str

    def __post_init__(self) -> None:
        as_next_hop(self.next_hop)


@dataclass(frozen=True, slots=True)
class TreatAs(Verdict):
    """Goes on as if the remote server had answered this.

    Args:
        code: 200 to 599; the first digit decides what happens.
        enhanced: the enhanced status code, "" for none (RFC 3463).
        text: what log and DSN say in place of the server's words.
    """

    code: int
    enhanced: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        must_be(self, "code", int)
        if not 200 <= self.code <= 599:
            raise ValueError(f"TreatAs takes a code from 200 to 599, not {self.code}")
        must_be(self, "text", str)
        if self.enhanced:
            check_enhanced(self, self.enhanced)

    @property
    def reply(self) -> Reply:
        """The reply that takes the place of the server's."""
        return Reply(self.code, self.enhanced, self.text or "replaced by a sink")


@dataclass(frozen=True, slots=True)
class Retry(Verdict):
    """Sends the same command again, edited or not, once.

    Args:
        line: the command line to send; "" for the same again.
    """

    line: str = ""

    def __post_init__(self) -> None:
        must_be(self, "line", str)


@dataclass(frozen=True, slots=True)
class RouteTo(Verdict):
    """Says where a recipient's mail goes next, in which class, and when.

    Args:
        next_hop: as with Reroute; "local" for a delivery here.
        message_class: a class that gets a queue of its own at that next hop; "" for the common one.
        schedule: when the queue is worked on: "" for always, "on-demand" for when somebody asks (ETRN), or times of the week such as
            "mon-fri 20:00-06:00, sat-sun" in local time.
    """

    next_hop: NextHop | str
    message_class: str = ""
    schedule: str = ""

    def __post_init__(self) -> None:
        as_next_hop(self.next_hop)
        must_be(self, "message_class", str)
        if not all(c.isalnum() or c in "-_." for c in self.message_class) or len(self.message_class) > 64:
            raise ValueError(f"RouteTo: message_class takes letters, digits, '-', '_' and '.', not {self.message_class!r}")
        must_be(self, "schedule", str)


@dataclass(frozen=True, slots=True)
class Unreachable(Verdict):
    """There is no way to this destination: the recipient is bounced.

    Args:
        enhanced: the status that the DSN gives (RFC 3463).
        text: the reason that the DSN gives.
    """

    enhanced: str = "5.4.4"
    text: str = "There is no route to the destination"

    def __post_init__(self) -> None:
        Bounce(self.enhanced, self.text)


@dataclass(frozen=True, slots=True)
class Hold(Verdict):
    """Keeps what goes to this destination in the queue, held, until an administrator or a sink releases it.

    Args:
        reason: why, for the listing.
    """

    reason: str = "held by a sink"

    def __post_init__(self) -> None:
        must_be(self, "reason", str)


@dataclass(frozen=True, slots=True)
class Addresses(Verdict):
    """The addresses of a host, in place of what DNS says.

    Args:
        addresses: IP addresses as text, in the order in which they are tried.
    """

    addresses: tuple[str, ...] | list[str]

    def __post_init__(self) -> None:
        if not self.addresses:
            raise ValueError("Addresses: at least one address is needed; NotFound says that there is none")
        for address in self.addresses:
            ip_address(address)


@dataclass(frozen=True, slots=True)
class NotFound(Verdict):
    """There is no such host, whatever DNS says."""


@dataclass(frozen=True, slots=True)
class Allow(Verdict):
    """Lets pass what a limit would refuse."""


@dataclass(frozen=True, slots=True)
class Suppress(Verdict):
    """Sends no report.

    Args:
        reason: for the log.
    """

    reason: str = ""

    def __post_init__(self) -> None:
        must_be(self, "reason", str)


@dataclass(frozen=True, slots=True)
class Split(Verdict):
    """Splits a message: each group of recipients goes on with a copy of its own, which shares the content.

    Args:
        groups: recipients, or their addresses; who is in no group stays with the message.
    """

    groups: tuple[tuple[Recipient | Address | str, ...], ...]

    def __post_init__(self) -> None:
        must_be(self, "groups", tuple)
        if not all(self.groups):
            raise ValueError("Split: each group is a tuple of at least one recipient")


def as_next_hop(value: NextHop | str) -> NextHop:
    """The next hop, parsed where it is text. Raises ValueError, TypeError."""
    if isinstance(value, NextHop):
        return value
    if not isinstance(value, str):
        raise TypeError(f"a next hop is text such as 'relay.example:25', not {value!r}")
    return NextHop.parse(value)
