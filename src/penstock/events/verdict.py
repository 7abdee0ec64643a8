"""What a sink answers: one frozen value, or None to go on.

One result, not three: there is no status beside a return code beside a "consumed" flag. Which event admits which verdict is declared with
the event in ``catalog``; a verdict that its event does not admit is an error of the sink, named in the log. Arguments are checked where the
verdict is made, with TypeError or ValueError: later, nobody could say any more whose they were.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta

from ..mail.address import Address
from ..mail.reply import Reply
from .recipients import as_address, as_recipient

# RFC 3463 §2: class "." subject "." detail.
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The root of all verdicts; never returned itself."""


@dataclass(frozen=True, slots=True)
class _Refusal(Verdict):
    """A verdict that the client hears about as a reply."""

    code: int
    enhanced: str
    text: str

    def __post_init__(self) -> None:
        name = type(self).__name__
        low, high = _CODES[name]
        must_be(self, "code", int)
        if not low <= self.code <= high:
            raise ValueError(f"{name} takes a code from {low} to {high}, not {self.code}")
        must_be(self, "text", str)
        must_be(self, "enhanced", str)
        if not self.enhanced:
            return
        check_enhanced(self, self.enhanced)
        # RFC 2034 §4: the class of the status code matches the first digit of the reply code; 3xx has no class.
        if self.code >= 400 and self.enhanced[0] != str(self.code)[0]:
            raise ValueError(f"{name}: the enhanced code {self.enhanced!r} does not go with the code {self.code}")

    @property
    def reply(self) -> Reply:
        """The reply that goes over the wire."""
        return Reply(self.code, self.enhanced, self.text)


def must_be(verdict: Verdict, argument: str, kind: type) -> None:
    """Raises TypeError for an argument of another type."""
    value = getattr(verdict, argument)
    if not isinstance(value, kind):
        raise TypeError(f"{type(verdict).__name__}: {argument} is a {kind.__name__}, not {value!r}")


def _must_not_be_negative(verdict: Verdict, argument: str) -> None:
    must_be(verdict, argument, timedelta)
    if getattr(verdict, argument) < timedelta(0):
        raise ValueError(f"{type(verdict).__name__}: {argument} is below zero")


def check_enhanced(verdict: Verdict, enhanced: str) -> None:
    """Raises ValueError for what is no enhanced status code (RFC 3463)."""
    if not _ENHANCED.fullmatch(enhanced):
        raise ValueError(f"{type(verdict).__name__}: enhanced is a status code such as '5.7.1' (RFC 3463), not {enhanced!r}")


MAX_USER = 255
_CODES = {"Reject": (500, 599), "Defer": (400, 499), "Disconnect": (400, 599), "Respond": (200, 599)}


@dataclass(frozen=True, slots=True)
class Reject(_Refusal):
    """Refuses for good: the client gets this reply.

    Args:
        code: 500 to 599.
        enhanced: the enhanced status code (RFC 3463).
        text: what the client reads.
    """

    code: int = 550
    enhanced: str = "5.7.1"
    text: str = "Refused by policy"


@dataclass(frozen=True, slots=True)
class Defer(_Refusal):
    """Not now: on the wire a 4xx reply, in transport another try later.

    Args:
        code: 400 to 499, on the wire.
        enhanced: the enhanced status code (RFC 3463).
        text: what the client reads.
        after: in transport, when to try again; None for the retry schedule.
    """

    code: int = 451
    enhanced: str = "4.3.0"
    text: str = "Please try again later"
    after: timedelta | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _Refusal.__post_init__(self)
        if self.after is not None:
            _must_not_be_negative(self, "after")


@dataclass(frozen=True, slots=True)
class Disconnect(_Refusal):
    """Sends this reply and ends the session.

    Args:
        code: 421 is what a server says that goes away (RFC 5321 §3.8); 400 to 599.
        enhanced: the enhanced status code (RFC 3463).
        text: what the client reads.
    """

    code: int = 421
    enhanced: str = "4.3.2"
    text: str = "Closing connection"


@dataclass(frozen=True, slots=True)
class Respond(_Refusal):
    """Answers in place of the server: a verb's reply, or the banner at Connected.

    Args:
        code: 200 to 599.
        enhanced: the enhanced status code, "" for none.
        text: what the client reads; ``\\n`` separates lines.
    """

    code: int = 250
    enhanced: str = "2.0.0"
    text: str = "Ok"


@dataclass(frozen=True, slots=True)
class Delay(Verdict):
    """Lets the client wait before the banner.

    Args:
        time: how long.
    """

    time: timedelta

    def __post_init__(self) -> None:
        _must_not_be_negative(self, "time")


@dataclass(frozen=True, slots=True)
class Rewrite(Verdict):
    """Puts another address in the place of the one that was given, and goes on with the next binding.

    Args:
        address: the new address.
    """

    address: Address | str

    def __post_init__(self) -> None:
        as_address(self.address)


@dataclass(frozen=True, slots=True)
class Discard(Verdict):
    """Says yes to the client and keeps nothing: of the message, or of this recipient.

    Args:
        reason: for log and reports.
    """

    reason: str = ""

    def __post_init__(self) -> None:
        must_be(self, "reason", str)


@dataclass(frozen=True, slots=True)
class Quarantine(Verdict):
    """Keeps the message in the spool, held, until an administrator decides.

    Args:
        reason: why, for the listing.
    """

    reason: str = "quarantined by a sink"

    def __post_init__(self) -> None:
        must_be(self, "reason", str)


@dataclass(frozen=True, slots=True)
class Drop(Verdict):
    """Ends the message without telling its sender.

    Args:
        reason: for log and reports.
    """

    reason: str = ""

    def __post_init__(self) -> None:
        must_be(self, "reason", str)


@dataclass(frozen=True, slots=True)
class Bounce(Verdict):
    """Ends the message, or this recipient, and tells the sender with a DSN (RFC 3464).

    Args:
        enhanced: the status that the DSN gives, e.g. "5.1.1" (RFC 3463).
        text: the reason that the DSN gives.
    """

    enhanced: str = "5.0.0"
    text: str = "The message could not be delivered"

    def __post_init__(self) -> None:
        must_be(self, "enhanced", str)
        must_be(self, "text", str)
        check_enhanced(self, self.enhanced)
        if self.enhanced[0] == "2":
            raise ValueError(f"Bounce: {self.enhanced!r} is the status of a success; give '5.x.x', or '4.x.x'")


@dataclass(frozen=True, slots=True)
class Authenticated(Verdict):
    """The client is who it says: the session has this user from now on.

    Args:
        user: the name by which sinks, log and ``Match(user=...)`` know it; not empty, printable.
    """

    user: str

    def __post_init__(self) -> None:
        must_be(self, "user", str)
        # It ends up in log lines and in Received, and in conditions.
        if not self.user or not self.user.isprintable() or len(self.user) > MAX_USER:
            raise ValueError(f"Authenticated: user should be 1 to {MAX_USER} printable characters, not {self.user[:80]!r}")


@dataclass(frozen=True, slots=True)
class Delivered(Verdict):
    """This recipient has the message, durably.

    Args:
        where: for log and reports, e.g. a path.
    """

    where: str = ""

    def __post_init__(self) -> None:
        must_be(self, "where", str)


@dataclass(frozen=True, slots=True)
class Forward(Verdict):
    """This recipient is served by sending to other addresses instead.

    Args:
        addresses: where to.
    """

    addresses: tuple[Address | str, ...]

    def __post_init__(self) -> None:
        must_be(self, "addresses", tuple)
        if not self.addresses:
            raise ValueError("Forward: addresses is empty")
        for address in self.addresses:
            as_recipient(address)
