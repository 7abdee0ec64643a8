"""A carrier for remote queues that answers as a test says, in the place of sessions with servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hosts.running import Running
from penstock.queue.destination import Destination
from penstock.queue.job import id_of
from penstock.transport.outcome import Action, Result


class Courier:
    """Takes what its queues have and relays it; ``hold`` keeps a message under way until it is set."""

    def __init__(self, server: Running, answer: Callable[[str, str], Action] = lambda queue, to: Action.RELAYED) -> None:
        self.server = server
        self.answer = answer
        self.relayed: list[tuple[str, str]] = []
        self.under_way: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.closed: set[str] = set()
        server.transport.carriers.remote = self

    def attend(self, destination: Destination) -> None:
        if destination.name not in self.closed:
            destination.begin_session()
            self.tasks = [t for t in getattr(self, "tasks", []) if not t.done()]
            self.tasks.append(asyncio.get_running_loop().create_task(self._session(destination)))

    async def stop(self, seconds: float) -> None:
        for task in getattr(self, "tasks", []):
            task.cancel()

    async def _session(self, destination: Destination) -> None:
        try:
            while (job := destination.take()) is not None:
                work = self.server.transport.load(job)
                if work is not None:
                    self.under_way.append(work.record.id)
                    await self.go.wait()
                    results = []
                    for recipient in work.record.envelope.recipients:
                        action = self.answer(destination.name, recipient.address.local)
                        results.append(Result(recipient, action, {Action.RELAYED: "2.0.0", Action.DEFERRED: "4.2.0"}.get(action, "5.0.0")))
                        if action is Action.RELAYED:
                            self.relayed.append((destination.name, str(recipient.address)))
                    step = self.server.transport.settle(work, destination.name, results)
                    if step is not None:
                        await step
                    self.under_way.remove(work.record.id)
                destination.finished(id_of(job))
        finally:
            destination.end_session()
