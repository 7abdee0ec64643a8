"""Fetches the mail that a provider keeps for us (ATRN, RFC 2645): we connect and log in, and then are the server on that connection.

The first worker does it for all. What goes wrong costs one turn: the provider still has the mail, and the next turn asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..config import Config
from ..config.fetching import FetchTable, listener_of
from ..config.outbound import Outbound
from ..delivery.attempt import Trouble
from ..delivery.exchange import Context
from ..delivery.mx import Targets, Unroutable
from ..delivery.session import Session
from ..events.outbound import Remote
from ..events.work import Backplane, OutboundWork
from ..hosts.smtp.connection import Connection
from ..hosts.smtp.host import SmtpHost, SmtpSettings
from ..hosts.smtp.login import AuthServing
from ..hosts.smtp.trust import Trust
from ..mail.nexthop import NextHop
from ..observe.log import Log
from ..wire.smtp.outgoing import raw

# RFC 2645 §5.2.1: a provider may take 10 minutes for the answer, to look through its queue.
ANSWER = 600.0
_TURNED, _NO_MAIL = 250, 453


@dataclass(frozen=True, slots=True)
class FetchParts:
    """What fetching works with; put together by the composition root.

    Args:
        server: this server.
        host: of the sessions in which mail comes.
        targets: finds addresses.
        context: what sessions with remote servers share, as it is at present.
        listener: the settings of a listener, by its name, as they are at present.
        log: where it is said what came of it.
    """

    server: Backplane
    host: SmtpHost
    targets: Targets
    context: Callable[[], Context]
    listener: Callable[[str], SmtpSettings]
    log: Log


class Fetching:
    """Fetches mail in turns, from each provider by itself.

    Args:
        parts: what it works with.
    """

    def __init__(self, parts: FetchParts) -> None:
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []

    def take_up(self, config: Config) -> None:
        """Fetches as a configuration says from now on; what is under way ends with its connection."""
        self.stop()
        loop, outbound = asyncio.get_running_loop(), Outbound(config)
        for name, table in config.fetches.items():
            listener = listener_of(config, table)
            self._tasks.append(loop.create_task(self._turns(name, table, listener, outbound)))

    def stop(self) -> None:
        """Begins no further turn."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def _turns(self, name: str, table: FetchTable, listener: str, outbound: Outbound) -> None:
        hop, log = NextHop.parse(name), self._parts.log
        while True:
            try:
                trouble = await self._turn(hop, table.domains, listener, outbound)
                if trouble is not None:
                    reply = f": {trouble.reply}" if trouble.reply is not None else ""
                    log.warning("mail could not be fetched", provider=name, reason=f"{trouble.text}{reply}")
            except Exception as error:
                log.error("mail could not be fetched", provider=name, reason=f"{type(error).__name__}: {error}", exc_info=error)
            await asyncio.sleep(float(table.every))

    async def _turn(self, hop: NextHop, domains: list[str], listener: str, outbound: Outbound) -> Trouble | None:
        """Asks one provider once, at the first of its addresses that answers; why that was not possible, or None."""
        found = await self._parts.targets.of(hop)
        if isinstance(found, Unroutable):
            return Trouble(found.text, found.status)
        trouble: Trouble | None = None
        for target in found:
            server, queue = self._parts.server, hop.queue()
            work = OutboundWork(server.new_id(), queue, Remote(next_hop=queue), server.now())
            session = Session(self._parts.context(), outbound.hop(queue), work, lmtp=False)
            try:
                session.head_for(target)
                trouble = await session.open()
                if trouble is None:
                    return await self._ask(session, domains, listener)
            finally:
                session.abandon()
        return trouble

    async def _ask(self, session: Session, domains: list[str], listener: str) -> Trouble | None:
        session.connection.until = session.connection.time() + ANSWER
        said = await session.exchange(raw(f"ATRN {','.join(domains)}".rstrip()))
        if session.trouble is not None or said.reply.code == _NO_MAIL:
            return session.trouble
        if said.reply.code != _TURNED:
            return Trouble("the provider refused ATRN", "4.7.1", said.reply)
        transport = session.connection.hand_over()
        if transport is None:
            return Trouble("the provider spoke out of turn, or is gone", "4.5.0")
        self._parts.log.info("mail is fetched from a provider", provider=session.server.host, address=session.server.address)
        served = Served(self._parts.host, within(self._parts.listener(listener)))
        transport.set_protocol(served)
        served.connection_made(transport)
        await served.over.wait()
        return None


class Served(Connection):
    """The connection on which mail comes, once it is turned; ``over`` is set at its end."""

    def __init__(self, host: SmtpHost, settings: SmtpSettings) -> None:
        super().__init__(host, settings)
        self.over = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            super().connection_lost(exc)
        finally:
            self.over.set()


def within(settings: SmtpSettings) -> SmtpSettings:
    """A listener's settings for a connection that we made: it has its TLS, nobody logs in, and nobody speaks for others."""
    wire = replace(
        settings.wire,
        starttls=False,
        tls_required=False,
        mechanisms=(),
        verbs=settings.wire.verbs - {"ATRN", "ETRN", "XCLIENT", "XFORWARD"},
    )
    return replace(settings, wire=wire, tls=None, auth=AuthServing(), trust=Trust())
