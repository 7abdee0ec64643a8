"""What a worker does for sinks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..config import Config
from ..events.work import MessageWork
from ..storage.base import Spool
from ..storage.identity import Identities
from ..transport.pipeline import Transport


class Node:
    """What a worker does for sinks.

    Args:
        config: the configuration.
        spools: where messages are kept; new ones go to the first.
    """

    def __init__(self, config: Config, spools: Sequence[Spool]) -> None:
        self.name = config.server.name
        self.hostname = config.server.hostname
        self.states: dict[str, dict[str, Any]] = {}
        self.new_id = Identities(time.time).new
        self.now = time.time
        # Set before anything is asked, by whoever makes them: they need this node themselves.
        self.transports: Sequence[Transport] = ()
        self._spools = spools

    async def submit(self, work: MessageWork) -> str:
        """Takes a message from a sink into transport."""
        return await self.transports[0].submit(work)

    def queue_depth(self, queue: str = "") -> int:
        """How many messages this worker keeps, in all or in one queue."""
        if not queue:
            return sum(spool.count() for spool in self._spools)
        return sum(found.entries for spool in self._spools if (found := spool.census().get(queue)) is not None)

    def release_queue(self, queue: str) -> int:
        """Releases what is held in a queue and works on it now; how many messages there are."""
        return sum(transport.release_queue(queue) for transport in self.transports)

    def is_waiting(self, queue: str) -> bool:
        """Whether there is mail in a queue that is not held."""
        return any(transport.is_waiting(queue) for transport in self.transports)

    async def reset_routes(self) -> int:
        """Asks for the next hop of what is queued again; how many messages got another."""
        return sum([await transport.reset_routes() for transport in self.transports])
