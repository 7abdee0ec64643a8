"""Messages that nobody tries grow old all the same: their senders are told of the delay, and they are given up when their time is over.

While a queue rests, since its server cannot be reached or an administrator stopped it, its messages are not rewritten one by one each time
a probe fails. So nothing of what happens at a try happens to them, and somebody has to look. The look is in order of id, a bounded number
at a time with a pause in between: a backlog of a million costs minutes of little work and no memory, and nobody waits for it. What is
worked on just now is left alone, as its try sees to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ..errors import SpoolDamaged, StorageDamaged
from ..events.work import MessageWork
from ..mail.content import Content
from ..mail.message import decode_record
from ..storage.base import Entry, Query
from .settle import Settler

if TYPE_CHECKING:
    from .parts import Shop


@dataclass(frozen=True, slots=True)
class AgingSettings:
    """How often, and how much at a time.

    Args:
        every: seconds between two looks at all queues that rest.
        batch: messages looked at in one go.
        pause: seconds after each of these.
    """

    every: float = 60.0
    batch: int = 200
    pause: float = 0.05


class Aging:
    """Looks after messages in queues that rest.

    Args:
        shop: what every part of transport is given.
        settler: gives up, and tells of delays.
        settings: how often, and how much at a time.
    """

    def __init__(self, shop: Shop, settler: Settler, settings: AgingSettings | None = None) -> None:
        self._spool = shop.parts.spool
        self._log = shop.parts.log
        self._now = shop.parts.server.now
        self._scheduler = shop.scheduler
        self._settler = settler
        self._settings = settings or AgingSettings()
        self._task: asyncio.Task[None] | None = None

    def rebind(self, settler: Settler) -> None:
        """From the next message on this one gives up, and tells of delays."""
        self._settler = settler

    def start(self) -> None:
        """Looks from time to time, from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Looks no more; what is under way is not recorded, and is found again by the next process."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def sweep(self, queue: str) -> None:
        """Looks at all messages of a queue once, in order of id; not at those that are held. Raises SpoolDamaged."""
        cursor = ""
        destination = self._scheduler.destination(queue)
        why = destination.last_error if destination is not None else ""
        while True:
            page = self._spool.select(Query(queue=queue, held=False), cursor, self._settings.batch)
            for entry in page.entries:
                try:
                    await self._look(entry, why)
                except SpoolDamaged:
                    raise
                except Exception as error:
                    # One that cannot be given up must not keep all others waiting for ever.
                    what = f"{type(error).__name__}: {error}"
                    self._log.error("a message cannot be looked at", message=entry.id, error=what, exc_info=error)
            cursor = page.cursor
            if not cursor:
                return
            await asyncio.sleep(self._settings.pause)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.every)
            try:
                for queue in self._spool.queues():
                    if queue and self._rests(queue):
                        await self.sweep(queue)
            except SpoolDamaged:
                # Whoever works on the queues finds that too, and starts this process anew.
                return

    def _rests(self, queue: str) -> bool:
        """Whether nobody works on the queue: it backs off, is suspended or closed, nothing of it is due, or all of it was left by sinks."""
        destination = self._scheduler.destination(queue)
        return destination is None or destination.rests_until(self._now()) > 0

    async def _look(self, entry: Entry, why: str) -> None:
        try:
            record = decode_record(entry.record)
            if not self._settler.is_old(record, entry.due):
                return
            settler = self._settler
            step = settler.aged(MessageWork(record, self._content(entry), entry.content), entry, why)
            if step is not None:
                await settler.uses.during(step)
        except SpoolDamaged:
            raise
        except msgspec.DecodeError:
            # It is put aside, with a word, when it is tried; here it would be named every minute.
            return

    def _content(self, entry: Entry) -> Content | None:
        """The content, or None when it is damaged: the sender hears of the message all the same."""
        try:
            return self._spool.content(entry)
        except StorageDamaged:
            return None
