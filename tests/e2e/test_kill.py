"""kill -9 under load: what was acknowledged is delivered, whole, and lies in its Maildir once.

Each round kills either the worker or everything at a random moment while more than fifty sessions send, and starts the server again on
the same spool; in every second pair of rounds mail is kept from being delivered, so that the spool is full of it when the kill comes. A
message whose delivery was done and not yet recorded is delivered again; the Maildir file has the same name then, so the second takes
the place of the first."""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections import Counter
from pathlib import Path

import pytest

from support.load import BackgroundLoad, Plan
from support.server import Server
from support.sinks import STALL
from support.waiting import wait_until

KILLS = 24
LIMITS = "[limits]\nconnections_per_client = 1000\n"


def _kill_once(server: Server, loads: list[BackgroundLoad], everything: bool) -> None:
    """Kills, and brings the server back to where all sessions can send."""
    if everything:
        for load in loads:
            load.aim(None)
        server.kill()
        server.start()
        for load in loads:
            load.aim(server.address)
    else:
        server.kill_worker()
        server.wait_for_workers()


def _acknowledged(loads: list[BackgroundLoad]) -> dict[str, str]:
    return {token: digest for load in loads for token, digest in load.acknowledged().items()}


def _wait_for_more(loads: list[BackgroundLoad], count: int) -> None:
    """Waits until so many more messages are acknowledged; random counts make random moments."""
    goal = len(_acknowledged(loads)) + count
    wait_until(lambda: len(_acknowledged(loads)) >= goal, "mail flows between kills", 30)


def _deliveries(folder: Path) -> Counter[str]:
    """How often each message was delivered, as the logs of all starts say."""
    lines = (line for path in folder.glob("server-*.log") for line in path.read_text().splitlines())
    return Counter(json.loads(line)["message"] for line in lines if '"delivered"' in line and line.endswith("}"))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_acknowledged_message_is_lost_or_damaged_by_kill_9(tmp_path: Path) -> None:
    """After two dozen kills under load every acknowledged message is in its Maildir, once, and every file there is whole."""
    seed = int(os.environ.get("PENSTOCK_SEED", secrets.randbits(32)))
    chance = random.Random(seed)
    print(f"PENSTOCK_SEED={seed}")
    gate = tmp_path / "gate"
    kept = Plan(sessions=40, size=4096, rate=400, patience=10)
    short = Plan(sessions=20, size=1500, rate=100, per_session=1, pipelining=False, patience=10)
    started = time.monotonic()
    with Server(tmp_path, more=LIMITS + STALL.format(until=gate)) as server:
        with BackgroundLoad(kept, server.address) as first, BackgroundLoad(short, server.address) as second:
            loads = [first, second]
            for number in range(KILLS):
                gate.unlink(missing_ok=True) if number % 4 < 2 else gate.touch()
                _wait_for_more(loads, chance.randrange(20, 400))
                _kill_once(server, loads, everything=number % 2 == 0)
            _wait_for_more(loads, 1)
            gate.touch()
            results = [load.stop() for load in loads]
        acknowledged = _acknowledged(loads)
        server.mailboxes.wait_for(acknowledged, 60)
        found = server.mailboxes.compare(acknowledged)
    unknown = {token for one in results for token in one.unknown}
    again = sum(count > 1 for count in _deliveries(tmp_path).values())
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged, {time.monotonic() - started:.0f} s")
    print(f"{len(unknown)} without an answer, {len(found.extra)} of them delivered all the same")
    print(f"{again} delivered again: the kill came between the delivery and its record; {len(found.duplicates)} lie there twice")
    assert not found.missing
    assert not found.corrupt
    assert not found.duplicates, "a repeated delivery takes the place of the first"
    assert found.extra <= unknown, "only mail whose answer got lost may arrive without an acknowledgement"
