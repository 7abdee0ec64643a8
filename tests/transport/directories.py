"""Directories and routes that do what a test wants, and views of what came of a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from penstock import Recipient, Sink, on
from penstock.events import Categorized, Item, LocalDelivery, PostCategorize, PreCategorize, Resolve, Route
from penstock.verdicts import Delivered


class Directory(Sink[None]):
    """Decides addresses as a table says: what an address leads to, or what to do with its item."""

    def __init__(self, **table: Any) -> None:
        super().__init__()
        self.table = table
        self.asked: list[tuple[int, list[str]]] = []

    @on(Resolve)
    async def look_up(self, event: Resolve) -> None:
        await asyncio.sleep(0)
        self.asked.append((event.round, [str(item.address) for item in event.open]))
        for item in event.open:
            found = self.table.get(item.address.local)
            if callable(found):
                found(item)
            elif found is not None:
                item.expand([f"{member}@example.com" for member in found])


class Box(Sink[None]):
    """Delivers into a list of recipients as they were delivered to."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[str, Recipient]] = []
        self.contents: list[bytes] = []

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Delivered:
        self.got.append((str(event.message.sender), event.recipient))
        self.contents.append(event.message.content.read())
        return Delivered("list")

    @property
    def who(self) -> list[str]:
        """The local parts of all who got something, in order of the alphabet."""
        return sorted(recipient.address.local for _, recipient in self.got)

    def of(self, local: str) -> Recipient:
        """The one recipient of this name."""
        (found,) = [recipient for _, recipient in self.got if recipient.address.local == local]
        return found


class AtStages(Sink[None]):
    """Does at the stages of its choice what a test wants, and notes where it was asked."""

    def __init__(self, **acts: Callable[[Any], Any]) -> None:
        super().__init__()
        self.acts = acts
        self.seen: list[tuple[str, int, list[str]]] = []

    @on(PreCategorize, Categorized, PostCategorize)
    async def run(self, event: PreCategorize | Categorized | PostCategorize) -> Any:
        name = type(event).__name__
        self.seen.append((name, event.attempt, [r.address.local for r in event.message.recipients]))
        return self.acts[name](event) if name in self.acts else None


class Roads(Sink[None]):
    """Answers at Route as a function of the event."""

    def __init__(self, answer: Callable[[Route], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[str] = []

    @on(Route, blocking=False)
    def route(self, event: Route) -> Any:
        self.asked.append(event.destination)
        return self.answer(event)


def rewritten(to: str) -> Callable[[Item], None]:
    """Puts another address in its place."""
    return lambda item: item.rewrite(f"{to}@example.com")


def forwarded(*to: str, keep: bool = False) -> Callable[[Item], None]:
    """Sends to others instead, or as well."""
    return lambda item: item.forward([f"{t}@example.com" for t in to], keep=keep)
