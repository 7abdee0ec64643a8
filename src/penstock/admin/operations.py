"""What administration needs of a worker, as a Protocol, so that it can be tried on a spool in memory and does not know transport's insides.

``live.py`` is the real one. The questions are those of a spool; the changes are asked one message at a time, and
are durable when ``settled`` returns.
"""

from __future__ import annotations

from typing import Protocol

from ..delivery.lending import Lent
from ..events.work import MessageWork
from ..mail.content import Content
from ..storage.base import Entry, Page, Query, QueueCount, Spool
from ..transport.operations import Done as Came
from .bindings import BindingOperations
from .protocol import DestinationRow, StatusRow
from .tracing import TracingOperations

__all__ = ["Came", "Operations", "Questions"]


class Questions(Protocol):
    """What a worker keeps, for reading."""

    @property
    def worker(self) -> str:
        """Its name, e.g. "worker-0"."""

    def now(self) -> float:
        """Seconds since 1970."""

    def get(self, entry_id: str) -> Entry | None:
        """One message. Raises SpoolDamaged, as do the others."""

    def select(self, query: Query, cursor: str, limit: int) -> Page:
        """One part of the messages, in order of id, as ``storage.base.Spool.select``."""

    def rest_of(self, entry: Entry) -> tuple[float, str]:
        """Until when the queue of a message rests, 0 when it is worked on, infinite when somebody has to ask for it; and why."""

    def content(self, entry: Entry) -> Content:
        """The content of a message as it was accepted. Raises StorageDamaged."""

    def census(self) -> dict[str, QueueCount]:
        """What each queue has."""

    def destinations(self) -> list[DestinationRow]:
        """The queues that are worked on, or were lately."""

    def status(self) -> StatusRow:
        """How the worker is."""


class Operations(Questions, Protocol):
    """What can be done with it. The changes of messages tell what came of them; a message that is being worked on is changed later."""

    async def hold(self, message_id: str, reason: str) -> Came:
        """Keeps a message from all further work."""

    async def release(self, message_id: str) -> Came:
        """Lets a held message go on, now."""

    async def retry(self, message_id: str) -> Came:
        """Tries a message now, whatever its time; a held one stays held."""

    async def remove(self, message_id: str) -> Came:
        """Deletes a message; nobody is told."""

    async def bounce(self, message_id: str, text: str) -> Came:
        """Ends a message and tells its sender, with this text, that it failed; with "" in common words."""

    async def reroute(self, message_id: str, next_hop: str) -> Came:
        """Sends all recipients of a message to another next hop. Raises ValueError when it is none."""

    async def settled(self) -> None:
        """Returns when all changes so far are durable. Raises StorageUnavailable."""

    def suspend(self, queue: str, until: float | None, reason: str) -> bool:
        """Begins nothing more in a queue until a time, or None for until it is resumed; False when it is not known here."""

    def resume(self, queue: str) -> bool:
        """Ends a suspension; False when the queue is not known here."""

    def flush(self, queue: str) -> int:
        """Tries what waits in a queue, or in all with "", now; in how many queues."""

    async def lend(self, queue: str, path: str) -> Lent:
        """Delivers what waits in a queue over the connection behind a Unix socket, and tells how that connection was left."""

    async def reset_routes(self) -> int:
        """Asks for the next hop of all that is queued again; how many got another."""

    @property
    def hostname(self) -> str:
        """How the server calls itself."""

    def new_id(self) -> str:
        """A fresh queue id."""

    @property
    def incoming(self) -> Spool:
        """The spool that new messages go to."""

    @property
    def bindings(self) -> BindingOperations | None:
        """What it binds; None where that is not asked about."""

    @property
    def tracing(self) -> TracingOperations | None:
        """What it traces; None where that cannot be asked about."""

    async def submit(self, work: MessageWork) -> str:
        """Takes a message into transport; its id, when it is durable. Raises StorageUnavailable."""
