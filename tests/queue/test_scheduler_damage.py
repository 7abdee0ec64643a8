"""A spool whose index is damaged while it runs is no dead end: the process is told to start anew, which rebuilds it."""

from __future__ import annotations

import time

import pytest

from penstock.errors import SpoolDamaged
from penstock.observe.log import get_log
from penstock.queue.scheduler import Scheduler, SchedulerSettings
from penstock.storage.base import Entry
from penstock.storage.memory import MemorySpool


@pytest.mark.parametrize("broken", ["due", "next_due"])
async def test_a_damaged_index_is_told_and_nothing_more_is_started(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Whichever look-up finds it."""
    told: list[bool] = []

    def damaged(*_: object) -> list[Entry]:
        raise SpoolDamaged("the index")

    spool = MemorySpool()
    await spool.open()
    monkeypatch.setattr(spool, broken, damaged)
    scheduler = Scheduler(spool, lambda job: None, time.time, get_log(), SchedulerSettings(on_damage=lambda: told.append(True)))
    scheduler.wake()
    scheduler.wake()
    assert told == [True]
