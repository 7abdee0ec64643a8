"""A worker in the test's own loop that can be asked: transport over a spool in memory, its control socket, and the command beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from hosts.running import Running
from penstock import Address
from penstock.admin.control import ControlServer, ControlSettings, serve_control
from penstock.admin.live import Home, LiveOperations
from penstock.admin.places import socket_path
from penstock.delivery.lending import Lent
from penstock.mail.content import MemoryContent
from penstock.mail.envelope import Envelope, Recipient
from penstock.mail.message import MessageRecord, encode_record
from penstock.observe.log import get_log
from penstock.storage.base import Entry, Put, Spool

CONFIG = """\
[server]
hostname = "mx.example.com"
workers = {workers}
control = "{control}"

[[listener]]
name = "mx"
address = "127.0.0.1:0"

[domain."example.com"]
"""
CONTENT = b"Subject: greetings\r\nFrom: carol@client.example\r\n\r\nHello.\r\n"


async def no_loan(queue: str, path: str) -> Lent:
    """There are no couriers here to lend anything to."""
    return Lent.UNUSED


class Live:
    """One worker and its control socket; an async context manager.

    Args:
        folder: where configuration and sockets go.
        number: which worker.
        workers: how many the configuration says there are.
        settings: of the control socket.
        spool: where messages are; in memory when None.
    """

    def __init__(
        self, folder: Path, number: int = 0, workers: int = 1, settings: ControlSettings | None = None, spool: Spool | None = None
    ) -> None:
        self.folder = folder
        self.config = folder / "penstock.toml"
        self.config.write_text(CONFIG.format(workers=workers, control=folder / "run"))
        self.path = socket_path(folder / "run", number)
        self.running = Running(spool=spool, is_local=lambda domain: domain == "example.com")
        self._settings = settings
        self.server: ControlServer

    async def __aenter__(self) -> Live:
        await self.running.__aenter__()
        transport = self.running.node.transport
        assert transport is not None
        home = Home(self.spool, transport.scheduler, transport.operations, transport.reset_routes, transport.submit, no_loan)
        listeners = {"mx": self.running.address}
        self.operations = LiveOperations(self.path.stem, self.running.node, [home], listeners, self.running.node.now())
        self.server = await serve_control(self.path, self.operations, get_log(), self._settings)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.server.close()
        await self.running.__aexit__(*error)

    @property
    def spool(self) -> Spool:
        return self.running.spool

    async def keep(
        self, *recipients: str, queue: str = "mx:far.example", sender: str = "carol@client.example", due: float | None = None, **more: Any
    ) -> str:
        """Puts a message into the spool that waits for its time; its id."""
        node = self.running.node
        kept = [Recipient(Address.parse(r), reason=more.get("reason", "")) for r in recipients or ("ann@far.example",)]
        content = more.get("content", CONTENT)
        record = MessageRecord(
            node.new_id(), node.now() - more.get("age", 0.0), Envelope(Address.parse(sender), kept), size=more.get("size", len(content))
        )
        due = node.now() + 3600 if due is None else due
        entry = Entry(record.id, "routed", encode_record(record), record.id, queue, due, more.get("held", ""))
        await self.spool.commit([Put(entry, MemoryContent(content))])
        return record.id

    async def run(self, *arguments: str, stdin: bytes = b"", code: int | None = 0, **env: str) -> tuple[str, str]:
        """The command with this worker's configuration; its output and errors. ``code`` None takes any exit code."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PENSTOCK_CONFIG": str(self.config), **env},
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        if code is not None:
            assert process.returncode == code, (process.returncode, out, err)
        return out.decode(), err.decode()
