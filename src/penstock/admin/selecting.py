"""Finds the messages that a filter means, among a million, without keeping the loop from its mail.

The spool is read in slices with a turn of the loop after each; and one question reads only for a while: then it hands back a cursor,
found or not, so that each question ends soon.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from ..mail.message import MessageRecord, decode_record
from ..storage.base import Entry, Query
from ..storage.identity import ALPHABET, text
from .operations import Questions
from .protocol import Filter

# Entries read in one turn of the loop: a few milliseconds.
SLICE = 200
# How long one question reads, in seconds.
BUDGET = 0.5


@dataclass(frozen=True, slots=True)
class Kept:
    """One message: what the spool knows, what transport knows, and what its queue waits for.

    Args:
        entry: of the spool.
        record: None when it is damaged.
        rests: until when its queue rests, in seconds since 1970; 0 when it does not, infinite when somebody has to ask for it.
        rests_for: why.
    """

    entry: Entry
    record: MessageRecord | None
    rests: float = 0.0
    rests_for: str = ""

    @classmethod
    def of(cls, entry: Entry, source: Questions) -> Kept:
        """The message of an entry."""
        rests, why = source.rest_of(entry)
        try:
            return cls(entry, decode_record(entry.record), rests, why)
        except (msgspec.DecodeError, ValueError):
            return cls(entry, None, rests, why)

    @property
    def due(self) -> float:
        """When it is tried next, in seconds since 1970: at its own time, and not before its queue is worked on again."""
        return max(self.entry.due, self.rests)

    @property
    def reason(self) -> str:
        """Why it is held, was not delivered at the last try, or has not been tried."""
        if self.entry.held or self.record is None:
            return self.entry.held or "its record is damaged"
        return next((r.reason for r in self.record.envelope.recipients if r.reason), "") or self.rests_for


class Selector:
    """A filter, ready to be asked many times.

    Args:
        wanted: the filter.
        now: from when ages count, in seconds since 1970.
    """

    def __init__(self, wanted: Filter, now: float) -> None:
        self._wanted = wanted
        self._now = now
        self._queue = _pattern(wanted.queue)
        self._sender = _pattern(_address_pattern(wanted.sender))
        self._recipient = _pattern(_address_pattern(wanted.recipient))
        self._reason = wanted.reason.lower()
        exact = wanted.queue and not _is_pattern(wanted.queue)
        self.query = Query(wanted.queue if exact else None, wanted.stage or None, wanted.held)
        # Ids begin with their time: nine characters of milliseconds.
        self._last = text(int(wanted.until * 1000) + 1, 9) if wanted.until else ALPHABET[-1] * 9

    def is_behind(self, entry: Entry) -> bool:
        """Whether the entry, and all after it, came too late to be meant."""
        return entry.id[:9] > self._last

    def matches(self, kept: Kept) -> bool:
        """Whether a message is meant; one with a damaged record only when nothing of the record is asked for."""
        entry, record, wanted = kept.entry, kept.record, self._wanted
        if not self.query.matches(entry) or (self._queue and not self._queue.fullmatch(entry.queue.lower())):
            return False
        if self._reason and self._reason not in kept.reason.lower() and not self._has_reason(record):
            return False
        if record is None:
            return not (self._sender or self._recipient or wanted.larger is not None or wanted.smaller is not None or self._asks_age)
        return self._is_of_age(record) and self._is_of_size(record) and self._is_between(record)

    @property
    def _asks_age(self) -> bool:
        return self._wanted.older_than is not None or self._wanted.younger_than is not None

    def _has_reason(self, record: MessageRecord | None) -> bool:
        return record is not None and any(self._reason in r.reason.lower() for r in record.envelope.recipients)

    def _is_of_age(self, record: MessageRecord) -> bool:
        age, wanted = self._now - record.received, self._wanted
        return (wanted.older_than is None or age >= wanted.older_than) and (wanted.younger_than is None or age <= wanted.younger_than)

    def _is_of_size(self, record: MessageRecord) -> bool:
        wanted = self._wanted
        return (wanted.larger is None or record.size >= wanted.larger) and (wanted.smaller is None or record.size <= wanted.smaller)

    def _is_between(self, record: MessageRecord) -> bool:
        if self._sender and not self._sender.fullmatch(str(record.envelope.sender).lower() or "<>"):
            return False
        recipient = self._recipient
        return not recipient or any(recipient.fullmatch(str(r.address).lower()) for r in record.envelope.recipients)


class Scan:
    """One page of the messages that a filter means.

    ``cursor`` tells after the iteration where the next page begins, "" when there is none.

    Args:
        source: the worker.
        wanted: which messages.
        cursor: where to begin.
        limit: at most so many.
    """

    def __init__(self, source: Questions, wanted: Filter, cursor: str, limit: int) -> None:
        self._source = source
        self._ids = sorted({name.upper() for name in wanted.ids})
        self._selector = Selector(wanted, source.now())
        self._limit = limit
        self.cursor = cursor

    async def __aiter__(self) -> AsyncIterator[Kept]:
        left, ends = self._limit, time.monotonic() + BUDGET
        while True:
            entries, following = self._slice()
            for entry in entries:
                if self._selector.is_behind(entry):
                    following = ""
                    break
                kept = Kept.of(entry, self._source)
                if self._selector.matches(kept):
                    yield kept
                    left -= 1
                    if not left:
                        self.cursor = entry.id if following or entry is not entries[-1] else ""
                        return
            self.cursor = following
            if not following or time.monotonic() > ends:
                return
            await asyncio.sleep(0)

    def _slice(self) -> tuple[list[Entry], str]:
        """The next entries, and the cursor behind them."""
        if not self._ids:
            page = self._source.select(self._selector.query, self.cursor, SLICE)
            return page.entries, page.cursor
        names = [name for name in self._ids if name > self.cursor]
        found = (self._source.get(name) for name in names[:SLICE])
        return [entry for entry in found if entry is not None], names[SLICE - 1] if len(names) > SLICE else ""


def _is_pattern(words: str) -> bool:
    return any(c in words for c in "*?")


def _pattern(words: str) -> re.Pattern[str] | None:
    """Only ``*`` and ``?`` are special: the brackets that fnmatch knows are what a next hop is written in."""
    return re.compile(fnmatch.translate(words.lower().replace("[", "[[]"))) if words else None


def _address_pattern(words: str) -> str:
    """A domain stands for all its addresses; ``<>`` and patterns with an ``@`` for themselves."""
    if not words or words == "<>" or "@" in words.lstrip("@"):
        return words
    return words if words.strip("*") == "" else f"*@{words.lstrip('@')}"
