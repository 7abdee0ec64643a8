"""What an administrator may do to one message in the queue, each as one call with a clear answer, safe at any time.

A message that is just being worked on is left to end its try; the wish is carried out then, on what is left of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from functools import partial

import msgspec

from ..errors import StorageDamaged
from ..events.work import MessageWork
from ..mail.content import Content
from ..mail.message import MessageRecord, decode_record, encode_record, with_edits
from ..mail.nexthop import NextHop
from ..storage.base import Entry, Put, Query, Remove
from .later import Later, Wish
from .outcome import Action, Result
from .parts import Shop
from .route import RELEASED
from .settle import Settler
from .stage import Stage

_ADMINISTRATOR = "administrator"


class Done(Enum):
    """What became of a wish."""

    DONE = "done"
    LATER = "later"  # it is being worked on: the wish is carried out when its present try ends
    ALREADY = "already"  # it is as wished: held already, or not held
    UNKNOWN = "unknown"  # there is no such message (any more)


@dataclass(frozen=True, slots=True)
class Shown:
    """One message as it is kept.

    Args:
        entry: where it stands.
        record: its envelope and all else but the content.
        content: with the header as it was edited.
    """

    entry: Entry
    record: MessageRecord
    content: Content


class Operations:
    """Changes single messages.

    Args:
        shop: what every part of transport is given.
        settler: records the end of messages.
        later: keeps wishes about messages that are being worked on.
    """

    def __init__(self, shop: Shop, settler: Settler, later: Later) -> None:
        self._shop = shop
        self._spool = shop.parts.spool
        self._settler = settler
        self._later = later
        self._tasks: set[asyncio.Task[None]] = set()

    def rebind(self, settler: Settler) -> None:
        """From now on this one records the end of messages."""
        self._settler = settler

    async def hold(self, message_id: str, reason: str = "held by the administrator") -> Done:
        """Keeps a message where it is until it is released."""
        entry = self._spool.get(message_id)
        if entry is None:
            return Done.UNKNOWN
        if entry.held:
            return Done.ALREADY
        return self._do(entry, partial(self._hold, reason=reason), aside=reason)

    async def release(self, message_id: str) -> Done:
        """Lets a held message go on, at once, from where it stands."""
        entry = self._spool.get(message_id)
        if entry is None:
            return Done.UNKNOWN
        if not entry.held:
            return Done.ALREADY
        return self._do(entry, self._release)

    def release_all(self, queue: str) -> int:
        """Lets all that is held in a queue go on; how many messages."""
        released, cursor = 0, ""
        while True:
            page = self._spool.select(Query(queue=queue, held=True), cursor)
            for entry in page.entries:
                self._do(entry, self._release)
            released, cursor = released + len(page.entries), page.cursor
            if not cursor:
                return released

    async def retry(self, message_id: str) -> Done:
        """Tries a message now, whatever its next try was to be; one that is held is left alone."""
        entry = self._spool.get(message_id)
        if entry is None:
            return Done.UNKNOWN
        if entry.held:
            return Done.ALREADY
        if self._shop.scheduler.is_active(message_id):
            return Done.ALREADY
        self._again(msgspec.structs.replace(entry, due=0.0))
        if entry.queue:
            self._shop.scheduler.retry_now(entry.queue)
        return Done.DONE

    async def remove(self, message_id: str, reason: str = "removed by the administrator") -> Done:
        """Forgets a message; its sender is not told."""
        return self._end(message_id, Action.DROPPED, "2.0.0", reason)

    async def bounce(self, message_id: str, status: str = "5.0.0", text: str = "The message was returned by the administrator") -> Done:
        """Ends a message with a report to its sender.

        Args:
            message_id: which.
            status: the enhanced status code of the report, "4.x.x" or "5.x.x" (RFC 3463).
            text: the reason that the report gives.
        """
        return self._end(message_id, Action.FAILED, status, text)

    async def reroute(self, message_id: str, next_hop: NextHop | str) -> Done:
        """Sends a message to another next hop, now and whatever the routes say later.

        Raises: ValueError for what is no next hop.
        """
        hop = next_hop if isinstance(next_hop, NextHop) else NextHop.parse(next_hop)
        entry = self._spool.get(message_id)
        if entry is None:
            return Done.UNKNOWN
        return self._do(entry, partial(self._reroute, hop=hop))

    async def cat(self, message_id: str) -> Shown | None:
        """One message with its content, or None. Raises StorageDamaged; msgspec.DecodeError for a damaged record."""
        entry = self._spool.get(message_id)
        if entry is None:
            return None
        record = decode_record(entry.record)
        return Shown(entry, record, with_edits(record, self._spool.content(entry)))

    def _do(self, entry: Entry, wish: Wish, aside: str = "") -> Done:
        """Carries out a wish now, or has it wait; ``aside`` is why nobody takes the message up meanwhile."""
        done = self._later.do(entry.id, wish)
        if not done and aside and not entry.held:
            self._spool.append([Put(msgspec.structs.replace(entry, held=aside))])
        return Done.DONE if done else Done.LATER

    def _hold(self, message_id: str, reason: str) -> None:
        entry = self._spool.get(message_id)
        if entry is not None and entry.held != reason:
            self._shop.scheduler.withdraw(message_id)
            self._spool.append([Put(msgspec.structs.replace(entry, held=reason))])
        self._log("held", message_id, reason)

    def _release(self, message_id: str) -> None:
        entry = self._spool.get(message_id)
        if entry is None or not entry.held:
            return
        record = entry.record
        if entry.stage == Stage.POSTCATEGORIZED.value:
            # Routing held it perhaps: the sink that said so would say it again.
            known = decode_record(record)
            known.done = [*known.done, RELEASED]
            record = encode_record(known)
        self._log("released", message_id, entry.held)
        self._again(msgspec.structs.replace(entry, held="", due=0.0, record=record))

    def _reroute(self, message_id: str, hop: NextHop) -> None:
        entry = self._spool.get(message_id)
        if entry is None:
            return
        record, stage, queue = decode_record(entry.record), entry.stage, entry.queue
        for recipient in record.envelope.recipients:
            recipient.route = str(hop)
        if stage == Stage.ROUTED.value:
            stage, queue = (Stage.POSTCATEGORIZED.value, "") if hop.kind == "local" else (stage, hop.queue(record.message_class))
        self._log("rerouted", message_id, str(hop))
        self._again(msgspec.structs.replace(entry, stage=stage, queue=queue, due=0.0, record=encode_record(record)))

    def _again(self, entry: Entry) -> None:
        """Keeps an entry that is wanted now, and tells whoever works on it."""
        self._shop.scheduler.withdraw(entry.id)
        self._spool.append([Put(entry)])
        if entry.held:
            return
        if entry.queue:
            self._shop.scheduler.enqueue(entry.queue, entry)
        else:
            self._shop.scheduler.soon(self._shop.parts.server.now())

    def _end(self, message_id: str, action: Action, status: str, text: str) -> Done:
        entry = self._spool.get(message_id)
        if entry is None:
            return Done.UNKNOWN
        return self._do(entry, partial(self._finish, action=action, status=status, text=text), aside=text)

    def _finish(self, message_id: str, action: Action, status: str, text: str) -> None:
        entry = self._spool.get(message_id)
        if entry is None:
            return
        self._shop.scheduler.withdraw(message_id)
        if not entry.held:
            # Nobody takes it up while sinks are asked about a report.
            self._spool.append([Put(msgspec.structs.replace(entry, held=text))])
        try:
            record = decode_record(entry.record)
        except msgspec.DecodeError:
            # There is nobody to be told; what is left can only be removed.
            self._spool.append([Remove(message_id)])
            return
        work = MessageWork(record, self._content(entry), entry.content)
        results = [Result(r, action, status, text, by=_ADMINISTRATOR) for r in record.envelope.recipients]
        step = self._settler.settle(work, entry.queue, results)
        if step is not None:
            over = self._later.until_over(message_id, self._settler.uses.during(step))
            task = asyncio.get_running_loop().create_task(over)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _content(self, entry: Entry) -> Content | None:
        """The content; None where it is damaged, since such a message can be removed all the same."""
        try:
            return self._spool.content(entry)
        except StorageDamaged:
            return None

    def _log(self, what: str, message_id: str, reason: str) -> None:
        self._shop.parts.log.info(what, message=message_id, by=_ADMINISTRATOR, reason=reason)
