"""Starts N equal workers on shared ports, and starts again those that die.

The supervisor does nothing else: it holds the listening sockets, so that no connection is refused while a worker is away, and it keeps
one end of a pipe, so that workers notice when it is gone. It never touches mail, nor, after its start, the code of sinks: a reload that is
asked for with SIGHUP is what ``penstock reload`` does, in a process that may hang or die without harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .config import Config, starting
from .config.account import account_of, become
from .config.folders import check_owner, make_folders
from .errors import PenstockError
from .events.handed import announce, take_up
from .hosts.inherited import inherited, listening
from .hosts.listener import Address
from .hosts.local import Rights, place_of, remove, shown
from .observe.log import get_log
from .observe.notify import Notifier

# A worker that dies younger than this is started again only after a pause, which doubles up to the longest.
YOUNG, FIRST_PAUSE, LONGEST_PAUSE = 10.0, 0.5, 30.0
CANNOT_START = 78  # EX_CONFIG of sysexits.h
# Beyond the drain, how long a worker may take to end before it is killed.
GRACE = 15.0
# How long a reload may take in all: each worker in turn loads its sinks and starts them.
RELOAD = 900.0


@dataclass(frozen=True, slots=True)
class Stand:
    """What a supervisor begins with.

    Args:
        sockets: the name of each listener, and a listening socket for each worker; a name may be there more than once.
        handed: descriptors of what root read for us, by path.
        notifier: tells the service manager.
        ready_fd: where to write one JSON line when all workers accept connections; None for nowhere.
    """

    sockets: Sequence[tuple[str, Sequence[socket.socket]]]
    handed: Mapping[str, int] = field(default_factory=dict)
    notifier: Notifier = field(default_factory=Notifier)
    ready_fd: int | None = None


class Supervisor:
    """All processes of one server.

    Args:
        config: the configuration, which every worker reads again for itself.
        stand: what it begins with.
    """

    def __init__(self, config: Config, stand: Stand) -> None:
        self._config = config
        self._ready_fd = stand.ready_fd
        self._sockets = stand.sockets
        self._notifier = stand.notifier
        self._handed = list(stand.handed.values())
        # What a child of ours is told: sinks that run as processes of workers are told nothing of it.
        self._environment = {**os.environ, **announce(stand.handed)}
        self._log = get_log()
        self._count = config.server.worker_count
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._life, self._life_end = os.pipe()
        self._stopping = asyncio.Event()
        self._failed: int = 0
        self._reloading: asyncio.Task[None] | None = None
        self._reload_again = False
        self._reloaded = asyncio.Event()

    async def run(self) -> int:
        """Runs the server until SIGTERM or SIGINT; the exit status. Raises PenstockError when it cannot start."""
        starting(self._config, self._log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        # The log goes to standard error, so there is nothing to open again at USR1.
        loop.add_signal_handler(signal.SIGUSR1, lambda: None)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        ready = [asyncio.Event() for _ in range(self._count)]
        keepers = [loop.create_task(self._keep(number, ready[number])) for number in range(self._count)]
        await self._wait_ready(ready)
        watchdog = loop.create_task(self._live())
        await self._stopping.wait()
        self._log.info("stopping", workers=len(self._workers))
        self._notifier.stopping("ending sessions and deliveries under way")
        if self._reloading is not None:
            self._reloading.cancel()
        await self._stop_workers()
        for keeper in keepers:
            keeper.cancel()
        watchdog.cancel()
        for _, socks in self._sockets:
            remove(socks[0])
        await asyncio.gather(*keepers, watchdog, return_exceptions=True)
        return self._failed

    async def _live(self) -> None:
        """Shows the service manager that this loop turns, as often as it wants."""
        while self._notifier.watchdog:
            self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog)

    def _serving(self) -> str:
        return f"serving with {len(self._workers)} of {self._count} workers"

    async def _wait_ready(self, ready: Sequence[asyncio.Event]) -> None:
        """Waits for all workers, and says so."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        for event in ready:
            waiting = asyncio.ensure_future(event.wait())
            await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        stopping.cancel()
        if self._stopping.is_set():
            return
        # Of a listener with several sockets the first: who reads this wants to know where to connect.
        addresses = {name: place_of(socks[0]) for name, socks in reversed(self._sockets)}
        addresses = {name: addresses[name] for name, _ in self._sockets}
        workers = [process.pid for process in self._workers.values()]
        self._log.info("serving", listeners={name: shown(place) for name, place in addresses.items()}, workers=workers)
        self._notifier.ready(self._serving())
        if self._ready_fd is not None:
            line = {"listeners": addresses, "pids": {"supervisor": os.getpid(), "workers": workers}}
            os.write(self._ready_fd, json.dumps(line).encode() + b"\n")
            os.close(self._ready_fd)

    def _reload_soon(self) -> None:
        """Reloads now, or once more when the reload under way is over: the files may have changed behind its back."""
        if self._reloading is not None and not self._reloading.done():
            self._reload_again = True
        else:
            self._reloading = asyncio.get_running_loop().create_task(self._reload())

    async def _reload(self) -> None:
        while True:
            self._reload_again = False
            self._notifier.reloading()
            status, said = await self._run_reload()
            # A reload that failed changed nothing: the server is as ready as before.
            self._notifier.ready(self._serving() if status == 0 else f"{self._serving()}; the last reload failed")
            # A worker that could not start may be able to now, whatever the others say.
            self._reloaded.set()
            if status == 0:
                self._log.info("reload done")
            else:
                self._log.error("reload failed", status=status, error=said)
            if not self._reload_again:
                return

    async def _run_reload(self) -> tuple[int, str]:
        """``penstock reload`` for this server; its exit status, and what it says is wrong."""
        command = [sys.executable, "-m", "penstock", "reload", "--config", str(self._config.path), "--json"]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            pass_fds=self._handed,
        )
        try:
            async with asyncio.timeout(RELOAD):
                _, errors = await process.communicate()
        except TimeoutError:
            return CANNOT_START, f"not done within {RELOAD:g} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
        return process.returncode or 0, "; ".join(line.removeprefix("penstock: ") for line in lines)[-2000:]

    async def _keep(self, number: int, ready: asyncio.Event) -> None:
        """Keeps one worker running."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._run_worker(number, ready)
            if self._stopping.is_set():
                return
            if status == CANNOT_START and not ready.is_set():
                # It has said why. The same configuration will not start the next time either.
                self._failed = CANNOT_START
                self._stopping.set()
                return
            pause = FIRST_PAUSE if time.monotonic() - started > YOUNG else min(pause * 2, LONGEST_PAUSE)
            if status == CANNOT_START:
                # The others run on with what they had loaded; what this one had went with it.
                what = "mend them: it is tried again from time to time, and at once after a reload"
                self._log.error("worker cannot come back while the files are broken", worker=number, restart_in=pause, hint=what)
                await self._pause(pause)
                continue
            self._notifier.status(self._serving())
            self._log.error("worker died", worker=number, status=status, restart_in=pause if pause > 2 * FIRST_PAUSE else 0)
            if pause > 2 * FIRST_PAUSE:
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Waits before a worker is started again; no longer when the server stops, or was reloaded."""
        self._reloaded.clear()
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stopping, self._reloaded)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _run_worker(self, number: int, ready: asyncio.Event) -> int:
        reads, writes = os.pipe()
        mine = [(name, socks[number].fileno()) for name, socks in self._sockets]
        command = [sys.executable, "-m", "penstock", "worker", "--config", str(self._config.path), "--number", str(number)]
        command += ["--count", str(self._count), "--life", str(self._life), "--ready", str(writes)]
        # With their names: by the time that a worker is started again the file may list others.
        command += [f"--socket={fd}={name}" for name, fd in mine]
        process = await asyncio.create_subprocess_exec(
            *command,
            pass_fds=[*(fd for _, fd in mine), *self._handed, self._life, writes],
            env=self._environment,
            start_new_session=False,
            stdin=asyncio.subprocess.DEVNULL,
        )
        os.close(writes)
        self._workers[number] = process
        listening = asyncio.ensure_future(self._note_ready(reads, number, process.pid, ready))
        status = await process.wait()
        await listening
        self._workers.pop(number, None)
        return status

    async def _note_ready(self, reads: int, number: int, pid: int, ready: asyncio.Event) -> None:
        """Reads the line that a worker writes when it accepts connections."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bytes] = loop.create_future()

        def readable() -> None:
            loop.remove_reader(reads)
            done.set_result(os.read(reads, 64))

        loop.add_reader(reads, readable)
        line = await done
        os.close(reads)
        if line:
            if ready.is_set():
                self._log.info("worker is back", worker=number, pid=pid)
                self._notifier.status(self._serving())
            ready.set()

    async def _stop_workers(self) -> None:
        processes = list(self._workers.values())
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        waits = [asyncio.ensure_future(process.wait()) for process in processes]
        if not waits:
            return
        _, late = await asyncio.wait(waits, timeout=float(self._config.server.drain) + GRACE)
        if late:
            self._log.error("workers did not end in time and are killed", workers=len(late))
        for process in processes:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        await asyncio.gather(*waits, return_exceptions=True)


def run(config: Config, ready_fd: int | None = None) -> int:
    """Runs the server; the exit status. Raises PenstockError when it cannot start."""

    # Mail, and who writes to whom, is nobody else's business.
    os.umask(0o077)
    try:
        stand = _begin(config, ready_fd)

        async def main() -> int:
            return await Supervisor(config, stand).run()

        return asyncio.run(main())
    except OSError as error:
        raise PenstockError(f"the server cannot run: {error}") from error


def _begin(config: Config, ready_fd: int | None) -> Stand:
    """Does what root may be needed for, and is the server's user from then on: no sink's code has run by then. Raises PenstockError."""
    log = get_log()
    notifier = Notifier.of(os.environ)
    given = inherited(os.environ)
    account = account_of(config)
    owner = account.uid if account is not None else None
    addresses = [
        Address(one.name, one.address.host, one.address.port, Rights(int(one.socket_mode, 8), one.socket_group, owner))
        for one in config.listeners
    ]
    sockets = listening(addresses, config.server.worker_count, given)
    for left in given:
        log.warning("inherited socket is no listener's", name=left.name, address="{}:{}".format(*left.address))
        left.sock.close()
    handed: dict[str, int] = {}
    if account is not None:
        make_folders(config, account)
        check_owner(config, account.uid)
        handed = become(account, config)
        take_up(handed)
        log.info("no longer root", user=account.name, uid=account.uid, gid=account.gid, kept=sorted(handed))
    else:
        check_owner(config, os.geteuid())
        if os.geteuid() == 0:
            log.warning("running as root", hint='name a user of its own in [server]: user = "penstock"')
    return Stand(sockets, handed, notifier, ready_fd)
