"""A session with a remote server from the connection to QUIT: banner, EHLO, STARTTLS, AUTH, and the events of SessionStart and SessionEnd.

What goes wrong is a ``Trouble``: the caller decides what it means for mail (another address, the same one in clear, later, never).
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import MappingProxyType

from ..errors import LocalProtocolError
from ..events.outbound import Connecting, Remote, SessionEnd, SessionStart, TlsLevel
from ..events.verdict_transit import Retry, TreatAs
from ..events.work import MessageWork
from ..wire.smtp.client_events import Answer, Banner, Closed
from ..wire.smtp.client_state import ClientState
from ..wire.smtp.outgoing import Quit, StartTls
from .attempt import Server, Trouble
from .connection import FAREWELL, Place
from .exchange import Exchange, Said, SinkWire
from .login import log_in
from .mx import Target
from .tls import begins_with_tls, client_context

# RFC 7504 §3: 521 says that the host never takes mail, 556 that the domain does not; both are for good.
_NEVER = frozenset([521, 556])
Step = Callable[["Session"], Awaitable[Trouble | None]]


class Session(Exchange):
    """One session; ``open`` first, then deliveries, then ``quit``."""

    tls_level: TlsLevel = "may"
    # MAIL commands said, and how many the server takes: it counts transactions, of which one message may need several (RFC 9422 §4.1).
    mails = 0
    most_mails = sys.maxsize

    @property
    def is_spent(self) -> bool:
        """True when the server takes no further transaction in this session."""
        return self.mails >= self.most_mails

    def serves(self, message: MessageWork) -> bool:
        """Whether a message may go over this session, which was made for another one (RFC 8689 §4.2.1)."""
        tls = self.remote.tls
        return not message.record.envelope.parameters.requiretls or (tls is not None and tls.verified)

    def head_for(self, target: Target) -> None:
        """Chooses where to connect to, as the settings say, for a session that has no message."""
        settings = self.settings
        self.target = target
        self.tls_level = settings.tls.level
        address = target.path or target.address
        self.place = Place(address, target.port, settings.source.towards(address) if not target.path else "")
        self._describe()

    async def connecting(self, target: Target, message: MessageWork) -> Trouble | None:
        """Chooses where to connect to, and asks the sinks about it (Connecting).

        Args:
            target: the address whose turn it is.
            message: the first one that is to be sent, for conditions; nobody can edit it here.
        """
        self.head_for(target)
        address = self.place.address
        if message.record.envelope.parameters.requiretls:
            self.tls_level = "verify"
        if not self.context.hooks.connecting:
            return None
        asked = Connecting(self.facts(message), address, target.port, self.place.source, self.tls_level)
        outcome = await self.context.hooks.ask(asked, self.context.hooks.connecting)
        asked.restore()
        self.place, self.tls_level = Place(asked.address, asked.port, asked.source), asked.tls
        self._describe()
        if outcome.verdict is not None:
            return Trouble("a sink decided before the connection", "4.3.2", None, self.server, decided=outcome)
        return None

    async def open(self) -> Trouble | None:
        """Connects, greets, and does what must be done before the first message; None when that may be sent."""
        connection, timeouts = self.connection, self.settings.timeouts
        error = await connection.open(self.place, timeouts.connect)
        if error:
            return Trouble(error, "4.4.1", None, self.server)
        connection.until = connection.time() + timeouts.opening
        before: tuple[Step, ...] = (Session._begin_with_tls, Session._banner, Session._hello)
        for step in (*before, Session._secure, Session._log_in, Session._start):
            trouble = await step(self)
            trouble = trouble or self.trouble
            if trouble is not None:
                return trouble
        connection.until = math.inf
        self.server = self.server._replace(dsn="DSN" in self.machine.extensions)
        return None

    @property
    def is_at_rest(self) -> bool:
        """True between two messages: whoever has the connection next can go on with EHLO."""
        return not self.over and self.machine.state is ClientState.READY and self.machine.oldest is None

    async def quit(self, farewell: bool = True) -> None:
        """Says goodbye, if anybody is there, and closes; whatever a server does now harms nobody.

        Args:
            farewell: with QUIT; without it for who goes on with a connection that was lent.
        """
        hooks = self.context.hooks
        ready = self.machine.state is not ClientState.CONNECTED and not self.over
        if hooks.session_end and ready:
            wire = SinkWire(self)
            await hooks.ask(SessionEnd(self.facts(), wire, self.work.messages, self.work.recipients), hooks.session_end)
            await wire.end()
        # Nobody waits for long: the slot is wanted for other mail, and most servers have nothing more to say.
        self.connection.until = self.connection.time() + FAREWELL
        if farewell and self.machine.may_send(Quit()) and not self.connection.is_lost:
            with contextlib.suppress(LocalProtocolError):
                await self._exchange_last(Quit())
        self.connection.close()

    def abandon(self) -> None:
        """Ends a session that was never ready: with QUIT where that can be said, and without waiting for anything."""
        if not self.connection.is_lost and self.machine.may_send(Quit()):
            self.machine.send(Quit())
            self.connection.flush()
        self.connection.close()

    async def _exchange_last(self, command: Quit) -> None:
        """Sends QUIT, also where the session can be used for nothing else, and waits for its answer."""
        self.machine.send(command)
        while not self.machine.is_closed:
            await self.take()

    async def _begin_with_tls(self) -> Trouble | None:
        """TLS with the first octet, where that is how this server is spoken to (RFC 8314 §3); there is no going on without it."""
        if self.tls_level == "none" or not begins_with_tls(self.settings.tls, self.place.port):
            return None
        return await self._handshake(self.tls_level, granted=False)

    async def _banner(self) -> Trouble | None:
        said = await self.take()
        if isinstance(said.event, Closed):
            return self.trouble
        assert isinstance(said.event, Banner)
        self._describe()
        decided = self._verdict(said)
        if decided is not None:
            return decided
        if said.event.reply.code // 100 != 2 or said.reply.code // 100 != 2:
            return self._refused("the server refused us", said, "4.3.2")
        return None

    async def _hello(self) -> Trouble | None:
        hello = self.client.greeting()
        said = await self.exchange(hello)
        if isinstance(said.event, Answer) and self._verdict(said) is None:
            older = self.client.fallback(hello, said.event.reply)
            if older is not None:
                said = await self.exchange(older)
        if isinstance(said.event, Closed):
            return self.trouble
        decided = self._verdict(said)
        if decided is not None:
            return decided
        if self.machine.state is not ClientState.READY or said.reply.code // 100 != 2:
            return self._refused("the server refused our greeting", said, "4.3.2")
        self._describe()
        return None

    async def _secure(self) -> Trouble | None:
        level = self.tls_level
        if level == "none" or self.connection.tls is not None or ("STARTTLS" not in self.machine.extensions and level == "may"):
            return None
        if "STARTTLS" not in self.machine.extensions:
            return Trouble("TLS is required, and the server does not offer it", "4.7.4", None, self.server)
        said = await self.exchange(StartTls())
        if isinstance(said.event, Closed):
            return self._tls_trouble(self.trouble)
        decided = self._verdict(said)
        if decided is not None:
            return decided
        if self.machine.state is not ClientState.TLS:
            # RFC 3207 §4: whether to go on without TLS after a refusal is the client's choice.
            return None if level == "may" else self._refused("the server refused STARTTLS", said, "4.7.4")
        trouble = self._tls_trouble(await self._handshake(level))
        if trouble is not None:
            return trouble
        self._describe()
        # RFC 3207 §4.2: "The client MUST discard any knowledge obtained from the server", and it says EHLO again.
        return self._tls_trouble(await self._hello(), handshake=False)

    async def _handshake(self, level: TlsLevel, granted: bool = True) -> Trouble | None:
        tls = self.settings.tls
        name = tls.name or self.target.host or self.place.address
        try:
            context = client_context(tls, level == "verify", alone=not granted)
        except (OSError, ValueError) as error:
            return Trouble(f"TLS authorities, or our certificate, cannot be read: {error}", "4.3.5", None, self.server)
        error_text = await self.connection.start_tls(context, name, self.settings.timeouts.handshake, granted)
        return Trouble(error_text, "4.7.5", None, self.server) if error_text else None

    def _tls_trouble(self, trouble: Trouble | None, handshake: bool = True) -> Trouble | None:
        """Trouble at TLS: where it was only an attempt, the same host may be tried in clear, as Postfix does."""
        if trouble is None or self.tls_level != "may" or trouble.decided is not None or not handshake:
            return trouble
        return replace(trouble, clear_may_help=True)

    async def _log_in(self) -> Trouble | None:
        return await log_in(self)

    async def _start(self) -> Trouble | None:
        hooks = self.context.hooks
        if not hooks.session_start:
            return None
        wire = SinkWire(self)
        outcome = await hooks.ask(SessionStart(self.facts(), wire), hooks.session_start)
        await wire.end()
        if outcome.verdict is not None:
            return Trouble("a sink decided at the start of the session", "4.3.2", None, self.server, decided=outcome)
        return self.trouble

    def _verdict(self, said: Said) -> Trouble | None:
        """What a sink decided about the reply, when it ends the session."""
        verdict = said.outcome.verdict
        return None if verdict is None or isinstance(verdict, TreatAs | Retry) else self.decided(said)

    def _refused(self, text: str, said: Said, status: str) -> Trouble:
        permanent = said.reply.code in _NEVER
        return Trouble(text, "5.3.2" if permanent else status, said.reply, self.server, permanent=permanent)

    def _describe(self) -> None:
        """Tells sinks and results what is known of the server by now."""
        host = self.target.host or self.place.address
        extensions = MappingProxyType(dict(self.machine.extensions))
        old = self.remote
        self.work.remote = Remote(
            old.next_hop, host, self.machine.remote_name, self.place.address, self.place.port, self.connection.tls, extensions
        )
        lmtp = self.client.protocol == "lmtp"
        self.server = Server(host, self.place.address, False, lmtp)
