"""One worker process: what it is made of, how it begins, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..admin.control import ControlServer, ControlSettings, serve_control
from ..admin.live import Home, LiveOperations
from ..admin.places import socket_path
from ..admin.taking import TakingLimits
from ..config import Config, starting
from ..delivery.couriers import Couriers
from ..delivery.settings import DeliverySettings
from ..errors import StorageError, StorageLocked
from ..events.binding import Bindings
from ..events.blame import blame
from ..events.dispatch import Dispatcher
from ..events.reports import ServerStarted, ServerStopping
from ..events.work import Facts
from ..hosts.listener import serve
from ..hosts.local import place_of
from ..hosts.smtp.connection import Connection
from ..hosts.smtp.encryption import TlsServing
from ..hosts.smtp.host import Services, SmtpHost, SmtpSettings
from ..observe.log import Log, gather, get_log
from ..observe.stalls import Stalls
from ..storage.base import Spool
from ..storage.embedded import EmbeddedSettings, EmbeddedSpool
from ..transport.pipeline import Parts, Transport, TransportSettings
from .administering import LiveBindings
from .building import Ways, transport_settings
from .capturing import Capturing
from .encrypting import Encryption
from .fetching import Fetching, FetchParts
from .generations import GenerationParts, Generations
from .listening import smtp_settings
from .loading import Loaded
from .node import Node
from .on_demand import Collection, OnDemand, lender
from .tracing import LiveTracing

# How long a worker waits for a spool that a dying one still has.
LOCK_WAIT = 30.0


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Which worker of how many, and its listening sockets.

    Args:
        number: from 0.
        count: how many there are.
        sockets: the name of each listener, and its socket.
    """

    number: int
    count: int
    sockets: tuple[tuple[str, socket.socket], ...]


class Worker:
    """One process: its spool, its sinks, its sessions.

    Args:
        config: the configuration.
        place: which worker it is.
    """

    def __init__(self, config: Config, place: WorkerPlace) -> None:
        self._config = config
        self._place = place
        self.damaged = asyncio.Event()
        self._log = get_log()
        self._dispatcher = Dispatcher(self._log)
        self._tracing = LiveTracing(f"worker-{place.number}", config, self._dispatcher, self._log)
        self._spools: list[Spool] = [EmbeddedSpool(self._spool_settings(path)) for path in self._folders()]
        self._node = Node(config, self._spools)
        self._generations = Generations(config, starting(config, self._log), GenerationParts(self._node, self._dispatcher, self._log))
        self._generations.switch = self._switch
        self._ways = Ways.of(config)
        settings = transport_settings(config, self._ways.limits, self.damaged.set)
        self._couriers: list[Couriers] = []
        self._transports = [self._transport(spool, settings) for spool in self._spools]
        self._node.transports = self._transports
        self._control: ControlServer | None = None
        bindings = self._generations.bindings
        names = self._ways.resolver.resolve_name
        self._lends = [lender(transport, couriers) for transport, couriers in zip(self._transports, self._couriers, strict=True)]
        self._on_demand = OnDemand(config, place.number, self._node.release_queue)
        self._customers = customers = Collection(self._on_demand, place.number, self._node.is_waiting, self._lends)
        services = Services(
            self._node, bindings, self._dispatcher, self._transports[0], self._spools[0], self._log, names, self._on_demand, customers
        )
        self._host = SmtpHost(services)
        self._capturing = Capturing(self._host, place.number, self._log)
        self._listeners: dict[str, SmtpSettings] = {}
        parts = FetchParts(
            self._node, self._host, self._ways.targets, lambda: self._couriers[0].context, lambda name: self._listeners[name], self._log
        )
        self._fetching = Fetching(parts)
        self._encryption = Encryption(config)
        self._tls: dict[str, TlsServing | None] = {}
        self._watch: asyncio.Task[None] | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self._stalls = Stalls(self._log, blame)

    def _transport(self, spool: Spool, settings: TransportSettings) -> Transport:
        parts = Parts(self._node, spool, self._dispatcher, self._log)
        bindings = self._generations.bindings
        transport = Transport(parts, bindings, settings)
        couriers = transport.carriers.remote = self._ways.couriers(parts, transport, bindings)
        self._couriers.append(couriers)
        return transport

    async def start(self) -> None:
        """Recovers the spools, starts the sinks, and accepts connections. Raises PenstockError."""
        for spool in self._spools:
            await self._recover(spool)
        # From here on: recovering a spool and importing sinks take their time, and nobody waits for the loop meanwhile.
        self._stalls.start()
        await self._generations.start()
        for transport in self._transports:
            transport.start()
        self._listeners = self._smtp_settings(self._config, self._generations.bindings)
        self._watch_certificates(self._encryption)
        self._capturing.take_up(self._config)
        for name, sock in self._place.sockets:
            self._servers.append(await serve(sock, partial(self._connection, name)))
        self._control = await self._serve_control()
        self._customers.clear()
        self._fetch(self._config)
        self._tell(ServerStarted)

    def _connection(self, listener: str) -> Connection:
        """The next connection of a listener; it keeps the generation that is in force now."""
        return Connection(self._host, self._listeners[listener])

    def _smtp_settings(self, config: Config, bindings: Bindings) -> dict[str, SmtpSettings]:
        # A listener that is gone from the file goes on as it began until a restart takes that up.
        tables = {table.name: table for table in (*self._config.listeners, *config.listeners)}
        self._tls |= self._encryption.serving
        return {name: smtp_settings(config, tables[name], bindings, self._tls[name]) for name, _ in self._place.sockets}

    def _watch_certificates(self, encryption: Encryption) -> None:
        """From now on these certificates are kept fresh, and no others."""
        if self._watch is not None:
            self._watch.cancel()
        self._encryption = encryption
        self._watch = asyncio.get_running_loop().create_task(encryption.watch(self._log))

    def _switch(self, loaded: Loaded, bindings: Bindings) -> None:
        """Puts a generation in force for all that begins from now on."""
        config = loaded.config
        self._node.name, self._node.hostname = config.server.name, config.server.hostname
        self._watch_certificates(loaded.encryption)
        self._listeners = self._smtp_settings(config, bindings)
        self._host.rebind(bindings)
        self._on_demand.config = config
        self._capturing.take_up(config)
        self._tracing.take_up(config)
        self._ways.outbound = loaded.outbound
        self._fetch(config)
        for transport, couriers in zip(self._transports, self._couriers, strict=True):
            transport.rebind(bindings, loaded.transport)
            couriers.rebind(bindings, DeliverySettings(loaded.outbound.hop))

    def _fetch(self, config: Config) -> None:
        """The first worker fetches mail from providers, for all."""
        if self._place.number == 0:
            self._fetching.take_up(config)

    async def _serve_control(self) -> ControlServer:
        """Opens the control socket."""
        table = self._config.server
        working = zip(self._transports, self._lends, strict=True)
        homes = [Home(t.spool, t.scheduler, t.operations, t.reset_routes, t.submit, lend) for t, lend in working]
        listeners = {name: place_of(sock) for name, sock in self._place.sockets}
        worker = f"worker-{self._place.number}"
        bindings = LiveBindings(worker, self._generations)
        operations = LiveOperations(worker, self._node, homes, listeners, self._node.now(), bindings, self._tracing)
        path = socket_path(self._config.resolve(table.control), self._place.number)
        limits = self._config.limits
        taking = TakingLimits(limits.message_size, limits.recipients, limits.hops)
        return await serve_control(path, operations, self._log, ControlSettings(table.submit_group, taking))

    def _tell(self, report: type[ServerStarted] | type[ServerStopping]) -> None:
        chain = self._generations.bindings.chain(report)
        if chain:
            self._dispatcher.tell(report(Facts(self._node)), chain)

    async def stop(self, seconds: float) -> None:
        """Ends: no new session, then no session, then no work under way, and then the spools."""
        deadline = time.monotonic() + seconds
        self._tell(ServerStopping)
        self._fetching.stop()
        # New clients are told so meanwhile: the supervisor keeps the port open, and they would only wait.
        await self._host.drain(seconds)
        for server in self._servers:
            server.close()
        if self._watch is not None:
            self._watch.cancel()
        for transport in self._transports:
            await transport.stop(max(deadline - time.monotonic(), 5.0))
        # Until now: an administrator may well want to see what a drain waits for.
        if self._control is not None:
            await self._control.close()
        await self._ways.resolver.close()
        await self._capturing.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._dispatcher.drain(), 5.0)
        await self._generations.stop()
        self._stalls.stop()
        await self._tracing.close()
        for spool in self._spools:
            try:
                await spool.close()
            except StorageError as error:
                # What could not be written is work that will be repeated: the next start finds the mail as it was before.
                self._log.error("spool does not close cleanly", error=str(error))

    async def _recover(self, spool: Spool) -> None:
        """Opens a spool, waiting for a dying process that may still have it."""
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                found = await spool.open()
                break
            except StorageLocked:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
        for line in found.damaged:
            self._log.error("damage found in the spool and set aside", what=line)
        if found.count or found.damaged:
            self._log.info("recovered", messages=found.count, seconds=round(found.seconds, 3), damaged=len(found.damaged))

    def _folders(self) -> list[Path]:
        """This worker's spool, and those of workers that there are no longer, dealt out among those that there are."""
        base, number, count = self._config.resolve(self._config.server.spool), self._place.number, self._place.count
        orphans = []
        for path in sorted(base.glob("worker-*")):
            owner = path.name.removeprefix("worker-")
            if owner.isdigit() and int(owner) >= count and int(owner) % count == number:
                orphans.append(path)
        return [base / f"worker-{number}", *orphans]

    def _spool_settings(self, path: Path) -> EmbeddedSettings:
        loop = asyncio.get_running_loop()

        def broken() -> None:
            loop.call_soon_threadsafe(self.damaged.set)

        return EmbeddedSettings(
            path,
            on_trouble=lambda line: self._log.error("trouble in the spool", what=line),
            on_broken=broken,
        )


def _calm_collector() -> None:
    """Keeps the garbage collector from looking at what lives as long as the process, and from looking too often.

    What is made for a message goes away by its reference counts; with the defaults the collector took 3 % of the CPU to find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def run_worker(config: Config, place: WorkerPlace, life: int, ready: int) -> None:
    """Runs a worker until it is told to stop, by SIGTERM or by the end of its supervisor.

    Args:
        config: the configuration.
        place: which worker it is.
        life: a descriptor that reads end-of-file when the supervisor is gone.
        ready: a descriptor to write a line to when connections are accepted.

    Raises: PenstockError when it cannot start.
    """
    # Mail, and who writes to whom, is nobody else's business.
    os.umask(0o077)
    loop = asyncio.get_running_loop()
    log: Log = get_log()
    stopping: asyncio.Future[str] = loop.create_future()

    def stop(why: str) -> None:
        if not stopping.done():
            stopping.set_result(why)

    loop.add_signal_handler(signal.SIGTERM, stop, "told to")
    # Those that a terminal sends to the whole group are the supervisor's to answer.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        loop.add_signal_handler(number, lambda: None)
    loop.add_reader(life, stop, "supervisor is gone")
    loop.set_exception_handler(lambda _, context: log.error("unexpected error", what=context["message"], exc_info=context.get("exception")))
    worker = Worker(config, place)
    await worker.start()
    gather(loop)
    _calm_collector()
    os.write(ready, b"ready\n")
    os.close(ready)
    damage = loop.create_task(worker.damaged.wait())
    damage.add_done_callback(lambda _: stop("the spool is damaged"))
    why = await stopping
    damage.cancel()
    loop.remove_reader(life)
    log.info("stopping", why=why)
    # Without its supervisor a worker is in the way of the next server: it only ends what ends soon.
    await worker.stop(float(config.server.drain) if why == "told to" else 3.0)
    gather(None)
    log.info("stopped")
