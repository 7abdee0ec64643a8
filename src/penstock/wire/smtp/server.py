"""The SMTP server as a machine: octets and decisions in, happenings and octets out.

Pull, not push (h11's way): ``next_event`` gives one happening and waits for the decision that it asks for. Check, ask, proceed (OpenSMTPD's
way): nothing malformed becomes a question, and the session changes only when the host accepts. The machine keeps no envelope: that is the
host's.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from ...errors import LocalProtocolError
from ...mail.reply import Reply
from .command import Scope
from .content import ContentRules
from .extension import Offer
from .happening import Auth, ContentEnd, DataStart, Expn, Greeting, Help, Mail, Noop, Question, Rcpt, Reason, StartTls, Verb, Vrfy
from .parser import ServerParser
from .reading import BlockReading, DataReading, LineReading, Reading, Swallowing
from .settings import CONTENT_ANALYSIS, EFFECTS, READY_FOR_TLS, START_INPUT
from .state import State

_FREELY_ANSWERED = (Noop, Help, Vrfy, Expn, Verb)


class ServerMachine(ServerParser):
    """One SMTP session, seen from the server (RFC 5321 §4).

    Args:
        settings: how the sessions of this listener behave.
    """

    __slots__ = ()

    def offered(self) -> list[str]:
        """The lines of extensions that EHLO would offer, for the host to edit and hand to ``accept_greeting``."""
        return list(self._served.lines)

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
        elif isinstance(question, StartTls):
            self._accept_tls(reply)
        else:
            self._accept_other(question, reply)

    def accept_greeting(self, keywords: Sequence[str]) -> None:
        """Grants EHLO with these lines of extensions, and HELO without; only what they name may be used afterwards (RFC 5321 §4.1.1.1).

        Raises: LocalProtocolError when the open question is not a greeting.
        """
        question = self._asked("accept_greeting")
        if not isinstance(question, Greeting):
            raise self._misuse("accept_greeting")
        lines = keywords if question.verb != "HELO" else ()
        self._accept_greeting(question, Reply(250, "", "\n".join((self._settings.hostname, *lines))))

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
            times = self._recipients if self._settings.lmtp and bdat.last else 1
            self._reading = Swallowing(bdat.size, reply, bdat.line, times)
            self._move(State.READY)
            return
        if isinstance(question, ContentEnd):
            self._out.append(reply.to_bytes() * (self._recipients if self._each else 1))
            self._move(State.READY)
        else:
            self._out.append(reply.to_bytes())

    @property
    def answers_each(self) -> bool:
        """True when the content of this transaction is, or may be, answered once for each recipient."""
        return self._settings.lmtp or self._prdr

    def answer_each(self, replies: Sequence[Reply], final: Reply) -> None:
        """Answers the end of content once for each accepted RCPT, in their order (RFC 2033 §4.2, draft-hall-prdr-00 §4.5).

        Args:
            replies: one for each accepted RCPT; some positive, some not.
            final: what PRDR says at last of the message as a whole; LMTP has no such reply.

        Raises: LocalProtocolError when no end of content is open, the client cannot take several replies, the content broke a rule, or the
            replies are not as many as the recipients.
        """
        question = self._asked("answer_each")
        if not isinstance(question, ContentEnd) or question.refusal is not None or not self.answers_each:
            raise self._misuse("answer_each")
        if len(replies) != self._recipients:
            raise LocalProtocolError(f"answer_each() with {len(replies)} replies for {self._recipients} recipients")
        said = replies if self._settings.lmtp else (CONTENT_ANALYSIS, *replies, final)
        self._out.append(b"".join(reply.to_bytes() for reply in said))
        self._question = None
        self._errors = 0
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

    def challenge(self, text: bytes) -> None:
        """Sends a challenge and asks for the response, which comes as a Line that is still encoded (RFC 4954 §4).

        Not as a reply of text: a challenge "is sent as a 334 reply with the text part containing the [BASE64] encoded string", which may be
        far longer than other replies, and must never be cut.

        Raises: LocalProtocolError when no AUTH is open.
        """
        if not isinstance(self._asked("challenge"), Auth):
            raise self._misuse("challenge")
        self._begin_dialogue("challenge", LineReading(self._settings.limits.dialogue_line))
        self._out.append(b"334 " + binascii.b2a_base64(text, newline=False) + b"\r\n")

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
        self._forget_greeting()
        self._move(State.GREETING)

    def secured(self) -> None:
        """The TLS handshake is over; all that was said before it is forgotten, a login and unparsed octets included (RFC 3207 §4.2).

        Before the banner this means that TLS was there from the first octet (RFC 8314).

        Raises: LocalProtocolError when no handshake was due.
        """
        if self._state not in (State.CONNECTED, State.SECURING) or self._served is self._settings.secured:
            raise self._misuse("secured")
        self._served = self._settings.secured
        self._forget_greeting()
        if self._state is State.SECURING:
            self._move(State.GREETING)

    def _forget_greeting(self) -> None:
        self._input.clear()
        self._scope = Scope(self._settings.limits, Offer())

    def _begin_dialogue(self, call: str, reading: Reading) -> None:
        if not isinstance(self._asked(call), Verb | Auth):
            raise self._misuse(call)
        self._reading = reading

    def _accept_greeting(self, question: Greeting, reply: Reply | None) -> None:
        settings = self._settings
        lines: tuple[str, ...] = ()
        if question.verb != "HELO":
            lines = self._served.lines if reply is None else reply.lines[1:]
        self._question = None
        self._scope.offer = self._served.offer if lines == self._served.lines else Offer(settings.extensions, lines)
        self._out.append((reply or Reply(250, "", "\n".join((settings.hostname, *lines)))).to_bytes())
        # RFC 5321 §4.1.4: a later EHLO must "clear all buffers and reset the state exactly as if a RSET command had been issued".
        self._move(State.READY)

    def _accept_content(self, question: DataStart, reply: Reply | None) -> None:
        settings = self._settings
        if reply is not None and (question.bdat or reply.code != 354):
            raise LocalProtocolError("accept() of DATA takes a 354, and accept() of BDAT takes no reply")
        self._question = None
        self._rules = ContentRules(settings.limits, "accept" if self._scope.binary else settings.bare_newlines, self._scope.binary)
        if self._announced is not None:
            bdat, self._announced = self._announced, None
            self._begin_chunk(bdat)
            return
        self._out.append((reply or START_INPUT).to_bytes())
        self._reading = DataReading(self._rules)
        self._move(State.DATA)

    def _accept_tls(self, reply: Reply | None) -> None:
        """Octets that came with STARTTLS are thrown away: whoever put them there was not seen to hold a key (CVE-2011-0411)."""
        self._question = None
        self._input.clear()
        self._out.append((reply or READY_FOR_TLS).to_bytes())
        self._move(State.SECURING)

    def _accept_other(self, question: Question, reply: Reply | None) -> None:
        if isinstance(question, ContentEnd):
            if question.refusal is not None:
                raise LocalProtocolError(f"accept() of content that must be refused: {question.refusal}")
            self._errors = 0
        elif isinstance(question, Mail):
            self._transactions += 1
            self._recipients = 0
            self._prdr = question.prdr
            self._scope.utf8 = question.parameters.smtputf8
            self._scope.binary = question.parameters.body == "BINARYMIME"
        elif isinstance(question, Rcpt):
            self._recipients += 1
        elif isinstance(question, Auth):
            self._scope.authenticated = True
        self._question = None
        default, state = (self._settings.help(), None) if isinstance(question, Help) else EFFECTS[type(question)]
        times = self._recipients if self._each and isinstance(question, ContentEnd) else 1
        self._out.append((reply or default).to_bytes() * times)
        if state is State.CLOSED:
            self._close(Reason.QUIT)
        elif state is not None:
            self._move(State.GREETING if self._state is State.GREETING else state)

    def _asked(self, call: str) -> Question:
        """The question that the host was given and has not answered."""
        if self._question is None or self._reading is not None or self._told:
            raise self._misuse(call)
        return self._question

    def _misuse(self, call: str) -> LocalProtocolError:
        asked = type(self._question).__name__ if self._question is not None else "no decision"
        return LocalProtocolError(f"{call}() while {asked} is open, {self._state.value} (state {self._state.name})")
