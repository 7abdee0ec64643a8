"""A courier serves one destination: it holds one session at a time, takes message after message for it, and settles what came of each.

It takes a message before it connects, so a server that cannot be reached costs the one message that met it its try, and all others
nothing. Nothing is reported as sent without a 2xx to its content; what was sent to its end and never answered for is kept, and marked as
uncertain (RFC 1047).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from ..errors import StorageDamaged
from ..events.dispatch import Dispatcher
from ..events.live import Uses
from ..events.outbound import Remote
from ..events.transit import ResolveHost
from ..events.verdict_transit import Addresses, NotFound
from ..events.work import Backplane, Facts, OutboundWork
from ..mail.idna import to_ascii
from ..mail.nexthop import NextHop
from ..observe.log import Log
from ..queue.destination import Destination
from ..queue.job import Job, id_of
from ..transport.outcome import Handover
from .attempt import Attempt, Trouble
from .exchange import Context
from .lending import Loan
from .mx import Ask, Target, Targets, Unroutable
from .session import Session
from .settings import DeliverySettings, HopSettings
from .transaction import deliver

# How long cancelled sessions may take to end.
LAST_WAIT = 1.0
# The status of a server that never answered: another address costs little then.
_UNREACHED = "4.4.1"


@dataclass(frozen=True, slots=True)
class CourierParts:
    """What couriers work with; put together by the composition root.

    Args:
        server: this server.
        dispatcher: asks sinks.
        handover: gives messages and takes results.
        targets: finds addresses.
        log: of the sessions.
        hold: keeps a message, by its id, that cannot be read, and says why.
    """

    server: Backplane
    dispatcher: Dispatcher
    handover: Handover
    targets: Targets
    log: Log
    hold: Callable[[str, str], None]


class Crew(Protocol):
    """All couriers, as one of them sees them."""

    @property
    def stopping(self) -> bool:
        """True when no further message is begun."""

    @property
    def context(self) -> Context:
        """What new sessions share."""


class Courier:
    """Serves one destination with one session at a time.

    Args:
        couriers: all of them.
        parts: what they work with.
        settings: how deliveries behave.
        destination: what is served.
    """

    def __init__(self, couriers: Crew, parts: CourierParts, settings: DeliverySettings, destination: Destination) -> None:
        self._couriers = couriers
        self._parts = parts
        # Kept from looking for addresses to the end of the session with one of them.
        self._context = couriers.context
        self._uses: Uses | None = None
        self._settings_for = settings.settings_for
        self._destination = destination
        self._queue = destination.name
        self._session: Session | None = None
        # The only connection that it may use, of a customer who fetches his mail.
        self.loan: Loan | None = None
        self._born = 0.0
        # Messages of the present session, and those that a sink left for another one.
        self._served = 0
        self._skipped: set[str] = set()

    async def run(self) -> None:
        """Takes messages until there are none, or the session has to end."""
        destination = self._destination
        try:
            while not self._couriers.stopping and not self._is_out_of_use():
                job = destination.take()
                if job is None:
                    if not await self._wait():
                        break
                elif not await self._serve(job):
                    break
            await self._end_session()
        finally:
            if self._session is not None:
                self._session.connection.give_up("this server stops")
            self._end_generation()

    def _begin_generation(self) -> None:
        """The next session asks the bindings that are in force now."""
        self._end_generation()
        self._context = self._couriers.context
        self._uses = self._context.hooks.uses
        self._uses.begin()

    def _end_generation(self) -> None:
        """No session works with the bindings any more."""
        uses, self._uses = self._uses, None
        if uses is not None:
            uses.end()

    async def _wait(self) -> bool:
        """Waits with an idle session for another message; False when none comes, or there is no session to keep."""
        session = self._session
        if session is None or self.loan is not None or not session.look():
            return False
        return await self._destination.wait(session.settings.limits.idle)

    async def _serve(self, job: Job) -> bool:
        """One message from its queue to its results; False when the courier is to end."""
        destination, message_id = self._destination, id_of(job)
        if message_id in self._skipped:
            destination.give_back(job, last=True)
            return False
        try:
            work = self._parts.handover.load(job)
        except (StorageDamaged, msgspec.DecodeError) as error:
            # Given back it would come again at once, before all others.
            self._hold(message_id, error)
            return True
        except Exception as error:
            destination.give_back(job)
            # An error of ours: taken again at once it would be met again at once.
            destination.failed(f"an error in this server: {type(error).__name__}: {error}")
            raise
        if work is None:
            destination.finished(message_id)
            return True
        attempt = Attempt(work, self._parts.server.now(), self._parts.handover.served)
        try:
            if self._context is not self._couriers.context:
                # After a reload a session goes on to the end of its message, and the next message has one of the new generation.
                await self._end_session()
            await self._attempt(attempt)
        except asyncio.CancelledError:
            await self._cut_short(job, attempt)
            raise
        except Exception as error:
            if isinstance(error, StorageDamaged) and attempt.untouched:
                self._hold(message_id, error)
                return True
            self._note_failure(attempt, error)
        if attempt.skipped:
            self._skipped.add(message_id)
            destination.give_back(job, last=True)
            return True
        await self._settle(attempt)
        return True

    async def _attempt(self, attempt: Attempt) -> None:
        """Tries servers until one has answered for every recipient, or there is none left to try."""
        if self.loan is not None and attempt.work.record.envelope.parameters.requiretls:
            attempt.give_up(Trouble("REQUIRETLS cannot be kept where mail is fetched (ATRN)", "5.7.30", permanent=True), wide=False)
            return
        blame = True
        while attempt.left and not attempt.skipped:
            session = self._session
            if session is None or self._is_worn(session) or not session.serves(attempt.work):
                await self._end_session()
                self._begin_generation()
                session = self._session = await self._connect(attempt)
                if session is None:
                    self._end_generation()
                    self._give_up(attempt, blame)
                    return
            worn = self._served > 0
            self._served += 1
            await deliver(session, attempt)
            blame = session.work.messages == 0 and bool(attempt.left)
            if not blame or not session.over:
                self._destination.succeeded()
            if not attempt.left:
                # What is left of the session waits until the results are recorded: a crash meanwhile would send the message again.
                return
            if not session.over:
                if session.is_spent:
                    # There is nothing wrong with the server: those who are left go there in a session of their own.
                    attempt.targets = None
                continue
            await self._end_session()
            if worn and session.replies == 0:
                # It ended between two messages, as servers do that close idle connections: nothing was said about this one.
                continue
            attempt.trouble = trouble = session.trouble
            attempt.reached = True
            attempt.sessions += 1
            if trouble is None or trouble.decided is not None or attempt.sessions >= session.settings.limits.sessions:
                self._give_up(attempt, blame)

    def _give_up(self, attempt: Attempt, blame: bool) -> None:
        """Nobody is left to try for those who are left.

        Args:
            attempt: what was tried.
            blame: it was the destination's fault, which backs off then.
        """
        if not attempt.left:
            return
        trouble = attempt.trouble or Trouble("there is no address to try", "4.4.4")
        if blame and trouble.decided is None and not trouble.permanent:
            text = trouble.text if trouble.reply is None else f"{trouble.text}: {trouble.reply}"
            where = f"{trouble.server.host}[{trouble.server.address}]: " if trouble.server.address else ""
            self._destination.failed(where + text)
        # A server that let us in may have something against this one message: then the message waits, and not the queue.
        attempt.give_up(trouble, wide=not attempt.reached)

    async def _connect(self, attempt: Attempt) -> Session | None:
        """A session with the next server that will have us; None when there is none, and the attempt knows why."""
        settings = self._settings_for(self._queue)
        if attempt.targets is None:
            found = await self._find(attempt)
            if isinstance(found, Unroutable):
                attempt.trouble = self._unroutable(found, attempt)
                return None
            attempt.targets = iter(found[: settings.limits.addresses])
        for target in attempt.targets:
            session, trouble = await self._open(target, settings, attempt)
            if trouble is None:
                return session
            if attempt.trouble is None or not trouble.permanent:
                attempt.trouble = trouble
            if trouble.decided is not None:
                return None
            if trouble.status != _UNREACHED:
                attempt.sessions += 1
                if attempt.sessions >= settings.limits.sessions:
                    return None
        return None

    async def _open(self, target: Target, settings: HopSettings, attempt: Attempt) -> tuple[Session, Trouble | None]:
        """Opens a session with one address; once more in clear where TLS was only wished for and failed."""
        session, trouble = await self._open_once(target, settings, attempt, clear=False)
        if trouble is not None and trouble.clear_may_help:
            session, trouble = await self._open_once(target, settings, attempt, clear=True)
        return session, trouble

    async def _open_once(self, target: Target, settings: HopSettings, attempt: Attempt, clear: bool) -> tuple[Session, Trouble | None]:
        server = self._parts.server
        work = OutboundWork(server.new_id(), self._queue, Remote(next_hop=self._queue), server.now())
        session = Session(self._context, settings, work, self._hop().kind == "lmtp")
        began = session.connection.time()
        ready = False
        try:
            trouble = await session.connecting(target, attempt.work)
            if clear:
                session.tls_level = "none"
            elif self.loan is not None:
                # Whose connection this is was proven with a password.
                session.tls_level = "may"
            trouble = trouble or await session.open()
            ready = trouble is None
        finally:
            if not ready:
                session.abandon()
        attempt.connected += session.connection.time() - began
        self._born, self._served = session.connection.time(), 0
        if self.loan is None:
            session.most_mails = session.machine.offered.limit("MAILMAX") or sys.maxsize
        if trouble is not None:
            self._log_session(session, trouble.text)
        return session, trouble

    async def _find(self, attempt: Attempt) -> tuple[Target, ...] | Unroutable:
        try:
            hop, loan = self._hop(), self.loan
            if loan is not None and not loan.used:
                loan.used = True
                return (Target(hop.host, "", 0, path=loan.path),)
            chain = self._context.hooks.resolve_host
            return await self._parts.targets.of(hop, self._asker(attempt) if chain else None)
        except ValueError as error:
            return Unroutable("4.3.5", f"{self._queue!r} is no next hop: {error}")
        except _SinkFailedError:
            return Unroutable("4.4.3", "a sink failed that is asked about host names")

    def _unroutable(self, found: Unroutable, attempt: Attempt) -> Trouble:
        """What it means that there is no way to the next hop.

        Only a domain that the sender wrote can be wrong for good. One that an administrator wrote, such as a smart host, is mended when its
        fault is seen, and the mail of a whole company must not have bounced by then. Postfix does the same.
        """
        if not found.permanent:  # perhaps it is no next hop at all
            return Trouble(found.text, found.status)
        host = self._hop().host
        if all(_is_domain(r.address.domain, host) for r in attempt.left):
            return Trouble(found.text, found.status, permanent=True)
        return Trouble(found.text, f"4{found.status[1:]}")

    def _hop(self) -> NextHop:
        return NextHop.of_queue(self._queue)[0]

    def _asker(self, attempt: Attempt) -> Ask:
        """What asks the sinks of ResolveHost."""
        context, queue = self._context, self._queue

        async def ask(name: str, kind: Literal["mx", "address"]) -> Addresses | NotFound | None:
            event = ResolveHost(Facts(context.server, None, attempt.work), name, kind, queue)
            outcome = await context.hooks.ask(event, context.hooks.resolve_host)
            if outcome.failed:
                raise _SinkFailedError
            verdict = outcome.verdict
            return verdict if isinstance(verdict, Addresses | NotFound) else None

        return ask

    async def _settle(self, attempt: Attempt) -> None:
        """Hands the results over; a message whose results cannot be recorded stays this process's, so that it is not sent again."""
        message_id = attempt.work.record.id
        try:
            step = self._parts.handover.settle(attempt.work, self._queue, attempt.results)
            if step is not None:
                await _to_its_end(step)
        except Exception as error:
            log = self._parts.log
            log.error("results could not be recorded", message=message_id, queue=self._queue, error=str(error), exc_info=error)
            return
        self._destination.finished(message_id)

    async def _cut_short(self, job: Job, attempt: Attempt) -> None:
        """This server stops in the middle of a message: what was answered for is recorded, and what was not begun is as it was."""
        if attempt.untouched:
            self._destination.give_back(job)
            return
        attempt.give_up(Trouble("this server stops", "4.3.2"), wide=True)
        await self._settle(attempt)

    def _hold(self, message_id: str, error: StorageDamaged | msgspec.DecodeError) -> None:
        what = f"{type(error).__name__}: {error}"
        self._parts.log.error("message could not be worked on", message=message_id, queue=self._queue, error=what)
        self._parts.hold(message_id, f"damaged: {error}")
        self._destination.finished(message_id)

    def _note_failure(self, attempt: Attempt, error: Exception) -> None:
        """An error of ours, or of the disk: the message is tried again later."""
        disk = isinstance(error, OSError | StorageDamaged)
        self._parts.log.error(
            "message could not be sent", message=attempt.work.record.id, queue=self._queue, error=f"{type(error).__name__}: {error}",
            exc_info=None if disk else error,
        )  # fmt: skip
        if self._session is not None:
            self._session.connection.give_up("an error of ours")
            self._session = None
        self._end_generation()
        if attempt.left:
            attempt.give_up(Trouble("the content could not be read" if disk else "an internal error", "4.3.0"), wide=False)

    def _is_worn(self, session: Session) -> bool:
        """True when a session takes no further message."""
        if self.loan is not None:
            # There is no other connection to go on with, and the customer waits for all of it.
            return not session.look() or self._served >= (session.machine.offered.limit("MAILMAX") or sys.maxsize)
        age, limits = session.connection.time() - self._born, session.settings.limits
        return not session.look() or session.is_spent or self._served >= limits.messages or age >= limits.age

    def _is_out_of_use(self) -> bool:
        """True when the connection that was lent takes no further message, and there is no other."""
        if self.loan is None or not self.loan.used:
            return False
        return self._session is None or self._is_worn(self._session)

    async def _end_session(self) -> None:
        session = self._session
        if session is None:
            return
        if self.loan is not None:
            self.loan.kept = session.is_at_rest
        await session.quit(farewell=self.loan is None)
        self._session = None
        self._end_generation()
        self._log_session(session, session.trouble.text if session.trouble is not None else "")

    def _log_session(self, session: Session, why: str) -> None:
        server, work = session.server, session.work
        self._parts.log.debug(
            "session with a remote ended", session=work.id, queue=self._queue, remote=server.host, address=server.address,
            tls=str(session.remote.tls or ""), messages=work.messages, recipients=work.recipients, reason=why,
        )  # fmt: skip


async def _to_its_end(step: Coroutine[Any, Any, None]) -> None:
    """Waits for what must be recorded, also when this server stops meanwhile."""
    task = asyncio.get_running_loop().create_task(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=LAST_WAIT / 2)
        raise


class _SinkFailedError(Exception):
    """A sink that is asked about host names failed, and mail waits for it."""


def _is_domain(domain: str, host: str) -> bool:
    """Whether the domain of an address is this host name."""
    try:
        return to_ascii(domain) == host
    except ValueError:
        return False
