"""Asks again where the queued mail goes, when what routes depend on has changed.

It looks at one page of the spool after the other, so that neither memory nor the loop has to hold all of it. A message whose queue is
another now goes back to where routing begins, and takes the ordinary way from there; one that is just being worked on follows when its
try ends."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from ..errors import SpoolDamaged, StorageDamaged
from ..events.reports import RoutesChanged
from ..events.work import Facts, MessageWork
from ..mail.message import decode_record
from ..storage.base import Entry, Put, Query
from .later import Later
from .parts import Shop
from .route import LOCAL_QUEUE, Decisions, Router, tell_schedule
from .stage import Stage

# Entries that are routed again before others have a turn.
PAGE = 50


class Reset:
    """Computes next hops anew.

    Args:
        shop: what every part of transport is given.
        router: knows where mail goes.
        later: keeps what has to wait for the end of a try.
    """

    def __init__(self, shop: Shop, router: Router, later: Later) -> None:
        self._shop = shop
        self._spool = shop.parts.spool
        self._router = router
        self._later = later
        self._told = shop.bindings.chain(RoutesChanged)
        self._one_at_a_time = asyncio.Lock()

    def rebind(self, shop: Shop, router: Router) -> None:
        """From the next message on this router is asked."""
        self._shop, self._router, self._told = shop, router, shop.bindings.chain(RoutesChanged)

    async def __call__(self) -> int:
        """Routes all that is queued again; how many messages got another next hop. Raises SpoolDamaged."""
        async with self._one_at_a_time:
            moved, cursor = 0, ""
            while True:
                page = self._spool.select(Query(stage=Stage.ROUTED.value), cursor, PAGE)
                for entry in page.entries:
                    moved += await self._look_at(entry)
                cursor = page.cursor
                if not cursor:
                    break
                await asyncio.sleep(0)
        self._shop.parts.log.info("routes reset", moved=moved)
        if self._told:
            self._shop.parts.dispatcher.tell(RoutesChanged(Facts(self._shop.parts.server), moved), self._told)
        return moved

    async def _look_at(self, entry: Entry) -> bool:
        """Routes one message again; True when it moves. One that cannot be read is left to who works on it next."""
        try:
            work = MessageWork(decode_record(entry.record), self._spool.content(entry), entry.content)
            decisions: Decisions = {}
            router, uses = self._router, self._shop.bindings.uses
            step = router.decide(work, decisions)
            if step is not None:
                await uses.during(step)
            shares = router.shares(work, decisions)
        except SpoolDamaged:
            raise
        except (StorageDamaged, msgspec.DecodeError) as error:
            self._shop.parts.log.warning("a message cannot be routed again", message=entry.id, error=str(error))
            return False
        if set(shares.queues) == {entry.queue} and not shares.held and not shares.results:
            schedule = shares.queues[entry.queue].schedule
            if schedule:
                tell_schedule(self._shop, entry.queue, schedule)
            return False
        # What an administrator wants of it comes first.
        self._later.do(entry.id, partial(self._move, queue=entry.queue), instead=False)
        return True

    def _move(self, message_id: str, queue: str) -> None:
        """Puts a message back to where routing begins, unless it left its queue meanwhile."""
        entry = self._spool.get(message_id)
        if entry is None or entry.queue != queue or entry.stage != Stage.ROUTED.value:
            return
        self._shop.scheduler.withdraw(message_id)
        again = msgspec.structs.replace(entry, stage=Stage.POSTCATEGORIZED.value, queue="", due=0.0)
        self._spool.append([Put(again)])
        if not again.held:
            self._shop.scheduler.soon(self._shop.parts.server.now())


def recall_schedules(shop: Shop) -> None:
    """Tells the scheduler of the schedules that routing gave to queues before this start.

    They are in the records of the messages, one of which speaks for its queue. Rejected: to ask the sinks of Route again, who may have to
    wait for something, while a queue that is on demand must not be worked on before they have answered.
    """
    try:
        for queue in shop.parts.spool.queues():
            if queue and not queue.startswith(LOCAL_QUEUE):
                for entry in shop.parts.spool.due(float("inf"), 1, queue):
                    schedule = decode_record(entry.record).schedule
                    if schedule:
                        tell_schedule(shop, queue, schedule)
    except msgspec.DecodeError as error:
        shop.parts.log.warning("the schedule of a queue cannot be read", error=str(error))
    except SpoolDamaged:
        # Whoever works on the queues finds that too, and starts this process anew.
        return
