"""The SMTP server as a machine: octets and decisions in, happenings and octets out.

Pull, not push (h11's way): ``next_event`` gives one happening, and while the decision that it asks for is open nothing more is parsed,
so that pipelined commands wait their turn and their replies leave together (RFC 2920). Check, ask, proceed (OpenSMTPD's way): nothing
malformed becomes a question, and the session changes only when the host accepts. The machine keeps no envelope: that is the host's.

Two refusals end the session at once, since the alternative is to take a stranger's data for commands: a client that speaks HTTP or TLS, and
a BDAT whose size cannot be read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ...errors import LocalProtocolError, RemoteProtocolError
from ...mail.reply import Reply
from .buffer import InputBuffer
from .command import CROSS_PROTOCOL, Bdat, Scope, decode, refuse_bdat, understand
from .content import ContentRules
from .extension import Offer
from .happening import (
    NEED_DATA,
    PAUSED,
    Closed,
    ContentEnd,
    DataStart,
    Expn,
    Greeting,
    Happening,
    Help,
    Mail,
    Noop,
    Question,
    Rcpt,
    Reason,
    Refused,
    Signal,
    Verb,
    Vrfy,
)
from .reading import BlockReading, ChunkReading, DataReading, LineReading, Reading, Swallowing
from .settings import EFFECTS, NOT_SMTP, START_INPUT, TOO_MANY_ERRORS, ServerSettings
from .state import MOVES, State

# The first octet of a TLS record with a ClientHello (RFC 8446 §5.1).
_TLS = "\x16"

_FREELY_ANSWERED = (Noop, Help, Vrfy, Expn, Verb)


class ServerMachine:
    """One SMTP session, seen from the server (RFC 5321 §4).

    Args:
        settings: how the sessions of this listener behave.
    """

    __slots__ = (
        "_announced",
        "_eof",
        "_errors",
        "_input",
        "_out",
        "_question",
        "_reading",
        "_recipients",
        "_rules",
        "_scope",
        "_settings",
        "_state",
        "_told",
        "_transactions",
    )

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._scope = Scope(settings.limits, Offer())
        self._state = State.CONNECTED
        self._input = InputBuffer()
        self._out: list[bytes] = []
        self._told: deque[Happening] = deque()
        self._question: Question | None = None
        self._reading: Reading | None = None
        self._rules = ContentRules(settings.limits, settings.bare_newlines)
        # The BDAT whose octets wait for the decision on DataStart.
        self._announced: Bdat | None = None
        self._eof = False
        self._errors = self._recipients = self._transactions = 0

    # What the host reads.

    @property
    def state(self) -> State:
        """Where the session is."""
        return self._state

    @property
    def is_closed(self) -> bool:
        """True when nothing more will be parsed."""
        return self._state is State.CLOSED

    @property
    def pending(self) -> int:
        """Octets received and not yet parsed; a host stops reading from the client while there are many."""
        return len(self._input)

    def offered(self) -> list[str]:
        """The lines of extensions that EHLO would offer, for the host to edit and hand to ``accept_greeting``."""
        return list(self._settings.lines)

    def data_to_send(self) -> bytes:
        """Every reply queued since the last call, in order."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # What the host feeds in.

    def receive_data(self, data: bytes) -> None:
        """Takes octets from the client; ``b""`` means that no more will come. What comes after the end is ignored."""
        if not data:
            self._eof = True
        elif self._state is not State.CLOSED:
            self._input.append(data)

    def next_event(self) -> Happening | Signal:
        """The next thing that happened, NEED_DATA when more input is needed, or PAUSED while a decision, or the banner, is due."""
        while True:
            if self._told:
                return self._told.popleft()
            if self._state is State.CLOSED:
                return NEED_DATA
            if self._reading is None and (self._question is not None or self._state is State.CONNECTED):
                return PAUSED
            happening = self._next_command() if self._reading is None else self._read_on(self._reading)
            if happening is NEED_DATA and self._eof:
                self._close(Reason.EOF)
            elif happening is not None:
                return happening

    # What the host decides.

    def greet(self, reply: Reply) -> None:
        """Queues the banner and begins to parse.

        After a 554 the client is only waited for: a server "MUST still wait for the client to send a QUIT" (RFC 5321 §3.1). A 421 closes.

        Raises: LocalProtocolError when the banner was sent already.
        """
        if self._state is not State.CONNECTED:
            raise self._misuse("greet")
        if reply.code == 421:
            self.disconnect(reply)
            return
        self._out.append(reply.to_bytes())
        self._move(State.GREETING if reply.is_positive else State.TURNED_AWAY)

    def accept(self, reply: Reply | None = None) -> None:
        """Grants the open question; only now does the session change.

        Args:
            reply: a positive reply in place of the default. For EHLO its lines after the first are the extensions; the first BDAT of a
                transaction has none, as its octets are answered when they have come.

        Raises: LocalProtocolError when nothing is open, the reply is negative, or the content broke a rule.
        """
        question = self._asked("accept")
        if reply is not None and not reply.is_positive:
            raise LocalProtocolError(f"accept() with {reply.code}: negative replies go to refuse()")
        if isinstance(question, Greeting):
            self._accept_greeting(question, reply)
        elif isinstance(question, DataStart):
            self._accept_content(question, reply)
        else:
            self._accept_other(question, reply)

    def accept_greeting(self, keywords: Sequence[str]) -> None:
        """Grants EHLO with these lines of extensions; only what they name may be used afterwards (RFC 5321 §4.1.1.1).

        Raises: LocalProtocolError when the open question is not a greeting.
        """
        question = self._asked("accept_greeting")
        if not isinstance(question, Greeting):
            raise self._misuse("accept_greeting")
        self._accept_greeting(question, Reply(250, "", "\n".join((self._settings.hostname, *keywords))))

    def refuse(self, reply: Reply) -> None:
        """Denies the open question: the session stays as it was, except that refused content ends its transaction (RFC 5321 §4.1.1.4).

        A refused first BDAT ends it too, or the next chunk of the pipeline would begin a message without its first part. A 421 closes.

        Raises: LocalProtocolError when nothing is open or the reply is positive.
        """
        question = self._asked("refuse")
        if reply.is_positive:
            raise LocalProtocolError(f"refuse() with {reply.code}: positive replies go to accept()")
        if reply.code == 421:
            self.disconnect(reply)
            return
        self._question = None
        if self._announced is not None:
            bdat, self._announced = self._announced, None
            self._reading = Swallowing(bdat.size, reply, bdat.line)
            self._move(State.READY)
            return
        self._out.append(reply.to_bytes())
        if isinstance(question, ContentEnd):
            self._move(State.READY)

    def respond(self, reply: Reply) -> None:
        """Answers NOOP, HELP, VRFY, EXPN or a verb with any reply; the session stays as it is, but a 421 closes it.

        Raises: LocalProtocolError when no such question is open.
        """
        if not isinstance(self._asked("respond"), _FREELY_ANSWERED):
            raise self._misuse("respond")
        if reply.code == 421:
            self.disconnect(reply)
            return
        self._question = None
        self._out.append(reply.to_bytes())

    def request_line(self, prompt: Reply | None = None) -> None:
        """Asks for the next raw line, which comes as a Line; the verb's decision is open again then (RFC 4954 §4).

        Raises: LocalProtocolError when no verb's decision is open.
        """
        self._begin_dialogue("request_line", LineReading(self._settings.limits.dialogue_line))
        if prompt is not None:
            self._out.append(prompt.to_bytes())

    def request_bytes(self, size: int) -> None:
        """Asks for exactly ``size`` octets, at least one, which come as Blocks; the verb's decision is open again after the last.

        Raises: LocalProtocolError when no verb's decision is open or nothing is asked for.
        """
        if size < 1:
            raise LocalProtocolError("request_bytes() for less than one octet")
        self._begin_dialogue("request_bytes", BlockReading(size))

    def disconnect(self, reply: Reply | None = None) -> None:
        """Ends the session whatever is open, saying ``reply`` (say, a 421) if given; nothing more is parsed."""
        if self._state is State.CLOSED:
            return
        if reply is not None:
            self._out.append(reply.to_bytes())
        self._close(Reason.DISCONNECTED)

    def reset_greeting(self) -> None:
        """Forgets what the client said so far, unparsed octets included, as STARTTLS demands (RFC 3207 §4.2).

        Raises: LocalProtocolError in a transaction or while a decision is open.
        """
        if self._question is not None or self._state not in (State.GREETING, State.READY):
            raise self._misuse("reset_greeting")
        self._input.clear()
        self._scope.offer = Offer()
        self._move(State.GREETING)

    # How the machine works.

    def _next_command(self) -> Happening | Signal | None:
        """Parses one command; None when it led to no happening but to more to read."""
        try:
            raw = self._input.take_line(self._settings.limits.command_line)
        except RemoteProtocolError as error:
            return self._fail(error, self._input.skip_line())
        if raw is None:
            if self._input.starts_with(ord(_TLS)):
                return self._fail(RemoteProtocolError("TLS without STARTTLS"), _TLS)
            return NEED_DATA
        try:
            question = understand(decode(raw), self._state, self._settings.table, self._scope)
            if isinstance(question, Bdat):
                return self._ask_chunk(question)
            self._check_counters(question)
        except RemoteProtocolError as error:
            return self._fail(error, raw.decode("utf-8", "replace"))
        self._question = question
        return question

    def _check_counters(self, question: Question) -> None:
        limits, kind = self._settings.limits, type(question)
        # RFC 5321 §4.5.3.1.10: "452 Too many recipients"; the client may send what it has and come again with the rest.
        if kind is Rcpt and limits.recipients and self._recipients >= limits.recipients:
            raise RemoteProtocolError("too many recipients", 452, "4.5.3", "Too many recipients")
        if kind is Mail and limits.transactions and self._transactions >= limits.transactions:
            raise RemoteProtocolError("too many transactions", 452, "4.3.2", "Too many messages in this session")

    def _ask_chunk(self, bdat: Bdat) -> Happening | None:
        error = refuse_bdat(self._state, self._scope)
        if error is not None:
            self._reading = Swallowing(bdat.size, error, bdat.line)
        elif self._state is State.BDAT:
            self._begin_chunk(bdat)
        else:
            self._announced = bdat
            self._question = DataStart(True, bdat.line)
        return self._question

    def _begin_chunk(self, bdat: Bdat) -> None:
        self._move(State.CHUNK)
        self._reading = ChunkReading(self._rules, bdat.size, bdat.last)

    def _begin_dialogue(self, call: str, reading: Reading) -> None:
        if not isinstance(self._asked(call), Verb):
            raise self._misuse(call)
        self._reading = reading

    def _read_on(self, reading: Reading) -> Happening | Signal | None:
        """Reads what is not a command."""
        try:
            happening = reading.read(self._input)
        except RemoteProtocolError as error:
            self._input.skip_line()
            self._reading = self._question = None
            # The line may have been a password: it is not shown.
            return self._fail(error, "")
        if reading.done:
            self._reading = None
            after = self._finish(reading)
            if happening is None or after is None:
                return happening or after
            self._told.append(after)
        return NEED_DATA if happening is None else happening

    def _finish(self, reading: Reading) -> Happening | None:
        """What follows when a stretch of input is complete."""
        if isinstance(reading, Swallowing):
            if isinstance(reading.verdict, RemoteProtocolError):
                return self._fail(reading.verdict, reading.line)
            self._out.append(reading.verdict.to_bytes())
        elif isinstance(reading, ChunkReading) and not reading.last and reading.rules.refusal is None:
            # RFC 3030 §2: "A 250 response MUST be sent to each successful BDAT data block".
            self._out.append(Reply(250, "2.0.0", f"{reading.size} octets received").to_bytes())
            self._move(State.BDAT)
        elif isinstance(reading, (DataReading, ChunkReading)):
            self._question = ContentEnd(reading.rules.size, reading.rules.refusal)
            return self._question
        return None

    def _accept_greeting(self, question: Greeting, reply: Reply | None) -> None:
        settings = self._settings
        lines: tuple[str, ...] = ()
        if question.verb == "EHLO":
            lines = settings.lines if reply is None else reply.lines[1:]
        self._question = None
        self._scope.offer = settings.offer if lines == settings.lines else Offer(settings.extensions, lines)
        self._out.append((reply or Reply(250, "", "\n".join((settings.hostname, *lines)))).to_bytes())
        # RFC 5321 §4.1.4: a later EHLO must "clear all buffers and reset the state exactly as if a RSET command had been issued".
        self._move(State.READY)

    def _accept_content(self, question: DataStart, reply: Reply | None) -> None:
        settings = self._settings
        if reply is not None and (question.bdat or reply.code != 354):
            raise LocalProtocolError("accept() of DATA takes a 354, and accept() of BDAT takes no reply")
        self._question = None
        self._rules = ContentRules(settings.limits, settings.bare_newlines)
        if self._announced is not None:
            bdat, self._announced = self._announced, None
            self._begin_chunk(bdat)
            return
        self._out.append((reply or START_INPUT).to_bytes())
        self._reading = DataReading(self._rules)
        self._move(State.DATA)

    def _accept_other(self, question: Question, reply: Reply | None) -> None:
        if isinstance(question, ContentEnd):
            if question.refusal is not None:
                raise LocalProtocolError(f"accept() of content that must be refused: {question.refusal}")
            self._errors = 0
        elif isinstance(question, Mail):
            self._transactions += 1
            self._recipients = 0
            self._scope.utf8 = question.parameters.smtputf8
        elif isinstance(question, Rcpt):
            self._recipients += 1
        self._question = None
        default, state = (self._settings.help(), None) if isinstance(question, Help) else EFFECTS[type(question)]
        self._out.append((reply or default).to_bytes())
        if state is State.CLOSED:
            self._close(Reason.QUIT)
        elif state is not None:
            self._move(State.GREETING if self._state is State.GREETING else state)

    def _fail(self, error: RemoteProtocolError, line: str) -> Refused:
        """Refuses a line by itself, and hangs up when there is no point in going on."""
        reply = Reply(error.code, error.enhanced, error.text)
        reason: Reason | None = None
        verb = line.partition(" ")[0].upper()
        self._errors += reply.is_permanent
        if verb in CROSS_PROTOCOL or line.startswith(_TLS):
            # Of a TLS hello there is no line: what is shown of it must not depend on how much of it came.
            line = _TLS if line.startswith(_TLS) else line
            reply, reason = NOT_SMTP, Reason.CROSS_PROTOCOL
        elif verb == "BDAT" and error.code in (500, 501):
            # What did not parse has no size: "MUST accept and discard the associated message data" (RFC 3030 §2) cannot be done.
            reason = Reason.OUT_OF_STEP
        elif self._settings.limits.errors and self._errors >= self._settings.limits.errors and reply.is_permanent:
            reply, reason = TOO_MANY_ERRORS, Reason.TOO_MANY_ERRORS
        self._out.append(reply.to_bytes())
        if reason is not None:
            self._close(reason)
        return Refused(line, reply)

    def _close(self, reason: Reason) -> None:
        self._state = State.CLOSED
        self._question = self._reading = self._announced = None
        self._input.clear()
        # An end of content that was not yet asked about is not asked about any more.
        self._told.clear()
        self._told.append(Closed(reason))

    def _move(self, state: State) -> None:
        if state not in MOVES[self._state]:
            raise LocalProtocolError(f"a session {self._state.value} cannot move to {state.value}")
        self._state = state

    def _asked(self, call: str) -> Question:
        """The question that the host was given and has not answered."""
        if self._question is None or self._reading is not None or self._told:
            raise self._misuse(call)
        return self._question

    def _misuse(self, call: str) -> LocalProtocolError:
        asked = type(self._question).__name__ if self._question is not None else "no decision"
        return LocalProtocolError(f"{call}() while {asked} is open, {self._state.value} (state {self._state.name})")
