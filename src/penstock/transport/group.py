"""One atomic group of changes: messages at the stages that they have reached, with the contents that are new among them.

A message, its edits and the copies that were split off from it are recorded together or not at all, so that a crash neither loses a
recipient nor makes two of one. The copies share a content, however many there are; only what is another content is kept anew, and once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from ..errors import StorageUnavailable
from ..events.dispatch import Step
from ..events.work import MessageWork
from ..mail.message import MessageRecord, encode_record
from ..storage.base import Change, Entry, Put, Remove
from .parts import Shop
from .stage import Stage, move
from .steps import Call

# How long a message rests whose stage could not be recorded since there was no room.
NO_ROOM_WAIT = 60.0


class Group:
    """Collects changes, and makes them at once.

    Args:
        shop: what every part of transport is given.
    """

    __slots__ = ("_apart", "_contents", "_octets", "_shop", "changes")

    def __init__(self, shop: Shop) -> None:
        self.changes: list[Change] = []
        self._shop = shop
        self._octets = 0
        self._apart: list[str] = []
        self._contents: dict[int, str] = {}

    def keep(self, work: MessageWork, old: Stage, new: Stage, queue: str = "", held: str = "") -> Entry:
        """Keeps a message at a stage; the entry that it will be.

        A message that goes on begins the new stage as if for the first time; one that stays has been at it once more.

        Args:
            work: the message.
            old: the stage that it was at.
            new: the stage that it is at now.
            queue: the queue that it waits in.
            held: why it is held, "" when it is not.
        """
        move(old, new)
        if new is not old:
            begin_anew(work.record)
        content = None
        if work.rewritten:
            known = self._contents.get(id(work.content))
            if known is None:
                known, content = self._shop.parts.server.new_id(), work.content
                self._contents[id(content)] = known
                self._octets += content.size if content is not None else 0
            work.content_id = known
        work.dirty = work.rewritten = False
        if work.record.parent:
            self._shop.split(work.record.parent, work.record.id)
        # In a queue mail is wanted since it came: before what came later, and after what came earlier and was put off until before that.
        # With 0 what comes new would go before every further try, and under lasting load nothing would ever be tried again.
        due = work.record.received if queue else 0.0
        entry = Entry(work.record.id, new.value, encode_record(work.record), work.content_id, queue, due, held)
        self.changes.append(Put(entry, content))
        return entry

    def remove(self, work: MessageWork) -> None:
        """Forgets a message."""
        self.changes.append(Remove(work.record.id))

    def apart(self, part: MessageWork, work: MessageWork, call: Call) -> Call:
        """The call, for a part that is settled on its own: nobody else takes it up from the spool meanwhile.

        Args:
            part: the part; nothing is special when it is the message itself.
            work: the message, which is being worked on already.
            call: what settles the part.
        """
        if part is work:
            return call
        message_id, scheduler = part.record.id, self._shop.scheduler
        self._apart.append(message_id)
        scheduler.expect(message_id)
        return lambda: _finally(call, lambda: scheduler.forget(message_id))

    def write(self, work: MessageWork, then: Call) -> Step:
        """Makes the changes and goes on; with much new content only when they are durable, so that a full disk is noticed.

        Args:
            work: the message that is put off, as the spool has it, when there is no room.
            then: what comes next.
        """
        if not self.changes:
            return then()
        if self._octets < self._shop.settings.large:
            self._shop.parts.spool.append(self.changes)
            return then()
        return self._commit(work, then)

    async def _commit(self, work: MessageWork, then: Call) -> None:
        try:
            await self._shop.parts.spool.commit(self.changes)
        except StorageUnavailable as error:
            self._put_off(work.record.id, error)
            return
        step = then()
        if step is not None:
            await step

    def _put_off(self, message_id: str, error: StorageUnavailable) -> None:
        for part in self._apart:
            self._shop.scheduler.forget(part)
        spool, due = self._shop.parts.spool, self._shop.parts.server.now() + NO_ROOM_WAIT
        self._shop.parts.log.warning("a stage cannot be recorded, it will be repeated", message=message_id, error=str(error))
        entry = spool.get(message_id)
        if entry is not None:
            spool.append([Put(msgspec.structs.replace(entry, due=due))])
            self._shop.scheduler.soon(due)


def _finally(call: Call, last: Callable[[], None]) -> Step:
    try:
        step = call()
    except BaseException:
        last()
        raise
    if step is not None:
        return _finally_later(step, last)
    last()
    return None


async def _finally_later(step: Coroutine[Any, Any, None], last: Callable[[], None]) -> None:
    try:
        await step
    finally:
        last()


def begin_anew(record: MessageRecord) -> None:
    """Forgets whom the stage before asked, and how often it was begun."""
    if record.done:
        record.done = []
    record.attempt = record.deferrals = 0
