"""A remote mail server that does what a script says, in this loop or on a thread of its own, and remembers everything.

In an async test::

    async with Remote(Script({At(Phase.RCPT, 2): reply("550 5.1.1 No such user")})) as remote:
        ...  # deliver to remote.address
        assert remote.copies() == {"a@remote.example": 1}

In a test that blocks, as those of the whole server do, ``with BackgroundRemote(script) as remote`` is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

import uvloop

from .remote_session import Record, Session, Transaction
from .remote_wire import Wire
from .script import Connect, Script
from .waiting import wait_until

BACKLOG = 1024


class Remote:
    """One remote on a free port of 127.0.0.1; an async context manager.

    Args:
        script: what it does; a good server by default.
        host: the address it listens on, any of 127.0.0.0/8.
        port: where; 0 takes a free one. For several remotes that must share a port on different addresses.
    """

    def __init__(self, script: Script | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script or Script()
        self.sessions: list[Record] = []
        self.open = 0
        self.most_open = 0  # sessions at the same time
        self.memory: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fillers: list[socket.socket] = []
        self._accepting: asyncio.Task[None] | None = None
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.script.face.window:  # must be set before listen, to be what connections begin with
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.script.face.window)
        self._socket.bind((host, port))  # bound and not listening: refused, and nobody else gets the port
        self._socket.setblocking(False)
        self.address: tuple[str, int] = self._socket.getsockname()

    @property
    def port(self) -> int:
        """The port alone."""
        return self.address[1]

    async def __aenter__(self) -> Remote:
        if self.script.connect is Connect.ACCEPT:
            self.listen()
        elif self.script.connect is Connect.IGNORE:
            self._clog()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None, where: TracebackType | None = None
    ) -> None:
        tasks = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for filler in self._fillers:
            filler.close()
        self._socket.close()

    def listen(self) -> None:
        """Accepts from now on; called by tests whose script refuses connections at first."""
        self._socket.listen(BACKLOG)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def _clog(self) -> None:
        """Fills the accept queue, so that the kernel drops further SYNs and a connecting client waits."""
        self._socket.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(self.address)
            self._fillers.append(filler)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._socket)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            record = Record(len(self.sessions) + 1)
            self.sessions.append(record)
            task = loop.create_task(self._serve(connection, record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, record: Record) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        wire = Wire(connection)
        try:
            await Session(wire, self.script, record, self.memory).run()
        finally:
            wire.close()
            self.open -= 1
            record.end = record.end or "the remote stopped"

    @property
    def commands(self) -> list[str]:
        """All commands of all sessions, in the sessions' order."""
        return [command for record in list(self.sessions) for command in record.commands]

    @property
    def transactions(self) -> list[Transaction]:
        """All transactions of all sessions."""
        return [transaction for record in list(self.sessions) for transaction in record.transactions]

    @property
    def faults(self) -> list[str]:
        """What clients should not have done."""
        return [fault for record in list(self.sessions) for fault in record.faults]

    def taken(self) -> list[Transaction]:
        """Transactions whose content came whole and was not refused, whether or not the client was told so."""
        return [one for one in self.transactions if one.whole and one.recipients and not one.refused]

    def copies(self) -> Counter[str]:
        """How many acknowledged copies each recipient has."""
        return Counter(recipient for transaction in self.transactions for recipient in transaction.acknowledged)


class BackgroundRemotes:
    """Remotes on a thread with one loop; a context manager that gives them in the scripts' order.

    Args:
        remotes: not yet entered; what they keep may be read from the outside.
    """

    def __init__(self, remotes: Sequence[Remote]) -> None:
        self.remotes = remotes
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._main, name="remotes", daemon=True)

    def __enter__(self) -> Sequence[Remote]:
        self._thread.start()
        assert self._ready.wait(10), "the remotes did not start"
        return self.remotes

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the remotes did not stop"

    def listen(self, remote: Remote) -> None:
        """As ``Remote.listen``, from any thread."""
        self._loop.call_soon_threadsafe(remote.listen)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            for remote in self.remotes:
                await stack.enter_async_context(remote)
            self._ready.set()
            await self._stop.wait()


class BackgroundRemote:
    """One remote on a thread of its own; a context manager that gives the ``Remote``."""

    def __init__(self, script: Script | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.remote = Remote(script, host, port)
        self._background = BackgroundRemotes([self.remote])

    def __enter__(self) -> Remote:
        self._background.__enter__()
        return self.remote

    def __exit__(self, *_: object) -> None:
        self._background.__exit__()

    def listen(self) -> None:
        """As ``Remote.listen``, from any thread."""
        self._background.listen(self.remote)


def wait_for_copies(remote: Remote, copies: int, timeout: float = 10.0) -> None:
    """Waits, blocking, until a background remote acknowledged so many copies."""
    wait_until(lambda: remote.copies().total() >= copies, f"{copies} copies acknowledged", timeout)
