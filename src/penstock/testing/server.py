"""The server in one process, on one loop, without sockets and without a disk: every part is the real one, but those that touch the world.

The sessions, the dispatcher, transport, queues, deliveries and reports are those of a worker, put together from the same configuration.
In the place of sockets stands a network in memory, of DNS what a test wrote down, of the spool one in memory, and of time the clock of
the loop. An ``InProcess`` is what one process would be: it can end in good order, or at once, as by ``kill -9``; the spool goes on to the
next one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any

from ..app.building import Ways, transport_settings
from ..app.encrypting import pretended
from ..app.generations import starting, stopping
from ..app.listening import smtp_settings
from ..app.node import Node
from ..config import Config, plugs
from ..config.outbound import Outbound, resolver_settings, target_settings
from ..delivery.mx import Targets
from ..errors import PenstockError
from ..events.binding import Bindings
from ..events.dispatch import Dispatcher
from ..events.plug import Plug
from ..events.reports import ServerStarted, ServerStopping
from ..events.work import Facts
from ..hosts.smtp.connection import Connection
from ..hosts.smtp.host import Services, SmtpHost, SmtpSettings
from ..observe.log import Log, get_log
from ..storage.base import Entry, Query, Spool
from ..storage.identity import text
from ..storage.memory import MemorySpool
from ..transport.aging import AgingSettings
from ..transport.pipeline import Parts, Transport
from .door import Door
from .names import ScriptedDns, ScriptedResolver
from .network import End, MemoryTransport, Network, connected
from .virtual import OWNER, Owner, VirtualLoop

# How long a server may take to stop, in virtual seconds.
STOPPING = 300.0
# Messages in queues that rest are looked after every so many seconds. A real server does so each minute, which would take a test of five
# days longer than all else in it.
LOOKED_AFTER = 300.0


@dataclass(slots=True)
class World:
    """What is around a server and outlives it.

    Args:
        loop: everything runs on it.
        spool: keeps the messages.
        dns: what DNS says.
        log: of the server itself.
    """

    loop: VirtualLoop
    spool: MemorySpool = field(default_factory=MemorySpool)
    dns: ScriptedDns = field(default_factory=ScriptedDns)
    log: Log = field(default_factory=get_log)
    network: Network = field(init=False)
    ids: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.network = Network(self.loop)
        self.loop.connector = self.network.connect

    def new_id(self) -> str:
        """A queue id: as the server's, sortable by time, but the same in every run."""
        self.ids += 1
        return text(int(self.loop.clock.now() * 1000), 9) + text(self.ids, 7)


class _Node(Node):
    """What the server does for sinks, on the clock of the loop."""

    def __init__(self, config: Config, spool: Spool, world: World) -> None:
        super().__init__(config, [spool])
        self.now = world.loop.clock.now
        self.new_id = world.new_id


class InProcess:
    """One life of a server.

    Args:
        config: the configuration.
        world: what is around it.
        bound: the bindings; None for those of the configuration.

    Raises: ConfigError when a sink cannot be bound.
    """

    def __init__(self, config: Config, world: World, bound: Sequence[Plug] | None = None) -> None:
        self.config = config
        self.world = world
        self.spool = Door(world.spool)
        self.bindings = Bindings(list(plugs(config) if bound is None else bound))
        self.log = world.log
        self.dispatcher = Dispatcher(world.log, world.loop.time)
        self.node = _Node(config, self.spool, world)
        self.damaged = asyncio.Event()
        resolver = ScriptedResolver(world.dns, resolver_settings(config))
        draw = random.Random(0)  # noqa: S311 - a test goes the same way each time
        ways = Ways(Outbound(config), Targets(resolver, target_settings(config), draw, lambda _: True), resolver)
        parts = Parts(self.node, self.spool, self.dispatcher, world.log)
        settings = replace(transport_settings(config, ways.limits, self.damaged.set), aging=AgingSettings(every=LOOKED_AFTER))
        self.transport = Transport(parts, self.bindings, settings)
        self.transport.carriers.remote = ways.couriers(parts, self.transport, self.bindings)
        self.node.transports = [self.transport]
        services = Services(self.node, self.bindings, self.dispatcher, self.transport, self.spool, world.log, resolver.resolve_name)
        self.host = SmtpHost(services)
        self._owner = Owner()
        self._context = copy_context()
        self._context.run(OWNER.set, self._owner)

    async def start(self) -> None:
        """Opens the spool, starts the sinks, and works on what is queued. Raises PenstockError when a sink does not start."""
        await self._within(self._start())

    async def _start(self) -> None:
        await self.spool.open()
        for plug in self.bindings.plugs:
            try:
                await starting(plug)
            except Exception as error:
                raise PenstockError(f"{plug.where}: the sink does not start: {type(error).__name__}: {error}") from error
        self.transport.start()
        self._tell(ServerStarted)

    async def stop(self) -> None:
        """Ends in good order, as at SIGTERM."""
        if self._owner.alive:
            await self._within(self._stop())
            self._owner.end()

    async def _stop(self) -> None:
        self._tell(ServerStopping)
        await self.host.drain(STOPPING)
        await self.transport.stop(STOPPING)
        await self.dispatcher.drain()
        for plug in self.bindings.plugs:
            try:
                await stopping(plug)
            except Exception as error:
                self.log.error("sink does not stop", binding=plug.name, error=f"{type(error).__name__}: {error}")

    def kill(self) -> None:
        """Ends at once, as at ``kill -9``: nothing more is recorded, no connection hears a goodbye, and the sinks are not told."""
        self.spool.shut = True
        self._owner.end()

    def connect(self, protocol: asyncio.Protocol, client: End, listener: str) -> MemoryTransport:
        """Connects a client to a listener; the client's end.

        Args:
            protocol: the client's.
            client: its address and port.
            listener: the name of the listener.
        """
        table = next(one for one in self.config.listeners if one.name == listener)
        settings = smtp_settings(self.config, table, self.bindings, pretended(self.config, table))
        here = (table.address.host, table.address.port)
        return self._context.copy().run(self._connected, protocol, client, here, settings)

    def _connected(self, protocol: asyncio.Protocol, client: End, here: End, settings: SmtpSettings) -> MemoryTransport:
        transport = connected(self.world.loop, (protocol, client), (Connection(self.host, settings), here))
        self._owner.at_end.append(transport.peer.cut)
        return transport

    def entries(self) -> list[Entry]:
        """All that is in the spool."""
        found, cursor = [], ""
        while True:
            page = self.spool.select(Query(), cursor)
            found += page.entries
            cursor = page.cursor
            if not cursor:
                return found

    def is_at_rest(self) -> bool:
        """Whether nobody works on anything: each message is held, or waits for its time."""
        now = self.node.now()
        for entry in self.entries():
            if self.transport.scheduler.is_active(entry.id):
                return False
            if not entry.held and entry.due <= now and not (entry.queue and self.transport.scheduler.rest_of(entry.queue)[0] > now):
                return False
        return True

    def _tell(self, report: type[ServerStarted] | type[ServerStopping]) -> None:
        chain = self.bindings.chain(report)
        if chain:
            self.dispatcher.tell(report(Facts(self.node)), chain)

    async def _within(self, step: Coroutine[Any, Any, None]) -> None:
        await self.world.loop.create_task(step, context=self._context.copy())
