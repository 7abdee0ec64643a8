"""Connections that a customer lends us so that we deliver over them (ATRN, RFC 2645), and who may use which.

Mail for such a customer waits under the next hop ``atrn:DOMAIN``, to which no connection can be made: the customer makes it. One courier
at a time is lent the connection; when it has served what waited, it leaves it as it found it, between two messages and without QUIT, so
that the next queue, perhaps of another worker, can be served over it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum

from ..mail.nexthop import ATRN

# How long a queue that has mail may leave a connection unused: it may be suspended, or all sessions are given to others.
PATIENCE = 30.0


class Lent(Enum):
    """What became of a connection that was lent."""

    UNUSED = "unused"  # there was nothing to send, or not now
    KEPT = "kept"  # mail was offered, and the connection can be used on
    LOST = "lost"  # it is gone, or in a state that nobody can go on from


class Loan:
    """A connection that is lent for one queue.

    Args:
        path: the Unix socket behind which the customer is.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        # Some courier has it; it has connected; it left the connection usable.
        self.taken = asyncio.Event()
        self.used = False
        self.kept = False
        self.over = asyncio.Event()

    def end(self) -> None:
        """The courier does nothing more with it."""
        self.over.set()

    @property
    def outcome(self) -> Lent:
        """What became of it, once it is over."""
        if not self.used:
            return Lent.UNUSED
        return Lent.KEPT if self.kept else Lent.LOST


# Lends the connection behind a path for a queue.
Lend = Callable[[str, str], Awaitable[Lent]]


async def lend_to_each(lends: Iterable[Lend], queue: str, path: str) -> Lent:
    """Lends a connection to one after the other, as long as it can be used."""
    lent = Lent.UNUSED
    for lend in lends:
        came = await lend(queue, path)
        if came is Lent.LOST:
            return came
        lent = came if came is Lent.KEPT else lent
    return lent


def waits_for_customer(queue: str) -> bool:
    """Whether the mail of a queue is fetched by a customer, and never sent without."""
    return queue.startswith(f"{ATRN}:")


class Lending:
    """The connections that are lent in one set of couriers."""

    def __init__(self) -> None:
        self._loans: dict[str, Loan] = {}

    def may_begin(self, queue: str) -> bool:
        """Whether a courier can serve a queue: a customer's only over a connection that nobody has yet."""
        if not waits_for_customer(queue):
            return True
        loan = self._loans.get(queue)
        return loan is not None and not loan.taken.is_set()

    def take(self, queue: str) -> Loan | None:
        """The connection that a courier is to use, which is its own from now on; None for one that connects by itself."""
        loan = self._loans.get(queue)
        if loan is not None:
            loan.taken.set()
        return loan

    async def lend(self, queue: str, path: str, begin: Callable[[], object]) -> Lent:
        """Lends a connection until the queue has been served.

        Args:
            queue: whose mail is fetched.
            path: the Unix socket behind which the customer is.
            begin: has the queue worked on.

        Returns: UNUSED also where another connection is lent for this queue just now.
        """
        if queue in self._loans:
            return Lent.UNUSED
        loan = self._loans[queue] = Loan(path)
        try:
            begin()
            try:
                await asyncio.wait_for(loan.taken.wait(), PATIENCE)
            except TimeoutError:
                return Lent.UNUSED
            await loan.over.wait()
            return loan.outcome
        finally:
            del self._loans[queue]
