"""The client machine's way in: octets to replies, each given to the command that it answers.

A reply says nothing about what it answers: only its place in the order does. So the machine keeps what is outstanding in a queue, and once
it cannot be sure of the order any more it gives the session up: a 250 that is taken for the answer to a content that it does not answer is
a lost message. What is sent is in ``client``; the two halves of one session are two classes so that each can be read in one sitting.
"""

from __future__ import annotations

from ...errors import RemoteProtocolError
from .client_events import NEED_DATA, Answer, Banner, ContentAnswer, Ending, Event, Signal, Unsolicited
from .client_parameters import Offered
from .client_session import CONTENT, ClientSession
from .client_state import ClientState, row_of
from .outgoing import Bdat, Continuation, Data, EndOfData, Hello, Mail, Outgoing, Quit, Raw, Rcpt, Reset, verb_of
from .replies import Heard

_SHUTTING_DOWN = 421
# "content analysis has started": an answer for each recipient follows (draft-hall-prdr-00).
_EACH = 353


class ClientIntake(ClientSession):
    """The half of a client session that takes octets and gives events."""

    __slots__ = ()

    def receive_data(self, data: bytes) -> None:
        """Takes octets from the server; ``b""`` means that no more will come. What comes after the end is ignored."""
        if not data:
            self._eof = True
        elif self._state is not ClientState.CLOSED and not self._eof:
            self._reader.append(data)

    def next_event(self) -> Event | Signal:
        """The next thing that happened, or NEED_DATA; never raises, whatever the server sends."""
        while True:
            if self._told:
                return self._told.popleft()
            if self._state is ClientState.CLOSED:
                return NEED_DATA
            try:
                # After a granted STARTTLS no octet is the server's until the handshake: it may be anybody's (CVE-2011-0411).
                heard = None if self._state is ClientState.TLS else self._reader.next_reply()
            except RemoteProtocolError as error:
                self._break(error.what)
                continue
            if heard is not None:
                self._hear(heard)
            elif self._eof:
                self._close(Ending.EOF)
            else:
                return NEED_DATA

    def _hear(self, heard: Heard) -> None:
        self._refused = None
        if self._state is ClientState.CONNECTED:
            self._hear_banner(heard)
        elif self._state in CONTENT or (self._owed and len(self._queue) == 1):
            self._hear_too_early(heard)
        elif self._queue:
            self._hear_answer(heard)
        else:
            self._told.append(Unsolicited(heard.reply))
            # Nothing but a 421 may come unasked (RFC 5321 §3.8). This may be the second half of an answer without its hyphens, and
            # then each answer would be taken for that of the next command.
            self._state = ClientState.OUT_OF_STEP
        if heard.reply.code == _SHUTTING_DOWN and self._state is not ClientState.CLOSED:
            self._close(Ending.SHUTTING_DOWN)
        if not self._queue:
            self._ahead = self._state

    def _hear_banner(self, heard: Heard) -> None:
        self._told.append(Banner(heard.reply, heard.cut))
        self._name(heard)
        self._lead(ClientState.GREETING if heard.reply.code // 100 == 2 else ClientState.TURNED_AWAY)

    def _hear_too_early(self, heard: Heard) -> None:
        """A reply to content that was not sent to its end: a refusal is told, but what the server takes the rest for is not known."""
        command = self._queue[0] if self._queue else EndOfData()
        if not heard.reply.is_positive:
            self._queue.clear()
            # Refused content is not without its answer.
            self._state = ClientState.READY
            if isinstance(command, EndOfData) or (isinstance(command, Bdat) and command.last):
                self._told.append(ContentAnswer(command, heard.reply, None, heard.cut))
            else:
                self._told.append(Answer(command, heard.reply, heard.cut))
        if heard.reply.code != _SHUTTING_DOWN:
            self._break(f"{heard.reply.code} before the content was sent")

    def _hear_answer(self, heard: Heard) -> None:
        command = self._queue[0]
        if isinstance(command, EndOfData) or (isinstance(command, Bdat) and command.last):
            self._hear_content_answer(command, heard)
            return
        self._queue.popleft()
        self._told.append(Answer(command, heard.reply, heard.cut))
        digit, row = heard.reply.code // 100, row_of(command)
        if isinstance(command, Quit):
            self._close(Ending.QUIT)
        elif isinstance(command, (Raw, Continuation)):
            self._hear_raw(digit)
        elif digit == row.grants:
            self._grant(command, heard)
        elif digit < 4:
            # A 250 to DATA, a 354 to RCPT: likely the answer to something else.
            self._break(f"{heard.reply.code} in answer to {verb_of(command.line)}")
        elif isinstance(command, Bdat):
            # RFC 3030 §2: "the transaction should be considered failed and the sender-SMTP MUST NOT send any additional BDAT segments".
            self._lead(ClientState.FAILED)
        elif isinstance(command, (Mail, Rcpt)):
            self._refused = command

    def _hear_content_answer(self, command: EndOfData | Bdat, heard: Heard) -> None:
        if self._own is not None:
            self._hear_own_answer(command, heard, self._own)
            return
        granted = heard.reply.code // 100 == 2
        # A chunk before it failed, or nobody was to get it: then there is one answer, which cannot be a good one.
        in_vain = isinstance(command, Bdat) and (self._state is ClientState.FAILED or not self._accepted)
        if heard.reply.code == _EACH and self._prdr and self._accepted and not in_vain:
            self._own = []
            return
        if (heard.reply.is_positive and not granted) or (granted and in_vain):
            self._break(f"{heard.reply.code} in answer to the content")
            return
        # RFC 2033 §4.2: after the content "the server returns one reply for each previously successful RCPT command".
        each = self._settings.protocol == "lmtp" and not in_vain
        self._told.append(ContentAnswer(command, heard.reply, self._answered if each else None, heard.cut))
        self._answered += 1
        if each and self._answered < self._accepted:
            return
        self._queue.popleft()
        self._answered = 0
        # After a refused BDAT only RSET says for sure that the transaction is over.
        self._lead(ClientState.READY if granted or each or isinstance(command, EndOfData) else ClientState.FAILED)

    def _hear_own_answer(self, command: EndOfData | Bdat, heard: Heard, own: list[Heard]) -> None:
        """With PRDR an answer for each recipient comes first, and the last one says whether they hold (draft-hall-prdr-00).

        They are told when that is known: a server that goes away before it has taken responsibility for nothing yet.
        """
        granted = heard.reply.code // 100 == 2
        if heard.reply.is_positive and not granted:
            self._break(f"{heard.reply.code} among the answers for single recipients")
            return
        if len(own) < self._accepted:
            own.append(heard)
            return
        for number, one in enumerate(own):
            holds = one if granted or one.reply.code // 100 != 2 else heard
            self._told.append(ContentAnswer(command, holds.reply, number, holds.cut))
        self._own = None
        self._queue.popleft()
        self._lead(ClientState.READY if granted or isinstance(command, EndOfData) else ClientState.FAILED)

    def _hear_raw(self, digit: int) -> None:
        if digit != 3:
            self._state = self._resume if self._state is ClientState.DIALOGUE else self._state
        elif self._state is not ClientState.DIALOGUE:
            self._resume = self._state
            self._lead(ClientState.DIALOGUE)

    def _grant(self, command: Outgoing, heard: Heard) -> None:
        if isinstance(command, Rcpt):
            if self._state not in (ClientState.MAIL, ClientState.RCPT):
                # The MAIL of this batch was refused: it does not count.
                return
            self._accepted += 1
        elif isinstance(command, (Hello, Mail, Reset)):
            self._accepted = 0
            # Wherever it stands: a 353 means nothing else.
            self._prdr = isinstance(command, Mail) and " PRDR" in command.line.upper() and "PRDR" in self._offered
        elif not self._accepted and (isinstance(command, Bdat) or (isinstance(command, Data) and self._settings.protocol == "lmtp")):
            # With LMTP nobody could say how many answers follow; SMTP knows what to do with a 354 in vain (RFC 2920 §3.1).
            self._break(f"{heard.reply.code} to {verb_of(command.line)} without a recipient")
            return
        if isinstance(command, Hello):
            self._name(heard)
            self._offered = Offered(heard.reply.lines[1:] if verb_of(command.line) != "HELO" else ())
        state = row_of(command).ahead
        if state is not None:
            self._lead(state)

    def _name(self, heard: Heard) -> None:
        words = heard.reply.lines[0].split(maxsplit=1)
        self._remote_name = words[0] if words else self._remote_name
