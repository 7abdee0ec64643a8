"""Mail that is sent when somebody asks for it, from the queues of all workers: each hears of it over its control socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from ..admin.places import socket_path
from ..admin.protocol import MAX_LINE, Done, Failed, Flush, decode_answer, encode
from ..config import Config
from ..config.schema import DomainTable
from ..errors import PenstockError
from ..events.verdict_transit import as_next_hop

# A worker that does not answer in this time has other troubles; its mail goes when its time comes.
PATIENCE = 5.0


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
        path = socket_path(self.config.resolve(self.config.server.control), number)
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE)
                with contextlib.closing(writer):
                    writer.write(encode(Flush(queue=queue)))
                    while True:
                        answer = decode_answer(await reader.readuntil())
                        if isinstance(answer, Done):
                            return answer.count
                        if isinstance(answer, Failed):
                            return 0
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, PenstockError):
            return 0


def _is_relayed(table: DomainTable) -> bool:
    return table.kind == "relay"
