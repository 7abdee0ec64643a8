"""What the directories' decisions come to: the recipients of a message after its addresses are resolved, without any asking.

An address that leads to others is followed until nothing new comes up. Each address is followed once in a message, however many ways lead
to it, so that lists within lists cost what they have members; an address that leads back to itself is a loop and fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..events.resolve import Item
from ..mail.address import Address
from ..mail.envelope import Recipient
from ..mail.message import MessageRecord
from .outcome import Action, Result
from .refused import refusal_of

# Addresses in one question, so that a list of thousands does not make one of thousands.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where following addresses ends.

    Args:
        members: how many addresses one message may come to.
        nesting: how many addresses may lead to one another.
        is_local: whether a domain is ours.
    """

    members: int
    nesting: int
    is_local: Callable[[str], bool]


@dataclass(slots=True)
class Lead:
    """An address that is to be asked about: the recipient that it stands for, and which recipient of the message led to it.

    ``recipient`` is None for the sender.
    """

    address: Address
    recipient: Recipient | None = None
    trail: tuple[str, ...] = ()
    root: Address | None = None
    attributes: dict[str, object] = field(default_factory=dict)

    def item(self) -> Item:
        """The lead as directories see it."""
        kind = "sender" if self.recipient is None else "recipient"
        return Item(self.address, kind, self.recipient, dict(self.attributes), self.trail)  # type: ignore[arg-type]


class Resolution:
    """The addresses of one message while they are resolved.

    Args:
        record: the message.
        bounds: where following addresses ends.
    """

    def __init__(self, record: MessageRecord, bounds: Bounds) -> None:
        self.sender = record.envelope.sender
        self.variants = dict(record.variants)
        self.results: list[Result] = []
        self.expanded: list[Result] = []
        self.sender_waits = ""
        self._bounds = bounds
        self._open: list[Lead] = []
        self._seen: set[tuple[str, str]] = set()
        self._kept: dict[tuple[str, str, str], tuple[Recipient, Address | None]] = {}
        self._loops: list[Lead] = []
        if not self.sender.is_null:
            self._open.append(Lead(self.sender))
        for recipient in record.envelope.recipients:
            self.add(recipient)

    def add(self, recipient: Recipient) -> None:
        """Adds a recipient of the message itself; nobody is asked about one that was refused already."""
        refusal = refusal_of(recipient.route)
        if refusal is not None:
            self._fail(recipient, *refusal)
            return
        self._seen.add(self._key(recipient.address))
        self._open.append(Lead(recipient.address, recipient, root=recipient.address))

    def drop(self, roots: set[Address]) -> None:
        """Forgets recipients of the message, and all that they led to."""
        self._open = [lead for lead in self._open if lead.root not in roots]
        self._loops = [lead for lead in self._loops if lead.root not in roots]
        self._kept = {key: value for key, value in self._kept.items() if value[1] not in roots}

    def batch(self) -> list[Lead]:
        """What is to be asked about next; empty when all is decided."""
        taken, self._open = self._open[:BATCH], self._open[BATCH:]
        return taken

    def take(self, leads: Sequence[Lead], items: Sequence[Item]) -> None:
        """Carries out what was decided about a batch."""
        for lead, item in zip(leads, items, strict=True):
            if lead.recipient is None:
                self._take_sender(lead, item)
            else:
                self._take(lead, lead.recipient, item)

    def recipients(self) -> list[Recipient]:
        """Those to whom the message goes; called once, at the end."""
        kept = {self._key(recipient.address) for recipient, _ in self._kept.values()}
        for lead in self._loops:
            # Who has a copy anyway, such as one who forwards and keeps, loses nothing by the loop.
            if self._key(lead.address) not in kept and lead.recipient is not None:
                self._fail(lead.recipient, "5.4.6", f"The address leads back to itself: {' -> '.join([*lead.trail, str(lead.address)])}")
        return [recipient for recipient, _ in self._kept.values()]

    def _take_sender(self, lead: Lead, item: Item) -> None:
        if item.decision == "rewritten" and str(item.members[0]) not in (*lead.trail, str(lead.address)):
            self.sender = item.members[0]
            if len(lead.trail) < self._bounds.nesting:
                self._open.append(Lead(self.sender, None, (*lead.trail, str(lead.address))))
        elif item.decision == "deferred":
            self.sender_waits = item.text

    def _take(self, lead: Lead, recipient: Recipient, item: Item) -> None:
        if item.attributes and item.decision in ("", "resolved", "delivered-by", "rewritten"):
            recipient = recipient.copy()
            recipient.properties["attributes"] = {**recipient.properties.get("attributes", {}), **item.attributes}
        if item.decision == "failed":
            if recipient.address.is_postmaster and self._bounds.is_local(recipient.address.domain):
                # RFC 5321 §4.5.1: mail to postmaster is accepted in each domain for which the server takes mail.
                self._keep(lead, recipient)
            else:
                self._fail(recipient, item.status, item.text)
        elif item.decision == "deferred":
            self.results.append(Result(recipient, Action.DEFERRED, item.status, item.text))
        elif item.decision == "rewritten":
            self._follow(lead, _moved(recipient, item.members[0]))
        elif item.decision in ("expanded", "forwarded"):
            self._expand(lead, recipient, item)
        else:
            if item.decision == "delivered-by":
                recipient = recipient.copy()
                recipient.route = item.route
            self._keep(lead, recipient)

    def _expand(self, lead: Lead, recipient: Recipient, item: Item) -> None:
        members = tuple(dict.fromkeys(item.members))
        if not members:
            self._fail(recipient, "5.2.4", "The list has no members")
            return
        if len(self._seen) + len(members) > self._bounds.members:
            self._fail(recipient, "5.2.4", f"The list is too large: a message goes to at most {self._bounds.members} addresses")
            return
        bare = recipient.copy()
        bare.properties.pop("attributes", None)
        if item.sender is not None:
            name = f"sender:{item.sender}"
            self.variants[name] = str(item.sender)
            bare.variant = name
        for member in members:
            if item.decision == "forwarded" and self._key(member) == self._key(recipient.address):
                self._keep(lead, recipient)
                continue
            self._follow(lead, _redirected(bare, member, of_list=item.sender is not None, alone=len(members) == 1))
        if item.sender is not None and "success" in recipient.notify:
            # RFC 3461 §5.2.7.1: for a list this is the final delivery, and "a "delivered" DSN MUST be returned".
            self.expanded.append(Result(recipient, Action.DELIVERED, "2.0.0", address=f"list with {len(members)} members"))
            recipient = recipient.copy()
            recipient.notify = frozenset({"never"})
        if item.decision == "expanded" or len(members) > 1:
            self.expanded.append(Result(recipient, Action.EXPANDED, "2.0.0", to=members))

    def _follow(self, lead: Lead, recipient: Recipient) -> None:
        """Goes after an address that another one led to, unless somebody did before."""
        key, trail = self._key(recipient.address), (*lead.trail, str(lead.address))
        following = Lead(recipient.address, recipient, trail, lead.root)
        if len(trail) > self._bounds.nesting:
            self._fail(recipient, "5.4.6", f"More than {self._bounds.nesting} addresses lead to one another")
        elif any(key == self._key(Address.parse(passed)) for passed in trail):
            self._loops.append(following)
        elif key not in self._seen:
            self._seen.add(key)
            self._open.append(following)

    def _keep(self, lead: Lead, recipient: Recipient) -> None:
        # The first one stays: who was named by the client comes before who was found in a list.
        self._kept.setdefault((*self._key(recipient.address), recipient.route), (recipient, lead.root))

    def _fail(self, recipient: Recipient, status: str, text: str) -> None:
        self.results.append(Result(recipient, Action.FAILED, status, text))

    def _key(self, address: Address) -> tuple[str, str]:
        """What makes two addresses the same: the case of a local part counts only where it is not for us to say."""
        local = address.local.lower() if self._bounds.is_local(address.domain) else address.local
        return local, address.domain


def _moved(recipient: Recipient, address: Address) -> Recipient:
    """The recipient at another address of the same mailbox, with all that was asked for it (RFC 3461 §5.2.7.2)."""
    moved = recipient.copy()
    moved.address = address
    moved.orcpt = recipient.orcpt or _orcpt(recipient.address)
    return moved


def _redirected(recipient: Recipient, address: Address, *, of_list: bool, alone: bool) -> Recipient:
    """Another recipient in the place of one, with what was asked for it.

    A list with a sender of its own is where the message was to go: what its sender asked for ends there (RFC 3461 §5.2.7.1). Where an
    alias leads to several, success is reported once, as "expanded", and by none of them (§5.2.7.3).
    """
    moved = _moved(recipient, address)
    if of_list:
        moved.notify, moved.orcpt, moved.parameters = frozenset(), "", {}
    elif not alone and "success" in moved.notify:
        moved.notify = moved.notify - {"success"} or frozenset({"never"})
    return moved


def _orcpt(address: Address) -> str:
    return f"{'rfc822' if address.is_ascii else 'utf-8'};{address}"
