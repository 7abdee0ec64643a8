"""Three hundred attackers of twelve kinds beside twenty honest clients: these feel nothing, and nothing is left of those.

Attackers run in a process of their own, so that what honest clients wait for is the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from support.certificates import certificate
from support.honest import Honest, send_on
from support.processes import alive
from support.server import Server
from support.waiting import wait_until

EACH, SECONDS, HONEST = 25, 8.0, 20
# Deadlines that are met several times within the test; all other limits are what a small server would have.
LIMITS = """
[limits]
connections_per_client = 22
idle = "2s"
command = "1s"
data = "2s"
message = "3s"
banner_delay = "100ms"
unknown_recipients = 10
idle_commands = 100

[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]
handshake = "1s"
"""
# What those of a kind hear at last who are not turned away for being too many: a deadline, their errors, their number of commands, or an
# alert of TLS (RFC 8446 §5.1).
DESERVED = {
    "half_open": "421", "slow_command": "421", "slow_content": "421", "flood": "421", "garbage": "421", "early": "554",
    "tls_silent": "220", "tls_garbage": "\x15\x03\x03", "harvester": "421", "browser": "421",
}  # fmt: skip


async def _attack(server: Server, each: int, seconds: float) -> dict[str, dict[str, int]]:
    """Attacks from another process; what it heard."""
    host, port = server.address
    command = ["-m", "support.attackers", host, str(port), "--each", str(each), "--seconds", str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE, env=environment)
    out, _ = await asyncio.wait_for(process.communicate(), seconds + 30)
    told: dict[str, dict[str, int]] = json.loads(out)
    return told


async def _beside(server: Server) -> tuple[Honest, dict[str, dict[str, int]]]:
    done = asyncio.Event()
    sending = asyncio.create_task(send_on(server.address, HONEST, done))
    told = await _attack(server, EACH, SECONDS)
    done.set()
    return await sending, told


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_honest_clients_feel_nothing_of_three_hundred_attackers(tmp_path: Path) -> None:
    """All their mail is taken, in a time that a person would not notice; and afterwards the worker is as it was."""
    own = certificate("mx.example.com")
    more = LIMITS.format(certificate=own.certificate, key=own.key)
    with Server(tmp_path, deliver="discard:", more=more) as server:
        (worker,) = server.workers
        before = _open_files(worker)
        honest, told = await _beside(server)
        print(
            f"{len(honest.seconds)} messages, p50 {honest.quantile(0.5):.3f} s, p99 {honest.quantile(0.99):.3f} s; attackers heard {told}"
        )
        assert not honest.failed, honest.failed[:5]
        assert len(honest.seconds) > 100
        assert honest.quantile(0.99) < 5.0
        for kind, code in DESERVED.items():
            assert told[kind].get(code), f"{kind}: {told[kind]}"
        # Whoever is still there has until his deadline.
        wait_until(lambda: _open_files(worker) <= before + 5, "all connections are closed", 20)
        assert alive(worker)
        log = server.log_text()
        assert "session failed" not in log
        assert "unexpected error" not in log
