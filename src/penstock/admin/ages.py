"""Counts messages by queue and age, in the manner of Postfix's qshape: which destination has a backlog, and since when."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator

from ..storage.base import Query
from .operations import Questions
from .protocol import AgesRow, Answer, Done
from .selecting import BUDGET, SLICE, Kept

# Minutes; each column counts what is at most so old and older than the one before, and a last one what is older than all.
LIMITS = (5, 10, 20, 40, 80, 160, 320, 640, 1280)


async def count(source: Questions, cursor: str) -> AsyncIterator[Answer]:
    """Ages rows for a part of the messages, and a Done with the cursor of the next part."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(LIMITS) + 1))
    ends, now = time.monotonic() + BUDGET, source.now()
    while True:
        page = source.select(Query(), cursor, SLICE)
        for entry in page.entries:
            record = Kept.of(entry, source).record
            minutes = (now - record.received) / 60 if record is not None else 0.0
            counts[entry.queue][_place(minutes)] += 1
        cursor = page.cursor
        if not cursor or time.monotonic() > ends:
            break
        await asyncio.sleep(0)
    for queue, numbers in counts.items():
        yield AgesRow(queue, numbers)
    yield Done(cursor=cursor)


def _place(minutes: float) -> int:
    return next((place for place, limit in enumerate(LIMITS) if minutes <= limit), len(LIMITS))
