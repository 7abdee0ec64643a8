"""One connection to a remote server: octets out, octets in, and a clock; what is said is the machine's and the session's.

An ``asyncio.Protocol`` and not streams: what is written is one call, and a reply wakes the one task that waits for it, once. Whatever goes
wrong on the way (refused, reset, silent, too slow) arrives as the machine's ``Closed``, which tells what is certain, with the reason
in words in ``why``; no exception means "hang up" here.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from dataclasses import dataclass
from typing import cast

from ..wire.smtp.client import ClientMachine
from ..wire.smtp.client_events import NEED_DATA, Closed, Ending, Event, Fate
from ..wire.smtp.client_settings import Timeouts
from ..wire.smtp.outgoing import Outgoing, verb_of
from ..wire.tls import TlsFacts
from .tls import facts_of_session

# How long a connection may take to close in good order.
FAREWELL = 2.0
# How many octets may wait in the process for the other side to take them: what was not yet given to the kernel is certainly not with the
# server, so the end of a content is only written when nearly all of it was. Not 0, at which uvloop's TLS never writes again.
HIGH_WATER = 1
# How many octets may wait to be looked at: nobody looks while a sink is asked or the session waits for the next message, and
# a server that talks on and on meanwhile must not fill the memory. What it sends then stays in the kernel, and with the server.
MOST_UNREAD = 256 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect to.

    Args:
        address: an IP address, or the path of a Unix socket.
        port: the TCP port, 0 for a socket.
        source: our address, "" to let the system choose.
    """

    address: str
    port: int = 0
    source: str = ""

    def __str__(self) -> str:
        if self.address.startswith("/"):
            return self.address
        return f"[{self.address}]:{self.port}"


class Connection(asyncio.Protocol):
    """The octets and the clock of one session; used by one task at a time.

    Args:
        machine: the session's.
        timeouts: how long to wait for what.
    """

    def __init__(self, machine: ClientMachine, timeouts: Timeouts) -> None:
        self.machine = machine
        # Why it ended, in words; "" while it has not, or when the machine knows best.
        self.why = ""
        # What was agreed on, None without TLS.
        self.tls: TlsFacts | None = None
        # When whatever is under way must be over, as time of the loop.
        self.until = math.inf
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._wake_at = math.inf
        self._choked = False
        self._heard = False
        self._unread = 0
        self._held_back = False
        self._closed: Closed | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(HIGH_WATER, 0)

    def data_received(self, data: bytes) -> None:
        self.machine.receive_data(data)
        self._unread += len(data)
        if self._unread > MOST_UNREAD and self._transport is not None and not self._held_back:
            self._held_back = True
            self._transport.pause_reading()
        self._heard = True
        self._wake()

    def eof_received(self) -> None:
        self._hear_end("the server closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._choked = False
        self._hear_end(f"the connection was lost: {_words(exc)}" if exc else "the server closed the connection")
        self._stop_timer()

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self._wake()

    # What the session calls.

    async def open(self, place: Place, seconds: float) -> str:
        """Connects; "" when there is a connection, else why not."""
        try:
            async with asyncio.timeout(seconds):
                if place.address.startswith("/"):
                    await self._loop.create_unix_connection(lambda: self, place.address)
                else:
                    local = (place.source, 0) if place.source else None
                    await self._loop.create_connection(lambda: self, place.address, place.port, local_addr=local)
        except TimeoutError:
            return f"connect to {place}: no answer within {seconds:g} s"
        except (OSError, ValueError) as error:
            return f"connect to {place}: {_words(error)}"
        return "" if self._transport is not None else f"connect to {place}: {self.why}"

    async def start_tls(self, context: ssl.SSLContext, name: str, seconds: float, granted: bool = True) -> str:
        """Turns to TLS, after a granted STARTTLS or at once; "" when it is on, else why not, and then the connection is gone.

        What came before the handshake was not said by who holds the certificate: it ends the session (CVE-2011-0411, CVE-2021-38371).
        """
        transport = self._transport
        dropped = self.machine.reset_after_tls() if granted else self._unread
        if transport is None or dropped:
            return self.give_up(f"{dropped} octets came in clear before the TLS handshake" if dropped else self.why)
        try:
            async with asyncio.timeout(seconds):
                # Nothing is awaited between the look above and the moment at which the transport changes hands.
                secured = await self._loop.start_tls(
                    transport, self, context, server_hostname=name, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=FAREWELL
                )
        except TimeoutError:
            return self.give_up(f"the TLS handshake took more than {seconds:g} s", transport)
        except (OSError, ssl.CertificateError, ValueError) as error:
            return self.give_up(f"the TLS handshake failed: {_words(error)}", transport)
        if secured is None or self._closed is not None or self.machine.is_closed:
            return self.give_up("the TLS handshake failed: the connection was lost", transport)
        self._transport = secured
        self.tls = facts_of_session(secured.get_extra_info("ssl_object"), name)
        self._transport.set_write_buffer_limits(HIGH_WATER, 0)
        return ""

    def time(self) -> float:
        """The time of the loop, which ``until`` is in."""
        return self._loop.time()

    @property
    def certificate(self) -> bytes:
        """The server's certificate in DER, verified or not; b"" without TLS."""
        secured = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return (secured.getpeercert(binary_form=True) if secured is not None else None) or b""

    @property
    def is_lost(self) -> bool:
        """True when nothing can be sent any more."""
        return self._transport is None or self.machine.is_closed or self._transport.is_closing()

    @property
    def has_heard(self) -> bool:
        """True when something came that was not looked at yet."""
        return self._heard

    def flush(self) -> None:
        """Writes what the machine has queued."""
        data = self.machine.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def event(self) -> Event | None:
        """The next event when it is here already."""
        event = self.machine.next_event()
        if event is NEED_DATA:
            self._heard = False
            self._all_read()
            return self._closed
        if isinstance(event, Closed):
            event = self._closed = self._corrected(event)
        return event  # type: ignore[return-value]  # NEED_DATA, the only signal, was ruled out

    async def next(self) -> Event:
        """Writes what is queued and waits for the next event: the last one, Closed, at the latest when the time for it is over.

        However slowly the octets of a reply drip, it has no more than the time of one answer.
        """
        self.flush()
        event = self.event()
        if event is not None:
            return event
        oldest = self.machine.oldest
        seconds = self._timeouts.of(oldest)
        limit = min(self._loop.time() + seconds, self.until)
        while True:
            late = await self._wait(limit)
            event = self.event()
            if event is not None:
                return event
            if late:
                self.give_up(_silence(oldest, seconds, limit < self.until))

    async def taken(self) -> bool:
        """Waits until what was written is with the kernel; False when the server spoke meanwhile, or is gone."""
        self.flush()
        limit = min(self._loop.time() + self._timeouts.block, self.until)
        while self._choked and not self._heard and not self.machine.is_closed:
            if await self._wait(limit) and self._choked:
                self.give_up("the server does not take the content")
        return not self._heard and not self.machine.is_closed

    def give_up(self, why: str, transport: asyncio.Transport | None = None) -> str:
        """Ends the connection at once; returns why."""
        self.why = self.why or why
        unsent = self._transport is not None and self._transport.get_write_buffer_size() > 0
        self.machine.disconnect()
        if unsent:
            self._note_unsent()
        for held in (transport, self._transport):
            if held is not None:
                held.abort()
        self._stop_timer()
        return self.why

    def hand_over(self) -> asyncio.Transport | None:
        """Leaves the connection to somebody else; None when it is lost, or more came than was read."""
        transport = self._transport
        if transport is None or self.is_lost or self.machine.pending:
            return None
        self._transport = None
        self.machine.disconnect()
        self._stop_timer()
        transport.set_write_buffer_limits()
        return transport

    def close(self) -> None:
        """Ends the connection in good order, after QUIT was answered or when nothing is at stake."""
        self.machine.disconnect()
        self._stop_timer()
        if self._transport is not None:
            # TLS says goodbye too, and whoever does not answer that may not hold the connection.
            self._transport.close()
            self._loop.call_later(FAREWELL, self._transport.abort)

    # How it works.

    def _hear_end(self, why: str) -> None:
        self.why = self.why or why
        self.machine.receive_data(b"")
        self._heard = True
        self._wake()

    def _all_read(self) -> None:
        self._unread = 0
        if self._held_back:
            self._held_back = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _note_unsent(self) -> None:
        """What never left our buffers nobody took responsibility for, so nothing about it is uncertain."""
        event = self.machine.next_event()
        while event is not NEED_DATA:
            if isinstance(event, Closed):
                fate = Fate.PARTIAL if event.fate is Fate.UNCERTAIN else event.fate
                self._closed = Closed(event.ending, event.outstanding, fate)
            event = self.machine.next_event()

    def _corrected(self, event: Closed) -> Closed:
        if not self.why and event.ending is Ending.SHUTTING_DOWN:
            self.why = event.ending.value
        if self._transport is not None and event.ending is not Ending.QUIT:
            self._transport.abort()
        return event

    async def _wait(self, limit: float) -> bool:
        """Waits until something happens; True when the time is over instead."""
        self._wake_at = limit
        if limit < self._timer_at:
            self._set_timer(limit)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None
            self._wake_at = math.inf
        return self._loop.time() >= limit

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_timer(self, when: float) -> None:
        """One timer for all waits: it is set anew when a wait is to end before it, not for each of them."""
        self._stop_timer()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._loop.time() >= self._wake_at:
            self._wake()
        elif self._wake_at < math.inf:
            self._set_timer(self._wake_at)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf


def _silence(oldest: Outgoing | None, seconds: float, alone: bool) -> str:
    what = f"answer to {verb_of(oldest.line) if oldest.line != '.' else 'the content'}" if oldest is not None else "banner"
    return f"no {what} within {seconds:g} s" if alone else f"everything took too long; last, no {what} came"


def _words(error: BaseException | None) -> str:
    """An error in one line, for log and listing."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message or str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
