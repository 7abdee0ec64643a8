"""The SMTP and LMTP client as a machine: commands and content in, octets out; octets in, events out.

The host sends one command after the other, as values, so that it can ask the sinks before each and about each answer. Whether the next may
leave before the last was answered is ``may_send``: the machine knows what RFC 2920 lets be grouped and whether the server offered it, so
that a host which sends as long as it may pipelines without knowing that it does.
"""

from __future__ import annotations

from ...errors import LocalProtocolError
from .client_events import Ending
from .client_intake import ClientIntake
from .client_parameters import Offered
from .client_settings import ClientSettings
from .client_state import ClientState, row_of
from .outgoing import Bdat, EndOfData, Hello, Mail, Sendable, StartTls, check_line, verb_of
from .stuffing import NewlineWatch, Stuffing


class ClientMachine(ClientIntake):
    """One SMTP or LMTP session, seen from the client (RFC 5321 §4, RFC 2033).

    Args:
        settings: how the session is held.
    """

    __slots__ = ("_binary", "_stuffing", "_watch")

    def __init__(self, settings: ClientSettings) -> None:
        super().__init__(settings)
        self._stuffing = Stuffing(convert=True)
        self._watch = NewlineWatch()
        # What was declared to have no lines has no bare line ends either (RFC 3030 §3).
        self._binary = False

    def data_to_send(self) -> bytes:
        """Everything queued since the last call, in order."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def may_send(self, command: Sendable) -> bool:
        """True when this command may leave now; when only outstanding answers are in its way it may be asked again after each."""
        return not self._obstacle(command)

    def send(self, command: Sendable) -> None:
        """Queues a command; its answer will name this very value. The octets of a BDAT go to ``content`` right after it.

        Raises: LocalProtocolError when it may not be sent now, or its line is not one that this server may be sent.
        """
        obstacle = self._obstacle(command)
        if obstacle:
            raise LocalProtocolError(f"{verb_of(command.line)} may not be sent {obstacle} (state {self._ahead.name})")
        self._add(command)

    def send_if_it_may(self, command: Sendable) -> bool:
        """Does what ``send`` does if ``may_send`` says so, at the cost of one of them; whether it did. Raises as ``send`` for the line."""
        if self._obstacle(command):
            return False
        self._add(command)
        return True

    def _add(self, command: Sendable) -> None:
        octets = check_line(command.line)
        if not octets.isascii() and "SMTPUTF8" not in self._offered:
            raise LocalProtocolError(f"{command.line!r} needs SMTPUTF8, which the server does not offer")
        if isinstance(command, Bdat):
            self._begin_chunk(command)
        elif isinstance(command, Mail):
            self._binary = " BODY=BINARYMIME" in command.line.upper()
        self._queue.append(command)
        self._out.append(octets + b"\r\n")
        self._ahead = row_of(command).ahead or self._ahead

    def begin_content(self) -> None:
        """Begins the content that a 354 asked for.

        When no recipient was accepted the server should not have said 354, but some do; then ``end_content`` must follow at once: "the
        client SMTP should send a single dot" (RFC 2920 §3.1).

        Raises: LocalProtocolError when there was no 354.
        """
        if self._state is not ClientState.GO_AHEAD:
            raise self._misuse("begin_content")
        self._stuffing = Stuffing(self._settings.bare_newlines == "convert")
        self._state = self._ahead = ClientState.CONTENT

    def content(self, data: bytes) -> None:
        """Queues octets of content: after a 354 stuffed and with CRLF line ends, after a BDAT as they are.

        Raises: LocalProtocolError when no content is due, or more than the BDAT announced, or nobody is to get it; and for a bare CR or LF
            in a BDAT, or when they are not to be converted: none of ``data`` is queued then, and all that can be done is to disconnect.
        """
        if self._owed:
            self._add_to_chunk(data)
        elif self._state is not ClientState.CONTENT:
            raise self._misuse("content")
        elif not self._accepted:
            raise LocalProtocolError("content() for no recipient: only end_content() may follow")
        else:
            self._out.append(self._stuffing.feed(data))

    def end_content(self) -> None:
        """Ends the content that ``begin_content`` began: from now on the server may have taken responsibility for it.

        Raises: LocalProtocolError when there is none, or as ``content`` does, for a CR at the very end.
        """
        if self._state is not ClientState.CONTENT:
            raise self._misuse("end_content")
        self._out.append(self._stuffing.finish())
        self._queue.append(EndOfData())
        self._state, self._ahead = ClientState.SENT, ClientState.READY

    def reset_after_tls(self) -> int:
        """Forgets what the server said before the handshake, as STARTTLS demands; EHLO comes next (RFC 3207 §4.2).

        Returns: how many octets came behind the answer to STARTTLS and were dropped: more than 0 is a broken server or somebody in the
        middle.

        Raises: LocalProtocolError when no STARTTLS was granted.
        """
        if self._state is not ClientState.TLS:
            raise self._misuse("reset_after_tls")
        dropped = self._reader.pending
        self._reader.clear()
        self._offered = Offered()
        self._remote_name = ""
        self._state = self._ahead = ClientState.GREETING
        return dropped

    def treat_as_accepted(self) -> None:
        """Goes on as if the MAIL or RCPT whose refusal was the last event had been granted; the server decides what comes of it.

        There is nothing for the other way: what the server granted it will act on, until RSET.

        Raises: LocalProtocolError when the last event was no such refusal, or for a RCPT with LMTP or PRDR, as it would have no answer.
        """
        refused, each = self._refused, self._settings.protocol == "lmtp" or self._prdr
        if refused is None:
            raise self._misuse("treat_as_accepted")
        if isinstance(refused, Mail) and self._state is ClientState.READY:
            self._accepted = 0
            self._state = ClientState.MAIL
        elif not isinstance(refused, Mail) and self._state in (ClientState.MAIL, ClientState.RCPT) and not each:
            self._accepted += 1
            self._state = ClientState.RCPT
        else:
            raise self._misuse("treat_as_accepted")
        self._refused = None
        if not self._queue:
            self._ahead = self._state

    def disconnect(self) -> None:
        """Gives the session up, for a time that ran out, say; the Closed that follows tells what is not certain."""
        if self._state is not ClientState.CLOSED:
            self._close(Ending.DISCONNECTED)

    def _obstacle(self, command: Sendable) -> str:
        """Why a command may not be sent now, or ""."""
        row = row_of(command)
        if self._owed:
            return f"while {self._owed} octets of a BDAT are to come"
        if self._ahead not in row.states:
            return self._ahead.value
        if row.keyword and row.keyword not in self._offered:
            return f"as {row.keyword} was not offered"
        if not self._queue:
            return ""
        # RFC 2920 §3.1: EHLO and STARTTLS could be the last of a group, but nothing is won by it and what they forget must be nothing.
        together = "PIPELINING" in self._offered and row_of(self._queue[-1]).grouped and not isinstance(command, (Hello, StartTls))
        if together and len(self._queue) < self._settings.limits.outstanding:
            return ""
        return f"while {len(self._queue)} commands are outstanding"

    def _begin_chunk(self, command: Bdat) -> None:
        if command.size < 0:
            raise LocalProtocolError(f"BDAT of {command.size} octets")
        if self._ahead is ClientState.RCPT:
            self._watch = NewlineWatch()
        if command.last and not command.size:
            self._watch.finish()
            self._check_newlines()
        self._owed = command.size

    def _add_to_chunk(self, data: bytes) -> None:
        if len(data) > self._owed:
            raise LocalProtocolError(f"content() of {len(data)} octets, and the BDAT has room for {self._owed}")
        self._watch.look(data)
        command = self._queue[-1]
        if len(data) == self._owed and isinstance(command, Bdat) and command.last:
            self._watch.finish()
        self._check_newlines()
        self._out.append(data)
        self._owed -= len(data)

    def _check_newlines(self) -> None:
        if self._watch.found and not self._binary:
            raise LocalProtocolError("content of a BDAT has a bare CR or LF: pass it through LineEnds before its size is said")

    def _misuse(self, call: str) -> LocalProtocolError:
        return LocalProtocolError(f"{call}() {self._state.value} (state {self._state.name}), {len(self._queue)} commands outstanding")
