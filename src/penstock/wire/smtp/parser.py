"""The server machine's way in: octets to happenings, one at a time, checked in syntax, sequence and limits.

What is decided about them is in ``server``; the two halves of one session are two classes so that each can be read in one sitting. While a
decision is open nothing more is parsed, so that pipelined commands wait their turn and their replies leave together (RFC 2920).

Two refusals end the session at once, since the alternative is to take a stranger's data for commands: a client that speaks HTTP or TLS, and
a BDAT whose size cannot be read.
"""

from __future__ import annotations

import re
from collections import deque

from ...errors import LocalProtocolError, RemoteProtocolError
from ...mail.reply import Reply
from .buffer import InputBuffer
from .command import CROSS_PROTOCOL, Bdat, Scope, decode, refuse_bdat, understand
from .content import ContentRules
from .extension import Offer
from .happening import NEED_DATA, PAUSED, Closed, ContentEnd, DataStart, Happening, Mail, Question, Rcpt, Reason, Refused, Signal
from .reading import ChunkReading, DataReading, Reading, Swallowing
from .settings import NOT_SMTP, TOO_MANY_ERRORS, ServerSettings
from .state import MOVES, State

# The first octet of a TLS record with a ClientHello (RFC 8446 §5.1).
_TLS = "\x16"
# The verb as a lenient server would read it: "BDAT" with a tab or NUL behind it is followed by octets all the same.
_FIRST_WORD = re.compile(r"[\s\x00-\x1f]*([A-Za-z]+)")
_WAITING = frozenset({State.CONNECTED, State.SECURING})


class ServerParser:
    """The half of a server session that takes octets and gives happenings.

    Args:
        settings: how the sessions of this listener behave.
    """

    __slots__ = (
        "_announced",
        "_each",
        "_eof",
        "_errors",
        "_input",
        "_out",
        "_prdr",
        "_question",
        "_reading",
        "_recipients",
        "_rules",
        "_scope",
        "_served",
        "_settings",
        "_state",
        "_told",
        "_transactions",
    )

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._served = settings.in_clear
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
        # Whether the open end of content is answered once for each recipient, and whether the client asked for that by PRDR.
        self._each = self._prdr = False
        self._eof = False
        self._errors = self._recipients = self._transactions = 0

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

    def data_to_send(self) -> bytes:
        """Every reply queued since the last call, in order."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Takes octets from the client; ``b""`` means that no more will come. What comes after the end is ignored."""
        if not data:
            self._eof = True
        elif self._state is not State.CLOSED:
            self._input.append(data)

    def next_event(self) -> Happening | Signal:
        """The next thing that happened, NEED_DATA when more input is needed, PAUSED while a decision, the banner or a handshake is due."""
        while True:
            if self._told:
                return self._told.popleft()
            if self._state is State.CLOSED:
                return NEED_DATA
            if self._reading is None and (self._question is not None or self._state in _WAITING):
                return PAUSED
            happening = self._next_command() if self._reading is None else self._read_on(self._reading)
            if happening is NEED_DATA and self._eof:
                self._close(Reason.EOF)
            elif happening is not None:
                return happening

    def _next_command(self) -> Happening | Signal | None:
        """Parses one command; None when it led to no happening but to more to read."""
        if not self._input:
            return NEED_DATA
        try:
            raw = self._take_line()
        except RemoteProtocolError as error:
            return self._fail(error, self._input.skip_line())
        if raw is None:
            if self._input.starts_with(ord(_TLS)):
                return self._fail(RemoteProtocolError("TLS without STARTTLS"), _TLS)
            return NEED_DATA
        try:
            question = understand(decode(raw), self._state, self._served.table, self._scope)
            if isinstance(question, Bdat):
                return self._ask_chunk(question)
            self._check_counters(question)
        except RemoteProtocolError as error:
            return self._fail(error, raw.decode("utf-8", "replace"))
        self._question = question
        return question

    def _take_line(self) -> bytearray | None:
        limits = self._settings.limits
        try:
            return self._input.take_line(limits.command_line)
        except RemoteProtocolError:
            # RFC 4954 §4 gives the lines of AUTH 12288 octets; found out only about a line that is too long for others.
            if not self._scope.offer.mechanisms or not self._input.begins(b"AUTH "):
                raise
            return self._input.take_line(limits.dialogue_line)

    def _check_counters(self, question: Question) -> None:
        limits, kind = self._settings.limits, type(question)
        # RFC 5321 §4.5.3.1.10: "452 Too many recipients"; the client may send what it has and come again with the rest.
        if kind is Rcpt and limits.recipients and self._recipients >= limits.recipients:
            raise RemoteProtocolError("too many recipients", 452, "4.5.3", "Too many recipients")
        if kind is Mail and limits.transactions and self._transactions >= limits.transactions:
            raise RemoteProtocolError("too many transactions", 452, "4.3.2", "Too many messages in this session")

    def _ask_chunk(self, bdat: Bdat) -> Happening | None:
        error = refuse_bdat(self._state, self._scope, self._settings.lmtp)
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
            self._out.append(reading.verdict.to_bytes() * reading.times)
        elif isinstance(reading, ChunkReading) and not reading.last and reading.rules.refusal is None:
            # RFC 3030 §2: "A 250 response MUST be sent to each successful BDAT data block".
            self._out.append(Reply(250, "2.0.0", f"{reading.size} octets received").to_bytes())
            self._move(State.BDAT)
        elif isinstance(reading, (DataReading, ChunkReading)):
            # RFC 2033 §4.3 has a reply for each recipient after BDAT LAST alone, so a chunk in the middle that is refused gets one.
            self._each = self._settings.lmtp and (isinstance(reading, DataReading) or reading.last)
            self._question = ContentEnd(reading.rules.size, reading.rules.refusal)
            return self._question
        return None

    def _fail(self, error: RemoteProtocolError, line: str) -> Refused:
        """Refuses a line by itself, and hangs up when there is no point in going on."""
        reply = Reply(error.code, error.enhanced, error.text)
        reason: Reason | None = None
        found = _FIRST_WORD.match(line)
        verb = found[1].upper() if found else ""
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
