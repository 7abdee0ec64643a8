"""Mail that is sent when somebody asks for it, from the queues of all workers: each hears of it over its control socket.

``OnDemand`` has it sent where its route says (ETRN), ``Collection`` over the connection of the customer who asks (ATRN).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from ..admin.places import socket_path
from ..admin.protocol import MAX_LINE, AnyQuestion, CountQueues, Done, Failed, Flush, QueueRow, decode_answer, encode
from ..admin.protocol import Answer as Line
from ..admin.protocol import Lend as LendQuestion
from ..config import Config
from ..config.schema import DomainTable
from ..delivery.couriers import Couriers
from ..delivery.lending import Lend, Lent, lend_to_each
from ..errors import PenstockError
from ..events.verdict_transit import as_next_hop
from ..mail.nexthop import ATRN
from ..transport.pipeline import Transport

# A worker that does not answer in this time has other troubles; its mail goes when its time comes.
PATIENCE = 5.0
# Of the sockets behind which customers are. Such a name is no longer than that of a control socket, whose length is checked.
_SUFFIX = ".atrn"


class OnDemand:
    """What ETRN releases.

    Args:
        config: the configuration that is in force.
        number: of this worker.
        here: works on a queue of this worker now; how many messages are in it.
    """

    def __init__(self, config: Config, number: int, here: Callable[[str], int]) -> None:
        self.config = config
        self._number = number
        self._here = here

    def queues_of(self, option: str, node: str) -> Sequence[str] | None:
        """The queues of a domain that we relay for; with "@" of all below it too, with "#" the one of that name if it is such a queue."""
        relayed = [name for name, table in self.config.domains.items() if _is_relayed(table)]
        if option == "#":
            return [node] if node in {self._queue(name) for name in relayed} else None
        wanted = [name for name in relayed if name == node or (option == "@" and name.endswith(f".{node}"))]
        return list(dict.fromkeys(map(self._queue, wanted))) or None

    async def release(self, queues: Sequence[str]) -> int:
        """Works on queues now, in all workers; how many there were with mail in them, counted in each worker."""
        waiting = sum(self._here(queue) > 0 for queue in queues)
        count = self.config.server.worker_count
        others = [self._ask(number, queue) for number in range(count) if number != self._number for queue in queues]
        return waiting + sum(await asyncio.gather(*others))

    def _queue(self, domain: str) -> str:
        """The queue of a domain's mail, as routing names it."""
        routes = self.config.routes
        parts = domain.split(".")
        patterns = [domain, *(f".{'.'.join(parts[i:])}" for i in range(len(parts))), "*"]
        table = next((routes[pattern] for pattern in patterns if pattern in routes), None)
        hop = (table.next_hop if table else "") or self.config.delivery.smart_host or f"mx:{domain}"
        return as_next_hop(hop).queue(table.message_class if table else "")

    async def _ask(self, number: int, queue: str) -> int:
        """Asks another worker; 0 when there is nobody, as while it is started again: then it looks at all its queues anyway."""
        lines = await ask(self.config, number, Flush(queue=queue), PATIENCE)
        return lines[-1].count if lines and isinstance(lines[-1], Done) else 0


class Collection:
    """What ATRN fetches: customers, and their mail in all workers.

    Args:
        on_demand: knows the configuration and the workers.
        number: of this worker.
        here: the queues with mail in each spool of this worker.
        lends: has each spool's mail delivered over a connection.
    """

    def __init__(self, on_demand: OnDemand, number: int, here: Callable[[str], bool], lends: Sequence[Lend]) -> None:
        self._on_demand = on_demand
        self._number = number
        self._here = here
        self._lends = lends

    def place(self) -> Path:
        """A place for a socket beside those of control, where only the server's user may go."""
        return self._folder / f"{self._number}-{secrets.token_hex(3)}{_SUFFIX}"

    def clear(self) -> None:
        """Removes what this worker's predecessor left when it was killed."""
        for path in self._folder.glob(f"{self._number}-*{_SUFFIX}"):
            path.unlink(missing_ok=True)

    @property
    def _folder(self) -> Path:
        config = self._on_demand.config
        return config.resolve(config.server.control)

    def fetched_by(self, user: str, domains: Sequence[str]) -> Sequence[str] | None:
        """The queues of a user's domains, or of all of them; None when one of the domains is not the user's, or none is."""
        known = {name for name, table in self._on_demand.config.domains.items() if user in table.fetched_by}
        if not known or not known.issuperset(domains):
            return None
        return [f"{ATRN}:{name}" for name in (dict.fromkeys(domains) or sorted(known))]

    async def waiting(self, queues: Sequence[str]) -> Sequence[tuple[int, str]]:
        """Which workers have mail in which of the queues; those of this one first."""
        found = [(self._number, queue) for queue in queues if self._here(queue)]
        config = self._on_demand.config
        others = [number for number in range(config.server.worker_count) if number != self._number]
        for number, lines in zip(others, await asyncio.gather(*(ask(config, n, CountQueues(), PATIENCE) for n in others)), strict=True):
            full = {row.queue for row in lines if isinstance(row, QueueRow) and row.count > row.held}
            found += [(number, queue) for queue in queues if queue in full]
        return found

    async def lend(self, worker: int, queue: str, path: str) -> bool:
        """Has a worker deliver a queue over a connection; whether the connection can be used on."""
        if worker == self._number:
            return await lend_to_each(self._lends, queue, path) is not Lent.LOST
        lines = await ask(self._on_demand.config, worker, LendQuestion(queue=queue, path=path), None)
        return bool(lines) and isinstance(lines[-1], Done)


def lender(transport: Transport, couriers: Couriers) -> Lend:
    """What lends a connection for the mail of one spool."""

    async def lend(queue: str, path: str) -> Lent:
        if not transport.is_waiting(queue):
            return Lent.UNUSED
        return await couriers.lending.lend(queue, path, lambda: transport.scheduler.retry_now(queue))

    return lend


async def ask(config: Config, number: int, question: AnyQuestion, seconds: float | None) -> list[Line]:
    """The answer of a worker; empty when there is nobody, or not in time, as while it is started again."""
    lines: list[Line] = []
    path = socket_path(config.resolve(config.server.control), number)
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE)
            with contextlib.closing(writer):
                writer.write(encode(question))
                while not lines or not isinstance(lines[-1], Done | Failed):
                    lines.append(decode_answer(await reader.readuntil()))
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, PenstockError):
        return []
    return lines


def _is_relayed(table: DomainTable) -> bool:
    return table.kind == "relay" and not table.fetched_by
