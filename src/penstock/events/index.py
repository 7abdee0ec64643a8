"""Finds the bindings of an event whose conditions may hold, without trying those of all: a thousand customers' domains cost a look or two.

Of each binding one condition that names its domains, mailboxes or names outright is put into dictionaries; what is found there is still
tried, so that the index can leave out too little but nothing too much. A handler may change what others are found by, a recipient for
instance; so who is due is found again after each handler that ran, and the outcome is that of a walk along the whole chain.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..mail.address import Address
from .condition import session_fact, verb_of
from .pattern import Keys

if TYPE_CHECKING:
    from .binding import Binding
    from .event import Event

# Below so many bindings that can be found, trying them all is as fast.
FEWEST = 8
# Which condition of several a binding is found by: the one that most likely leaves the fewest.
_BEST = ("recipient", "sender", "verb", "listener")


class Index:
    """Over the bindings of one chain.

    Args:
        bindings: in order.
    """

    __slots__ = ("_always", "_bindings", "_ended", "_passed", "_settled", "_tables", "_walks", "_yielded")

    def __init__(self, bindings: Sequence[Binding]) -> None:
        self._bindings = tuple(bindings)
        self._tables: dict[str, _Table] = {}
        always = []
        for position, binding in enumerate(bindings):
            binding.index = self
            keys = best_keys(binding)
            if keys is None:
                always.append(position)
            else:
                self._tables.setdefault(keys.about, _Table()).add(keys, position)
        self._always = always
        # How many walks ended at a position, and how often each binding was come to: what is left it was passed over (``settle``).
        self._ended = [0] * (len(self._bindings) + 1)
        self._yielded = [0] * len(self._bindings)
        self._passed = [0] * len(self._bindings)
        self._walks = self._settled = 0

    def walk(self, event: Event) -> Iterator[Binding]:
        """The bindings that may be wanted, in order; each is to be asked, or found unwanted, before the next is taken."""
        come_to, place, position = [], 0, len(self._bindings)
        due = self.due(event)
        try:
            while place < len(due):
                position = due[place]
                come_to.append(position)
                binding = self._bindings[position]
                yield binding
                if event.is_shown_to(binding.scope):
                    # Its handler ran, and may have changed what others are found by.
                    due = self.due(event)
                    place = bisect_right(due, position)
                else:
                    place += 1
            position = len(self._bindings)
        finally:
            self._ended[position] += 1
            self._walks += 1
            for each in come_to:
                self._yielded[each] += 1

    def due(self, event: Event) -> list[int]:
        """The positions of the bindings whose conditions may hold."""
        found: set[int] = set()
        for about, table in self._tables.items():
            _LOOK[about](table, event, found)
        if not found:
            return self._always
        return sorted(found.union(self._always)) if self._always or len(found) > 1 else list(found)

    def settle(self) -> None:
        """Adds to the counters of the bindings the events at which their turn came and the index passed them over."""
        if self._settled == self._walks:
            return
        self._settled, reached = self._walks, self._ended[-1]
        for position in range(len(self._bindings) - 1, -1, -1):
            reached += self._ended[position]
            passed = reached - self._yielded[position]
            self._bindings[position].counted.asked += passed - self._passed[position]
            self._passed[position] = passed


def best_keys(binding: Binding) -> Keys | None:
    """What a binding is found by; None when it has to be tried at each event."""
    keys = [condition.keys for condition in binding.conditions if condition.keys is not None]
    return min(keys, key=lambda each: _BEST.index(each.about), default=None)


class _Table:
    """Positions, by what they are found by."""

    __slots__ = ("at", "below", "domains", "every", "mailboxes", "texts")

    def __init__(self) -> None:
        self.domains: dict[str, list[int]] = {}
        self.below: dict[str, list[int]] = {}
        self.mailboxes: dict[tuple[str, str], list[int]] = {}
        # The mailboxes again, by domain alone, and the texts, all of them: for what is beyond ASCII, where lower() is not enough.
        self.at: dict[str, list[int]] = {}
        self.texts: dict[str, list[int]] = {}
        self.every: list[int] = []

    def add(self, keys: Keys, position: int) -> None:
        for domain in keys.domains:
            self.domains.setdefault(domain, []).append(position)
        for suffix in keys.below:
            self.below.setdefault(suffix, []).append(position)
        for mailbox in keys.mailboxes:
            self.mailboxes.setdefault(mailbox, []).append(position)
            self.at.setdefault(mailbox[1], []).append(position)
        for text in keys.texts:
            self.texts.setdefault(text, []).append(position)
            self.every.append(position)

    def find_address(self, address: Address, found: set[int]) -> None:
        domain, local = address.domain, address.local
        found.update(self.domains.get(domain, ()))
        if self.mailboxes:
            found.update(self.mailboxes.get((local.lower(), domain), ()) if local.isascii() else self.at.get(domain, ()))
        if self.below:
            found.update(self.below.get(f".{domain}", ()))
            dot = domain.find(".")
            while dot >= 0:
                found.update(self.below.get(domain[dot:], ()))
                dot = domain.find(".", dot + 1)

    def find_text(self, text: str, found: set[int]) -> None:
        found.update(self.texts.get(text.lower(), ()) if text.isascii() else self.every)


def _recipient(table: _Table, event: Event, found: set[int]) -> None:
    for recipient in event.recipients_now():
        table.find_address(recipient.address, found)


def _sender(table: _Table, event: Event, found: set[int]) -> None:
    if event.facts.message is not None:
        table.find_address(event.facts.message.record.envelope.sender, found)


def _listener(table: _Table, event: Event, found: set[int]) -> None:
    table.find_text(session_fact(event, "listener") or "", found)


def _verb(table: _Table, event: Event, found: set[int]) -> None:
    table.find_text(verb_of(event), found)


_LOOK = {"recipient": _recipient, "sender": _sender, "listener": _listener, "verb": _verb}
