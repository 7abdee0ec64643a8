"""Sinks that do in transport what a test wants, and the steps that most tests share."""

from __future__ import annotations

import asyncio
from typing import Any

from hosts.running import Running
from penstock import Sink, on
from penstock.events import Delivered as DeliveredEvent
from penstock.events import EndOfData, LocalDelivery, Submission
from penstock.verdicts import Delivered


class Mailbox(Sink[None]):
    """Delivers into a list; verdicts that a test prepared come first."""

    def __init__(self, *verdicts: Any) -> None:
        super().__init__()
        self.verdicts = list(verdicts)
        self.mail: list[tuple[str, str, bytes]] = []
        self.attempts: list[int] = []
        self.reports: list[str] = []

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Any:
        self.attempts.append(event.attempt)
        if self.verdicts:
            verdict = self.verdicts.pop(0)
            if isinstance(verdict, Exception):
                raise verdict
            return verdict
        self.mail.append((str(event.message.sender), str(event.recipient.address), event.message.content.read()))
        return Delivered("list")

    @on(DeliveredEvent)
    async def note(self, event: DeliveredEvent) -> None:
        self.reports.append(f"{event.recipient.address} {event.where}")

    @property
    def recipients(self) -> list[str]:
        return sorted(recipient for _, recipient, _ in self.mail)


class AtSubmission(Sink[None]):
    """Does at Submission what a test wants."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act
        self.attempts: list[int] = []

    @on(Submission)
    async def run(self, event: Submission) -> Any:
        self.attempts.append(event.attempt)
        found = self.act(event)
        return await found if asyncio.iscoroutine(found) else found


class AtEndOfData(Sink[None]):
    """Does at EndOfData what a test wants."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    @on(EndOfData)
    async def run(self, event: EndOfData) -> Any:
        return self.act(event)


async def deliver_one(server: Running, *to: str, content: bytes = b"Subject: hello\r\n\r\nHello.\r\n") -> None:
    client = await server.client()
    assert "queued as" in await client.send(content, *to)
    client.close()


async def empty(server: Running) -> None:
    await server.until(lambda: not server.kept(), "the spool is empty")
