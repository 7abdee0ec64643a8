"""One SMTP session: turns what the client did into events, and what the sinks answered into replies.

"Check, ask, proceed": the machine has checked syntax and sequence, the sinks are asked, and only then does anything change. Each
handler returns None when all is settled, or a coroutine to be awaited when a sink or the disk must be waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from ...events import catalog as events
from ...events import verdict as v
from ...events.chain import Chain
from ...events.dispatch import PROCEED, Outcome, Step
from ...events.work import Facts, MessageWork, SessionWork
from ...mail.envelope import Envelope
from ...mail.message import MessageRecord
from ...mail.reply import Reply
from ...observe.log import Log
from ...wire.smtp import happening as wire
from ...wire.smtp.command import CROSS_PROTOCOL
from . import atrn, claims, etrn
from .guard import EARLY
from .login import must_log_in, on_auth
from .promises import keep_promises, offered_now
from .received import Protocol
from .starttls import on_starttls
from .transaction import Transaction

if TYPE_CHECKING:
    from .connection import Connection

Then = Callable[[Outcome], Step]
# A client must not wait for a server of names that is away, nor think that we are.
NAMED_WITHIN = 10.0
_UNKNOWN = Reply(502, "5.5.1", "Command not implemented")


class SmtpSession:
    """What a connection's commands mean.

    Args:
        connection: the connection.
        client: its address and port.
    """

    __slots__ = (
        "bindings", "claimed_helo", "connection", "extended", "failed_logins", "machine", "peer_ip", "services", "transaction", "work",
    )  # fmt: skip

    def __init__(self, connection: Connection, client: tuple[str, int]) -> None:
        self.connection = connection
        self.machine = connection.machine
        self.services = connection.host.services
        # A reload builds new bindings; a session keeps those that it began with.
        self.bindings = connection.bindings
        server = self.services.server
        self.work = SessionWork(server.new_id(), client, connection.settings.name, server.now())
        self.transaction: Transaction | None = None
        self.extended = False
        # Who is connected, whoever the client is; and what that one is said to have called itself.
        self.peer_ip, self.claimed_helo = client[0], ""
        self.failed_logins = 0

    @property
    def log(self) -> Log:
        """A log whose lines name this session; made only when there is something to say."""
        return self.services.log.bind(session=self.work.id, client=self.work.client_ip, listener=self.work.listener)

    @property
    def base(self) -> Protocol:
        """The protocol that the client greeted in."""
        return "SMTP" if not self.extended else "LMTP" if self.connection.settings.service == "lmtp" else "ESMTP"

    @property
    def receiving(self) -> bool:
        """True while content comes."""
        return self.transaction is not None and self.transaction.receiving

    @property
    def recipients(self) -> int:
        """How many recipients the transaction has."""
        return len(self.transaction.message.record.envelope.recipients) if self.transaction else 0

    def greet(self) -> Step:
        """The banner, after Connected was asked."""
        delay = self.connection.settings.guard.banner_delay
        if self.connection.settings.client_names and self.services.names is not None and self.work.client_ip:
            return self._name_and_greet(delay)
        return self._wait_and_greet(delay, self._ask_connected) if delay else self._ask_connected()

    async def _name_and_greet(self, delay: float) -> None:
        """Looks for the client's name, while it waits for the banner anyway where there is a delay."""
        assert self.services.names is not None
        waiting = asyncio.ensure_future(asyncio.sleep(delay))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NAMED_WITHIN):
                self.work.client_name = await self.services.names(self.work.client_ip)
        await waiting
        step = None if self.connection.is_lost else self._ask_connected()
        if step is not None:
            await step

    def _ask_connected(self) -> Step:
        chain = self.bindings.chain(events.Connected)
        return self.ask(events.Connected(self.facts()), chain, self._connected) if chain else self._connected(PROCEED)

    def handle(self, happening: wire.Happening) -> Step:
        """What the client did."""
        return _HANDLERS[type(happening)](self, happening)

    def end(self, reason: str) -> None:
        """The connection is gone."""
        self.end_transaction()
        seconds = self.services.server.now() - self.work.started
        chain = self.bindings.chain(events.SessionEnded)
        if chain:
            self.services.dispatcher.tell(events.SessionEnded(self.facts(), reason, seconds), chain)
        if reason != "quit":
            self.log.info("session ended", reason=reason, messages=self.work.messages, rejections=self.work.rejections)

    # Asking and telling.

    def facts(self) -> Facts:
        """What an event of this moment is about."""
        return Facts(self.services.server, self.work, self.transaction.message if self.transaction else None)

    def ask(self, event: events.Event, chain: Chain, then: Then) -> Step:
        """Asks the sinks and goes on with the outcome, at once or in the coroutine that is returned."""
        return self.services.dispatcher.ask_then(event, chain, then)

    def refused(self, outcome: Outcome, command: str) -> bool:
        """Carries out a refusal; False when the outcome is none."""
        verdict = outcome.verdict
        if verdict is None or not isinstance(verdict, v.Reject | v.Defer | v.Disconnect):
            return False
        self.note_refusal(command, verdict.reply, outcome.by)
        if isinstance(verdict, v.Disconnect):
            self.connection.finish(verdict.reply, "dropped")
        else:
            self.machine.refuse(verdict.reply)
        return True

    def note_refusal(self, command: str, reply: Reply, by: str) -> None:
        """Counts, logs and reports a refusal, whoever made it."""
        self.work.rejections += 1
        command = shown(command, self.connection.settings.wire.verbs)
        ids = {"message": self.transaction.message.record.id} if self.transaction else {}
        self.log.info("rejected", command=command, reply=str(reply), by=by, helo=self.work.helo, **ids)
        chain = self.bindings.chain(events.Rejected)
        if chain:
            self.services.dispatcher.tell(events.Rejected(self.facts(), command, reply, by), chain)

    def end_transaction(self) -> None:
        """Forgets the transaction, if there is one (RFC 5321 §4.1.1.5)."""
        if self.transaction is not None:
            self.transaction.abort()
            self.transaction = None
            self.work.forwarded = {}

    # Commands.

    def _connected(self, outcome: Outcome) -> Step:
        verdict = outcome.verdict
        if isinstance(verdict, v.Delay):
            return self._wait_and_greet(verdict.time.total_seconds(), lambda: self._connected(PROCEED))
        if not isinstance(verdict, v.Disconnect | v.Defer | v.Reject) and self._talks_early():
            # RFC 5321 §4.3.1: "the SMTP client SHOULD, and ... MUST wait for this greeting message before sending any commands".
            outcome, verdict = Outcome(EARLY, "server"), EARLY
        if isinstance(verdict, v.Disconnect | v.Defer | v.Reject):
            self.note_refusal("", verdict.reply, outcome.by)
            self.connection.finish(verdict.reply, "dropped")
        elif isinstance(verdict, v.Respond):
            self.machine.greet(verdict.reply)
        else:
            # RFC 5321 §4.3.1: the host name comes first in the banner.
            protocol = "LMTP" if self.connection.settings.wire.lmtp else "ESMTP"
            self.machine.greet(Reply(220, "", f"{self.services.server.hostname} {protocol} Penstock"))
        return None

    def _talks_early(self) -> bool:
        return self.connection.settings.guard.early_talkers and self.machine.pending > 0

    async def _wait_and_greet(self, seconds: float, greet: Callable[[], Step]) -> None:
        await asyncio.sleep(min(max(seconds, 0.0), self.connection.settings.limits.idle))
        step = None if self.connection.is_lost else greet()
        if step is not None:
            await step

    def on_greeting(self, asked: wire.Greeting) -> Step:
        """HELO, EHLO, or LHLO, which means the same (RFC 2033 §4.1)."""
        kind = events.Helo if asked.verb == "HELO" else events.Ehlo
        offered = [] if asked.verb == "HELO" else [*self.machine.offered(), *self.bindings.advertised]
        longest = self.connection.settings.wire.limits.future_release
        if longest:
            offered = offered_now(offered, longest, self.services.server.now())
        if offered:
            offered += [*claims.offered_to(self), *etrn.offered_to(self), *atrn.offered_to(self)]
        before, self.work.helo = self.work.helo, self.claimed_helo or asked.name
        chain = self.bindings.chain(kind)
        if not chain:
            return self._greeted(asked, offered)
        event = kind(self.facts(), asked.name, offered)

        def settle(outcome: Outcome) -> Step:
            if not self.refused(outcome, asked.line):
                return self._greeted(asked, event.offered)
            self.work.helo = before
            return None

        return self.ask(event, chain, settle)

    def _greeted(self, asked: wire.Greeting, offered: list[str]) -> Step:
        self.end_transaction()
        self.extended = asked.verb != "HELO"
        if self.extended:
            self.machine.accept_greeting(offered)
        else:
            self.machine.accept()
        return None

    def on_mail(self, asked: wire.Mail) -> Step:
        """MAIL begins a transaction."""
        if must_log_in(self, asked) or self._too_many(asked):
            return None
        work, server = self.work, self.services.server
        record = MessageRecord(
            id=server.new_id(),
            received=server.now(),
            envelope=Envelope(asked.sender, [], asked.parameters),
            listener=work.listener,
            client_ip=work.client_ip,
            client_name=work.client_name,
            helo=work.helo,
            user=work.user,
            session=work.id,
        )
        promised = keep_promises(self, asked, record)
        if isinstance(promised, Outcome):
            self.refused(promised, asked.line)
            return None
        self.transaction = Transaction(self, MessageWork(record))
        self.transaction.welcome = promised
        declared = asked.parameters.size or 0
        if self.transaction.too_big(declared):
            return self.transaction.ask_size(declared, lambda reply: self._mail_size(asked, reply))
        return self._ask_mail(asked)

    def _too_many(self, asked: wire.Mail) -> bool:
        """Refuses MAIL of those who send more than they may in a time; whether it did."""
        host, settings = self.connection.host, self.connection.settings.guard
        client = host.client_of(self.connection)
        refusal = host.guard.message(client, self.work, str(asked.sender).lower(), settings)
        return refusal is not None and self.refused(refusal, asked.line)

    def _mail_size(self, asked: wire.Mail, refusal: Outcome | None) -> Step:
        """Sinks have said whether a message that is declared to be too big may come."""
        if refusal is not None and self.refused(refusal, asked.line):
            self.transaction = None
            return None
        return self._ask_mail(asked)

    def _ask_mail(self, asked: wire.Mail) -> Step:
        chain = self.bindings.chain(events.MailFrom)
        if not chain:
            self.machine.accept(self.transaction.welcome if self.transaction else None)
            return None

        def settle(outcome: Outcome) -> Step:
            if self.refused(outcome, asked.line):
                self.transaction = None
            else:
                self.machine.accept(self.transaction.welcome if self.transaction else None)
            return None

        return self.ask(events.MailFrom(self.facts()), chain, settle)

    def on_reset(self, asked: wire.Reset) -> Step:
        """RSET ends the transaction."""

        def reset(reply: Reply | None) -> None:
            self.machine.accept(reply)
            self.end_transaction()

        return self._ask_verb(asked.line, "", reset)

    def on_quit(self, asked: wire.Quit) -> Step:
        """QUIT."""
        return self._ask_verb(asked.line, "", self.machine.accept)

    def on_other(self, asked: wire.Noop | wire.Help | wire.Vrfy | wire.Expn) -> Step:
        """A verb that has an answer but no effect."""
        return self._ask_verb(asked.line, asked.argument, self._answer)

    def on_verb(self, asked: wire.Verb) -> Step:
        """A verb that only its sinks know."""
        if asked.verb in claims.VERBS and not self.bindings.verbs.get(asked.verb):
            return claims.on_claim(self, asked)
        if asked.verb == etrn.VERB and not self.bindings.verbs.get(asked.verb):
            return etrn.on_etrn(self, asked)
        if asked.verb == atrn.VERB and not self.bindings.verbs.get(asked.verb):
            return atrn.on_atrn(self, asked)
        return self._ask_verb(asked.line, asked.argument, lambda reply: self.machine.respond(reply or _UNKNOWN))

    def on_refused(self, refused: wire.Refused) -> Step:
        """The machine refused something by itself."""
        self.note_refusal(refused.line, refused.reply, "server")
        return None

    def _answer(self, reply: Reply | None) -> None:
        if reply is None:
            self.machine.accept()
        else:
            self.machine.respond(reply)

    def _ask_verb(self, line: str, argument: str, proceed: Callable[[Reply | None], object]) -> Step:
        """Asks who is bound to a verb; ``proceed`` gets their positive reply, or None when nobody had one."""
        keyword = line.partition(" ")[0].upper()
        chain = self.bindings.verbs.get(keyword, ())
        if not chain:
            proceed(None)
            return None

        def settle(outcome: Outcome) -> Step:
            verdict = outcome.verdict
            if self.machine.is_closed or self.connection.is_lost:
                return None
            if self.connection.dialogue.refused:
                # The machine refused a line of the dialogue, and has answered already.
                self.connection.dialogue.refused = False
                return None
            if verdict is None:
                proceed(None)
            elif isinstance(verdict, v.Respond) and verdict.reply.is_positive:
                proceed(verdict.reply)
            elif isinstance(verdict, v.Disconnect):
                self.refused(outcome, line)
            elif isinstance(verdict, v.Respond | v.Reject | v.Defer):
                self.note_refusal(line, verdict.reply, outcome.by)
                self.machine.refuse(verdict.reply)
            return None

        return self.ask(events.Verb(self.facts(), keyword, argument, self.connection.dialogue), chain, settle)


_SHOWN = frozenset([
    "HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "HELP", "VRFY", "EXPN", "END", "STARTTLS",
])  # fmt: skip
_VERBS_SHOWN = CROSS_PROTOCOL | {"AUTH", "ATRN", "BURL", "ETRN", "SAML", "SEND", "SOML", "TURN", "XCLIENT", "XFORWARD"}


def shown(command: str, verbs: Collection[str] = ()) -> str:
    """What of a refused command may be shown: all of a known one, only the verb of one whose arguments may be a password.

    Of what is no known verb, nothing: it may be a password, or the beginning of one, that was typed into the wrong place.

    Args:
        command: the line.
        verbs: those that sinks answer.
    """
    verb = command.partition(" ")[0].upper()
    if verb in _SHOWN:
        return command[:200]
    return f"{verb} ..." if verb in _VERBS_SHOWN or verb in verbs else "..." if command else ""


def _in_transaction(name: str) -> Callable[[SmtpSession, Any], Step]:
    """A handler that the transaction under way has; the machine sees to it that there is one."""

    def handle(session: SmtpSession, happening: Any) -> Step:
        step: Step = getattr(session.transaction, name)(happening)
        return step

    return handle


_HANDLERS: dict[type[Any], Callable[[SmtpSession, Any], Step]] = {
    wire.Greeting: SmtpSession.on_greeting,
    wire.Mail: SmtpSession.on_mail,
    wire.Rcpt: _in_transaction("on_rcpt"),
    wire.DataStart: _in_transaction("on_data_start"),
    wire.Chunk: _in_transaction("on_chunk"),
    wire.ContentEnd: _in_transaction("on_content_end"),
    wire.Reset: SmtpSession.on_reset,
    wire.Quit: SmtpSession.on_quit,
    wire.Noop: SmtpSession.on_other,
    wire.Help: SmtpSession.on_other,
    wire.Vrfy: SmtpSession.on_other,
    wire.Expn: SmtpSession.on_other,
    wire.Verb: SmtpSession.on_verb,
    wire.StartTls: on_starttls,
    wire.Auth: on_auth,
    wire.Refused: SmtpSession.on_refused,
}
