"""One SMTP connection: octets in, octets out, timeouts and flow control; what the commands mean is ``session``'s.

An ``asyncio.Protocol`` and not streams: a read costs one call, and what is answered at once is answered within it, without task or
coroutine. While a decision waits for a sink or the disk, nothing is parsed, and the client's flow of octets is stopped when too many wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from ...mail.reply import Reply
from ...observe.log import Log
from ...wire.smtp.happening import Chunk, Closed, ContentEnd, Happening, Reason, Signal
from ...wire.smtp.server import ServerMachine
from ...wire.tls import TlsFacts
from .clock import SessionClock
from .dialogue import ClientDialogue
from .encryption import TlsLayer
from .farewell import REASONS, SHUTTING_DOWN, TIMED_OUT, TOO_MANY, part
from .host import SmtpHost, SmtpSettings
from .opening import Opening
from .session import SmtpSession
from .starttls import ConnectionTls, tls_is_on
from .tap import SessionTap
from .turned import Turned

# Octets that may wait unparsed before the client is asked to stop sending.
MAX_PENDING = 256 * 1024
# Commands, or pieces of content, that one session may have handled before the others get their turn.
QUANTUM = 100


class Connection(asyncio.Protocol):
    """One connection of a client.

    Args:
        host: what all sessions share.
        settings: how its listener behaves.
    """

    def __init__(self, host: SmtpHost, settings: SmtpSettings) -> None:
        self.host = host
        self.settings = settings
        # Taken with the settings, which know the verbs of this generation.
        self.bindings = host.bindings
        self.machine = ServerMachine(settings.wire)
        self.clock = SessionClock(settings.limits)
        self.dialogue = ClientDialogue(self)
        self.tap: SessionTap | None = None
        # Between the socket and the machine, once TLS has begun.
        self.layer: TlsLayer | None = None
        self._tls = ConnectionTls(self)
        # Who has the octets once the client is the server (ATRN).
        self.turned: Turned | None = None
        # Until a balancer has said whose connection it is.
        self._opening: Opening | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._session: SmtpSession | None = None
        self._client_ip, self._client_port = "", 0
        self._busy = False
        self._held = False
        self._choked = False
        self._stopped_reading = self._held_back = False
        self._task: asyncio.Task[None] | None = None
        self._ending = ""
        self._lingering = False
        self._resuming = False
        self._idled = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        # Of a client at a Unix socket there is a path, or nothing at all.
        peer = (str(name[0]).removeprefix("::ffff:"), int(name[1])) if isinstance(name, tuple) else ("", 0)
        self.bindings.uses.begin()
        if self.settings.trust.proxy and self.settings.trust.speaks_for_others(peer[0]):
            self._opening = Opening(self, peer)
            self.host.expect(self)
            self.clock.handshake(self.settings.limits.command)
        else:
            self.open(peer)

    def open(self, client: tuple[str, int], rest: bytes = b"") -> None:
        """It is known who the client is; ``rest`` came already."""
        self._opening = None
        self.clock.stop()
        self._client_ip, self._client_port = client
        refusal = self.host.admit(self, self._client_ip)
        if refusal:
            self._meet().log.warning("session refused", reason=refusal)
            # A client that waits for a handshake could not read why.
            self.finish(None if self._is_implicit else Reply(421, "4.7.0" if "your" in refusal else "4.3.2", refusal), "dropped")
            self.flush()
        elif self._is_implicit:
            self.begin_tls()
        else:
            self.begin_session()
        if rest:
            self.data_received(rest)

    def begin_session(self, tls: TlsFacts | None = None) -> None:
        """There is somebody to talk to; RFC 8314 §3: with TLS from the first octet, the banner waits for the handshake."""
        self._go_on(self._meet(tls).greet())

    def _meet(self, tls: TlsFacts | None = None) -> SmtpSession:
        session = self._session = SmtpSession(self, (self._client_ip, self._client_port))
        if tls is not None:
            tls_is_on(session, tls)
        if self.host.tap is not None:
            self.tap = self.host.tap(session.facts)
        return session

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._opening is not None:
            self._opening.receive(data)
            return
        if self.layer is not None:
            data = self.layer.receive(data)
            if not data and not self.layer.ended:
                return
        self._hear(data)
        if self.layer is not None and self.layer.ended and data:
            self._hear(b"")

    def _hear(self, data: bytes) -> None:
        """Octets in clear; none when no more will come."""
        if self.turned is not None:
            self.turned.receive(data)
            return
        if self.tap is not None and data:
            self.tap.received(data)
        self.machine.receive_data(data)
        if self.dialogue.is_open:
            self.dialogue.serve()
        elif not self._busy:
            self._pump()
        self._mind_reading()

    def eof_received(self) -> bool:
        if self._lingering:
            return False
        if self._opening is not None:
            self._opening.fail("it ended before")
        elif self._is_shaking_hands:
            self._tls.tls_failed("the client went away")
        else:
            self._hear(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.clock.stop()
        self.host.leave(self)
        self.dialogue.lose()
        if self.turned is not None:
            self.turned.receive(b"")
        if self._task is not None:
            self._task.cancel()
        if self._session is not None:
            self._session.end(self._ending or "lost")
        if self.tap is not None:
            self.tap.ended(self._ending or "lost")
        self.bindings.uses.end()
        if self._task is None:
            self._let_go()

    def pause_writing(self) -> None:
        self._choked = True
        self._mind_reading()

    def resume_writing(self) -> None:
        self._choked = False
        self._mind_reading()
        if self.turned is not None:
            self.turned.let_write()
        if not self._busy:
            self._pump()

    # What the session calls.

    def wait(self) -> None:
        """Nothing more is parsed until ``proceed``."""
        self._busy = self._held = True

    def proceed(self) -> None:
        """The open decision was made; goes on with what came meanwhile."""
        self._busy = self._held = False
        self._pump()

    def finish(self, reply: Reply | None, ending: str) -> None:
        """Says goodbye, if at all, and ends the session when that is sent."""
        self._ending = self._ending or ending
        self.machine.disconnect(reply)

    def note_end(self, reason: Reason) -> None:
        """The machine is done: why, unless that is known already."""
        self._ending = self._ending or REASONS[reason]

    def flush(self) -> None:
        """Sends what is queued, and closes when the machine is done."""
        transport = self._transport
        if transport is None:
            return
        out = self.machine.data_to_send()
        if out:
            self._say(transport, out)
        if self.machine.is_closed:
            self._close(transport)

    def abort(self) -> None:
        """Ends the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def put(self, octets: bytes) -> None:
        """Octets go to the socket as they are."""
        if self._transport is not None:
            self._transport.write(octets)

    def pass_on(self, octets: bytes) -> bool:
        """Octets that are not of the machine go to the client, within TLS where there is TLS; False when it should get no more just now."""
        if self._transport is not None:
            self._transport.write(octets if self.layer is None else self.layer.protect(octets))
        return not self._choked

    def hold_back(self, really: bool) -> None:
        """Reads no more octets for who has them now, or reads on."""
        self._held_back = really
        self._mind_reading()

    def begin_tls(self) -> None:
        """From here on all octets are of TLS: first of a handshake, which has a time of its own."""
        assert self.settings.tls is not None
        self.flush()
        if self.settings.tls.certificates is None:
            self._tls.pretend()
            return
        self.layer = TlsLayer(self.settings.tls.certificates, self._tls)
        self.clock.handshake(self.settings.tls.handshake)

    @property
    def session(self) -> SmtpSession | None:
        """The session, once there is one."""
        return self._session

    @property
    def log(self) -> Log:
        """A log whose lines name the client, for when there is no session."""
        return self.host.services.log.bind(client=self._client_ip, listener=self.settings.name)

    @property
    def is_lost(self) -> bool:
        """True when nobody is there any more."""
        return self._transport is None

    # What the host calls.

    def drain(self) -> None:
        """The server stops: an idle session ends now, a transaction under way may end first."""
        if self._opening is not None or self.turned is not None:
            self.abort()
        elif not self._busy and self._is_to_end():
            self.flush()

    def hang_up(self, ending: str) -> None:
        """Ends the session at once."""
        if self.turned is not None:
            self.abort()
        self.finish(SHUTTING_DOWN, ending)
        self.flush()
        if self._transport is not None:
            self._transport.abort()

    def time_out(self) -> None:
        """The client took too long."""
        self.clock.stop()
        if self._opening is not None:
            self._opening.fail("it took too long")
            return
        if self._is_shaking_hands:
            self._tls.tls_failed("it took too long", "timeout")
        self.finish(TIMED_OUT, "timeout")
        self.flush()

    # How it works.

    @property
    def _is_implicit(self) -> bool:
        return self.settings.tls is not None and self.settings.tls.implicit

    @property
    def _is_shaking_hands(self) -> bool:
        return self.layer is not None and not self.layer.is_on

    def _say(self, transport: asyncio.Transport, out: bytes) -> None:
        """Replies go out; in the middle of a handshake there is nothing that could be said."""
        octets = out if self.layer is None else self.layer.protect(out)
        if self.tap is not None and octets:
            self.tap.sent(out)
        transport.write(octets)

    def _pump(self) -> None:
        """Lets the machine go on until it needs octets, or a decision has to wait; sends what there is to say."""
        if self._session is None:
            return
        try:
            self._go_through()
        except Exception as error:
            self._fail(error)
        self.flush()
        self._set_deadline()
        self._mind_reading()

    def _go_through(self) -> None:
        machine, session = self.machine, self._session
        assert session is not None
        turns = 0
        while not self._busy and not self._choked:
            turns += 1
            if turns > QUANTUM:
                # Others want to be served too: this one goes on in the next turn of the loop.
                if not self._resuming:
                    self._resuming = True
                    self._loop.call_soon(self._resume)
                break
            happening = machine.next_event()
            if isinstance(happening, Signal):
                break
            if self.tap is not None:
                self._let_hear(self.tap, happening)
            if isinstance(happening, Closed):
                self.note_end(happening.reason)
                break
            if self._is_to_end():
                break
            if self._is_idling(happening):
                break
            self._go_on(session.handle(happening), pumping=True)
        if not self._busy:
            self._is_to_end()

    def _let_hear(self, tap: SessionTap, happening: Happening) -> None:
        """Tells who listens; what was answered before goes out first, so that it is heard as the answer to what it answers."""
        out = self.machine.data_to_send()
        if out and self._transport is not None:
            self._say(self._transport, out)
        tap.happened(happening, self.machine.pending)

    def _is_idling(self, happening: Happening) -> bool:
        """Counts commands that lead to nothing; a session of nothing else ends."""
        assert self._session is not None
        most = self.settings.limits.idle_commands
        if isinstance(happening, ContentEnd):
            self._idled = 0
        elif not isinstance(happening, Chunk):
            self._idled += 1
        # Each accepted recipient is one of the commands of a message that may still come.
        if not most or self._idled <= most + self._session.recipients:
            return False
        self._session.note_refusal("", TOO_MANY, "server")
        self.finish(TOO_MANY, "too many errors")
        return True

    def _resume(self) -> None:
        self._resuming = False
        if not self._busy and self._transport is not None:
            self._pump()

    def _fail(self, error: Exception) -> None:
        """An error of ours ends the session, and the client learns nothing of it; the log does."""
        if self._session is None:
            return
        self._session.log.error("session failed", error=f"{type(error).__name__}: {error}", exc_info=error)
        self.finish(Reply(421, "4.3.0", "Internal error, closing the connection"), "dropped")

    def _is_to_end(self) -> bool:
        """The server stops: between messages a session ends (RFC 5321 §3.8)."""
        if not self.host.draining or self._session is None or self._session.transaction is not None:
            return False
        self.finish(SHUTTING_DOWN, "shutdown")
        return True

    def _close(self, transport: asyncio.Transport) -> None:
        if not transport.is_closing() and not self._lingering:
            self._lingering = part(transport, self.layer, self._ending in ("quit", "lost"))

    def _go_on(self, waiting: Coroutine[Any, Any, None] | None, pumping: bool = False) -> None:
        """Waits for a decision in a task, or goes on at once when it was made."""
        if waiting is not None:
            self._busy = True
            self._task = self._loop.create_task(self._decide(waiting))
        elif not pumping:
            self._pump()

    async def _decide(self, waiting: Coroutine[Any, Any, None]) -> None:
        assert self._session is not None
        try:
            await waiting
        except asyncio.CancelledError:
            if self._transport is None:
                self._let_go()
                raise
            self._fail(RuntimeError("cancelled by a handler"))
        except Exception as error:
            self._fail(error)
        self._task = None
        if not self._held:
            self.proceed()
        if self._transport is None:
            self._let_go()

    def _let_go(self) -> None:
        """Nobody is there, and nothing is open: what a sink keeps for the session is closed when nothing else holds it."""
        self._session = self.tap = None

    def _set_deadline(self) -> None:
        """Says whose turn it is."""
        assert self._session is not None
        if self.machine.is_closed:
            self.clock.closing()
        elif self._is_shaking_hands:
            return
        elif self._busy:
            self.clock.stop()
        elif self._session.receiving:
            self.clock.content_comes()
        elif self._choked or not self.machine.pending:
            self.clock.client_is_asked()
        else:
            self.clock.command_has_begun()

    def _mind_reading(self) -> None:
        """Reads no more octets while too many wait, or reads on.

        Nor is anybody listened to who does not read what TLS itself has to say: each request for new keys (RFC 8446 §4.6.3) is answered,
        whether or not there is a command in it.
        """
        stop = self.machine.pending >= MAX_PENDING or (self._choked and self.layer is not None) or self._held_back
        transport = self._transport
        if stop is not self._stopped_reading and transport is not None and not transport.is_closing():
            self._stopped_reading = stop
            (transport.pause_reading if stop else transport.resume_reading)()
