"""The events of a message in transport: from its addresses to its next hops, and the reports that are sent about it.

Each stage is recorded when it is over; after a crash its sinks are asked again, and ``attempt`` says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Never

from ..mail.envelope import Recipient
from ..mail.message import keep_recipient
from ..mail.nexthop import NextHop
from . import verdict as v
from . import verdict_transit as t
from .event import Answered, Event, MessageEvent, SessionEvent
from .resolve import Item
from .views import ShownRecipient
from .work import Facts, MessageWork, Scope

StageVerdict = v.Drop | v.Bounce | v.Defer | v.Quarantine


class PreCategorize(MessageEvent, Answered[StageVerdict]):
    """The addresses of a message are about to be resolved."""

    stage = True
    __slots__ = ()


class Resolve(MessageEvent, Answered[Never]):
    """A batch of addresses, the sender's and recipients', is to be resolved in the directories.

    ``items`` are the addresses that are not decided yet, and those that this batch decided already; each is resolved, rewritten, expanded,
    forwarded, failed or put off by its own methods. What a directory leads to is asked about in the next batch. ``round`` counts the
    batches of a message from 1.
    """

    stage = True
    __slots__ = ("_items", "kept", "round")

    def __init__(self, facts: Facts, items: Sequence[Item], number: int, attempt: int = 1) -> None:
        super().__init__(facts, attempt)
        self.kept = tuple(items)
        self.round = number
        self._items: tuple[Item, ...] | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        """The addresses; what a handler decides counts when it returns."""
        if self._items is None:
            self._items = tuple(item.copy() for item in self.kept)
        return self._items

    @property
    def open(self) -> tuple[Item, ...]:
        """Those of the items that nobody has decided yet."""
        return tuple(item for item in self.items if not item.decided)

    def begin(self, scope: Scope) -> None:
        super().begin(scope)
        self._items = None

    def commit(self) -> None:
        # What can be refused comes first; a copy is kept, since the handler may hold on to its own.
        kept = self.kept if self._items is None else tuple(_kept_item(item) for item in self._items)
        super().commit()
        self.kept = kept


def _kept_item(item: Item) -> Item:
    """The item as it can be kept. Raises TypeError for attributes that are not plain data."""
    kept = item.copy()
    if kept.attributes:
        kept.attributes = keep_recipient(Recipient(kept.address, properties=kept.attributes)).properties
    return kept


class Categorized(MessageEvent, Answered[StageVerdict | t.Split]):
    """All addresses are resolved. ``variants`` are the groups of recipients that need a copy of their own, the common group first.

    A Split makes a copy for each of its groups; the next binding is asked about each of them.
    """

    edits = (t.Split,)
    stage = True
    __slots__ = ("variants",)

    def __init__(self, facts: Facts, variants: tuple[tuple[Recipient, ...], ...], attempt: int = 1) -> None:
        super().__init__(facts, attempt)
        self.variants = variants

    def judge(self, verdict: v.Verdict) -> object:
        assert isinstance(verdict, t.Split)
        # The copies are drafts like all else that a handler makes: they count when the event is committed.
        for group in verdict.groups:
            self.message.fork(group)
        return verdict

    def edit(self, edit: object) -> None:
        """Does nothing more: the copies came to count with the commit."""


class PostCategorize(MessageEvent, Answered[StageVerdict]):
    """The recipients are final."""

    stage = True
    __slots__ = ()


class Route(MessageEvent, Answered[t.RouteTo | t.Unreachable | t.Hold]):
    """A next hop is wanted for the recipients of one domain.

    ``destination`` is the domain, ``recipients`` are those who go there, for reading, ``proposal`` is what has been proposed so far, which
    a handler may replace by answering with another RouteTo, or leave; it is None where no way is known. All bindings are asked: a RouteTo
    goes on with the next one; Unreachable and Hold are final.
    """

    edits = (t.RouteTo,)
    __slots__ = ("_routed", "destination", "message_class", "proposal")

    def __init__(self, facts: Facts, destination: str, recipients: tuple[Recipient, ...], proposal: t.RouteTo | None) -> None:
        super().__init__(facts)
        self.destination = destination
        self._routed = recipients
        self.message_class = facts.message.record.message_class if facts.message else ""
        self.proposal = proposal

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Who goes there."""
        return tuple(ShownRecipient.of(recipient) for recipient in self._routed)

    @property
    def next_hop(self) -> NextHop | None:
        """The next hop of the present proposal, if there is one."""
        return t.as_next_hop(self.proposal.next_hop) if self.proposal is not None else None

    def recipients_now(self) -> Sequence[Recipient]:
        return self._routed

    def _shown_recipients(self) -> Sequence[Recipient]:
        return self.recipients

    def judge(self, verdict: v.Verdict) -> t.RouteTo:
        assert isinstance(verdict, t.RouteTo)
        return verdict

    def edit(self, edit: object) -> None:
        assert isinstance(edit, t.RouteTo)
        self.proposal = edit


class ResolveHost(Event, Answered[t.Addresses | t.NotFound]):
    """The addresses of a host are wanted for a connection; ``kind`` is "mx" for a domain's mail servers and "address" for a host's
    addresses.

    With Addresses or NotFound, DNS is not asked.
    """

    __slots__ = ("kind", "name", "next_hop")

    def __init__(self, facts: Facts, name: str, kind: Literal["mx", "address"], next_hop: str) -> None:
        super().__init__(facts)
        self.name = name
        self.kind = kind
        self.next_hop = next_hop


class MaxMessageSize(SessionEvent, Answered[t.Allow | v.Reject]):
    """Content is larger than the limit: as MAIL SIZE= declares it, or as it comes. ``size`` is what is known of it, in octets."""

    __slots__ = ("limit", "size")

    def __init__(self, facts: Facts, size: int, limit: int) -> None:
        super().__init__(facts)
        self.size = size
        self.limit = limit


class Notice(MessageEvent, Answered[t.Suppress]):
    """A report (DSN) is about to be sent: ``message`` is the report itself, and may be edited; ``about`` is the id of the message it is
    about.

    ``recipients`` are those that the report tells of, and ``reasons`` what it says of each.
    """

    __slots__ = ("about", "reasons", "recipients")

    def __init__(self, facts: Facts, about: MessageWork, recipients: tuple[Recipient, ...], reasons: tuple[str, ...]) -> None:
        super().__init__(facts)
        self.about = about.record.id
        self.recipients = recipients
        self.reasons = reasons

    def recipients_now(self) -> Sequence[Recipient]:
        return self.recipients

    _shown_recipients = recipients_now


class Bounce(Notice):
    """A failure report is about to be sent (RFC 3464, action "failed")."""

    __slots__ = ()


class DelayNotice(Notice):
    """A delay report is about to be sent (RFC 3464, action "delayed")."""

    __slots__ = ()


class SuccessNotice(Notice):
    """A report of success is about to be sent: actions "delivered", "relayed" or "expanded" (RFC 3464)."""

    __slots__ = ()


__all__ = [
    "Bounce",
    "Categorized",
    "DelayNotice",
    "Item",
    "MaxMessageSize",
    "Notice",
    "PostCategorize",
    "PreCategorize",
    "Resolve",
    "ResolveHost",
    "Route",
    "SuccessNotice",
]
