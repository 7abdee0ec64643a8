"""Commands and their answers in one session: who asked hears the answer, and sinks hear it before (ServerResponse).

Whoever sends a command that must be answered before the next one uses ``exchange``; a transaction, which groups commands, is told of each
answer as the session's *listener*. What a sink decided about a reply travels beside the reply, since only who knows the phase knows what it
means there.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from ..errors import LocalProtocolError
from ..events.dispatch import PROCEED, Outcome
from ..events.outbound import Remote, ServerResponse
from ..events.verdict_transit import Retry, TreatAs
from ..events.work import Backplane, Facts, MessageWork, OutboundWork
from ..mail.envelope import Recipient
from ..mail.reply import Reply
from ..observe.log import Log
from ..wire.smtp.client import ClientMachine
from ..wire.smtp.client_events import Answer, Banner, Broken, Closed, ContentAnswer, Ending, Event, Unsolicited
from ..wire.smtp.client_settings import ClientSettings
from ..wire.smtp.client_state import ClientState
from ..wire.smtp.outgoing import Continuation, Raw, Rcpt, Sendable, edited, raw, verb_of
from .attempt import NOBODY, Server, Trouble
from .connection import Connection, Place
from .hooks import Hooks
from .mx import Target
from .settings import HopSettings

_NOTHING = Reply(421, "4.4.2", "the connection was lost")


class Said(NamedTuple):
    """What happened, and what it is to count as.

    Args:
        event: from the machine.
        reply: the server's, or what a sink put in its place.
        outcome: what the sinks said to it.
    """

    event: Event
    reply: Reply
    outcome: Outcome = PROCEED


class Listener(Protocol):
    """Who is told of the answers that nobody waits for by name."""

    def hear(self, said: Said) -> None:
        """An answer, or the end."""

    def recipient_of(self, index: int) -> Recipient | None:
        """The accepted recipient with this number."""


class Context(NamedTuple):
    """What all sessions of a worker share."""

    server: Backplane
    hooks: Hooks
    log: Log


class Exchange:
    """One session as a sequence of commands and answers.

    Args:
        context: what all sessions share.
        settings: how it is held.
        work: the session as sinks see it.
        lmtp: it speaks LMTP.
    """

    def __init__(self, context: Context, settings: HopSettings, work: OutboundWork, lmtp: bool) -> None:
        self.context = context
        self.settings = settings
        self.work = work
        self.client = ClientSettings(settings.hostname, "lmtp" if lmtp else "smtp", settings.limits.replies, settings.bare_newlines)
        self.machine = ClientMachine(self.client)
        self.connection = Connection(self.machine, settings.timeouts.answers)
        self.server: Server = NOBODY
        # Why the session can be used no more; None while it can.
        self.trouble: Trouble | None = None
        self.listener: Listener | None = None
        # The message that is being sent, as this hop gets it.
        self.message: MessageWork | None = None
        # Replies that came since the present message was begun.
        self.replies = 0
        # Where we are connected to, and whose turn it was.
        self.place = Place("")
        self.target = Target("", "", 0)

    @property
    def remote(self) -> Remote:
        """The server, as sinks see it."""
        remote = self.work.remote
        assert isinstance(remote, Remote)
        return remote

    @property
    def over(self) -> bool:
        """True when nothing more can be sent in this session."""
        return self.trouble is not None or self.connection.is_lost or self.machine.state is ClientState.OUT_OF_STEP

    def facts(self, message: MessageWork | None = None) -> Facts:
        """What an event of this session is about."""
        return Facts(self.context.server, None, message or self.message, self.work)

    async def take(self) -> Said:
        """The next thing that happened, after the sinks were asked about it; waits for it."""
        while True:
            said = await self._heed(self.connection.event() or await self.connection.next())
            if said is not None:
                return said

    async def step(self) -> None:
        """Takes the next thing that happened and gives it to the listener."""
        said = await self.take()
        if self.listener is not None:
            self.listener.hear(said)

    async def step_if_any(self) -> bool:
        """Does what ``step`` does if something happened; whether it did."""
        event = self.connection.event()
        if event is None:
            return False
        said = await self._heed(event)
        if said is not None and self.listener is not None:
            self.listener.hear(said)
        return True

    async def _heed(self, event: Event) -> Said | None:
        """What an event is to count as; None for what only ends the session, of which a Closed tells."""
        if isinstance(event, Broken):
            self.connection.why = self.connection.why or f"the server broke the protocol: {event.what}"
            return None
        if isinstance(event, Closed):
            self._note_end(event)
            return Said(event, _NOTHING)
        if isinstance(event, Unsolicited):
            self.note(Trouble(f"the server said without being asked: {event.reply}", "4.5.0", event.reply, self.server))
            return None
        self.replies += 1
        return await self._judged(event) if self.context.hooks.response else Said(event, event.reply)

    async def settle(self) -> None:
        """Takes all outstanding answers."""
        while self.machine.oldest is not None and not self.machine.is_closed:
            await self.step()

    def settle_end(self) -> None:
        """Tells the listener of the end of a connection that was given up."""
        event = self.connection.event()
        while event is not None and not isinstance(event, Closed):
            event = self.connection.event()
        if event is not None:
            self._note_end(event)
            if self.listener is not None:
                self.listener.hear(Said(event, _NOTHING))

    def look(self) -> bool:
        """Takes notice of what came unasked; False when the session is over."""
        event = self.connection.event()
        while event is not None:
            if isinstance(event, Closed):
                self._note_end(event)
                break
            if isinstance(event, Unsolicited):
                self.note(Trouble(f"the server said without being asked: {event.reply}", "4.5.0", event.reply, self.server))
            event = self.connection.event()
        return not self.over

    async def exchange(self, command: Sendable) -> Said:
        """Sends a command when all before it are answered, and waits for its answer; a sink may have it sent once more, edited.

        Raises: LocalProtocolError when the machine refuses it.
        """
        await self.settle()
        # A server that speaks before it is spoken to would have its answers taken for those of other commands.
        if not self.look():
            return Said(Closed(Ending.DISCONNECTED), _NOTHING)
        said = await self._ask(command)
        if isinstance(said.outcome.verdict, Retry):
            again = self.again(command, said.outcome)
            if again is not None and self.machine.may_send(again):
                said = await self._ask(again)
        return said

    async def _ask(self, command: Sendable) -> Said:
        self.machine.send(command)
        while True:
            said = await self.take()
            if isinstance(said.event, Closed):
                if self.listener is not None:
                    self.listener.hear(said)
                return said
            if isinstance(said.event, Answer) and said.event.command is command:
                return said
            if self.listener is not None:
                self.listener.hear(said)

    def again(self, command: Sendable, outcome: Outcome) -> Sendable | None:
        """The command as a sink wants it sent again; None when it cannot be, which the log says."""
        verdict = outcome.verdict
        assert isinstance(verdict, Retry)
        try:
            if not verdict.line or verdict.line == command.line:
                return command
            if isinstance(command, Raw):
                return raw(verdict.line)
            if isinstance(command, Continuation):
                return Continuation(verdict.line)
            return edited(command, verdict.line)  # type: ignore[type-var]  # one without a line of its own is refused there
        except (LocalProtocolError, TypeError) as error:
            self.disobey(outcome, str(error))
            return None

    def disobey(self, outcome: Outcome, why: str) -> None:
        """A verdict cannot be done here; the log says so."""
        self.context.log.warning(
            "verdict not obeyed", binding=outcome.by, verdict=type(outcome.verdict).__name__, reason=why, session=self.work.id
        )

    def obey(self, said: Said) -> None:
        """Does what a sink wants after the reply to a command of no transaction: whatever it is but TreatAs ends the session."""
        if said.outcome.verdict is not None and not isinstance(said.outcome.verdict, TreatAs | Retry):
            self.note(self.decided(said))

    def decided(self, said: Said) -> Trouble:
        """A sink decided that this session does not go on."""
        return Trouble(f"a sink decided at {said.reply}", "4.3.2", said.reply, self.server, decided=said.outcome)

    def note(self, trouble: Trouble) -> None:
        """The session can be used no more; the first reason counts."""
        self.trouble = self.trouble or trouble

    def _note_end(self, closed: Closed) -> None:
        why = self.connection.why or closed.ending.value
        self.note(Trouble(why, "4.4.2", None, self.server))

    async def _judged(self, event: Banner | Answer | ContentAnswer) -> Said:
        verb, line, recipient = self._shown(event)
        hooks = self.context.hooks
        asked = ServerResponse(self.facts(), verb, line, event.reply, recipient)
        try:
            outcome = await hooks.ask(asked, hooks.response)
        except BaseException:
            # This server stops, or the disk fails: what the server has answered for counts all the same, or it would get it once more.
            if isinstance(event, ContentAnswer) and self.listener is not None:
                self.listener.hear(Said(event, event.reply))
            raise
        verdict = outcome.verdict
        return Said(event, verdict.reply if isinstance(verdict, TreatAs) else event.reply, outcome)

    def _shown(self, event: Banner | Answer | ContentAnswer) -> tuple[str, str, Recipient | None]:
        """The verb, the command and the recipient that a reply is about."""
        if isinstance(event, Banner):
            return "BANNER", "", None
        command = event.command
        if isinstance(event, ContentAnswer):
            one = self.listener.recipient_of(event.recipient) if self.listener is not None and event.recipient is not None else None
            return "CONTENT", command.line, one
        if isinstance(command, Continuation):
            return "AUTH", "", None
        verb = verb_of(command.line)
        # Nobody but the server is shown a password.
        line = " ".join(command.line.split(" ")[:2]) if verb == "AUTH" else command.line
        return verb, line, command.recipient if isinstance(command, Rcpt) else None


class SinkWire:
    """Lets the sinks of one event talk to the server, until the event is over.

    A handler may be given up in the middle of a command, so each runs as a task of its own: its answer is waited for in any case, or the
    next command would be taken to be answered by it.
    """

    # Commands that change the transaction or the session, or after which octets follow.
    FORBIDDEN = frozenset(
        ["MAIL", "RCPT", "DATA", "BDAT", "BURL", "RSET", "QUIT", "EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "TURN", "ATRN", "SEND",
         "SOML", "SAML"]
    )  # fmt: skip
    # RFC 5321 §4.5.3.1.4: 512 octets with the CRLF; RFC 4954 §4: 12288 for a line of a dialogue.
    LONGEST, LONGEST_IN_DIALOGUE = 510, 12286

    def __init__(self, session: Exchange) -> None:
        self._session = session
        self._ended = False
        self._last: asyncio.Task[Reply] | None = None

    async def send(self, line: str) -> Reply:
        """Sends one command line and returns the reply to it. Raises ValueError; ConnectionError when the server is gone."""
        command = self._command(line)
        while self._last is not None and not self._last.done():
            await asyncio.wait((self._last,))
        if self._ended:
            raise ConnectionError("the event is over")
        self._last = asyncio.get_running_loop().create_task(self._send(command))
        return await asyncio.shield(self._last)

    async def end(self) -> None:
        """Sends nothing more, and waits for what was sent."""
        self._ended = True
        if self._last is not None and not self._last.done():
            await asyncio.wait((self._last,))
        if self._last is not None and not self._last.cancelled():
            self._last.exception()  # whoever asked may have gone
        if self._session.machine.state is ClientState.DIALOGUE:
            self._session.note(Trouble("a sink left a dialogue open", "4.3.0", decided=Outcome(None)))

    def _command(self, line: str) -> Raw | Continuation:
        if not isinstance(line, str):
            raise TypeError(f"a command is a line of text, not {line!r}")
        talking = self._session.machine.state is ClientState.DIALOGUE
        if len(line.encode(errors="replace")) > (self.LONGEST_IN_DIALOGUE if talking else self.LONGEST):
            raise ValueError(f"{line[:60]!r}... is longer than a line may be")
        if any(c in line for c in "\r\n\0"):
            raise ValueError(f"{line!r} is not one line: CR, LF and NUL cannot stand in it")
        if not line.isascii() and "SMTPUTF8" not in self._session.machine.offered:
            raise ValueError(f"{line!r} needs SMTPUTF8, which the server does not offer")
        if talking:
            return Continuation(line)
        if not line.strip() or verb_of(line) in self.FORBIDDEN:
            raise ValueError(f"{line!r} cannot be sent by a sink: it would change the session or the transaction")
        try:
            return raw(line)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from None

    async def _send(self, command: Raw | Continuation) -> Reply:
        session = self._session
        try:
            said = await session.exchange(command)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from None
        if isinstance(said.event, Closed):
            raise ConnectionError(session.connection.why or "the connection was lost")
        session.obey(said)
        return said.reply
