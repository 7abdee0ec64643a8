"""What a client session knows about itself, and how it ends: shared by the half that listens and the half that speaks.

A session that ends must say what is certain. A host that took silence for failure would deliver twice without knowing that it may have, and
one that took it for success would lose mail; so the end names what has no answer.
"""

from __future__ import annotations

from collections import deque

from .client_events import Broken, Closed, Ending, Event, Fate
from .client_parameters import Offered
from .client_settings import ClientSettings
from .client_state import MOVES, ClientState
from .outgoing import Bdat, EndOfData, Mail, Outgoing, Rcpt, Reset
from .replies import Heard, ReplyReader

CONTENT = (ClientState.GO_AHEAD, ClientState.CONTENT)


class ClientSession:
    """The state of one client session.

    Args:
        settings: how the session is held.
    """

    __slots__ = (
        "_accepted",
        "_ahead",
        "_answered",
        "_eof",
        "_offered",
        "_out",
        "_owed",
        "_own",
        "_prdr",
        "_queue",
        "_reader",
        "_refused",
        "_remote_name",
        "_resume",
        "_settings",
        "_state",
        "_told",
    )

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._reader = ReplyReader(settings.limits)
        self._out: list[bytes] = []
        self._told: deque[Event] = deque()
        # What was sent and not answered, oldest first.
        self._queue: deque[Outgoing] = deque()
        self._state = self._ahead = self._resume = ClientState.CONNECTED
        self._offered = Offered()
        self._remote_name = ""
        # The MAIL or RCPT whose refusal was the last thing heard.
        self._refused: Mail | Rcpt | None = None
        self._eof = False
        # PRDR was asked for with MAIL; the answers for single recipients so far, None where there are none to come.
        self._prdr = False
        self._own: list[Heard] | None = None
        # Accepted recipients of the transaction; how many of them have their answer; octets of a BDAT that are still to come from the host.
        self._accepted = self._answered = self._owed = 0

    @property
    def state(self) -> ClientState:
        """Where the session will be when everything outstanding is granted: what may be sent next is asked of it."""
        return self._ahead

    @property
    def is_closed(self) -> bool:
        """True when nothing more will be parsed and nothing more may be sent."""
        return self._state is ClientState.CLOSED

    @property
    def outstanding(self) -> tuple[Outgoing, ...]:
        """What was sent and not answered, oldest first."""
        return tuple(self._queue)

    @property
    def oldest(self) -> Outgoing | None:
        """The first of what is outstanding, or None."""
        return self._queue[0] if self._queue else None

    @property
    def pending(self) -> int:
        """Octets received and kept that no event was made of yet."""
        return self._reader.pending

    @property
    def accepted(self) -> int:
        """How many recipients of this transaction the server accepted so far."""
        return self._accepted

    @property
    def offered(self) -> Offered:
        """What the server offers, for the command builders."""
        return self._offered

    @property
    def extensions(self) -> dict[str, str]:
        """What follows each keyword of the EHLO reply, by upper-case keyword."""
        return self._offered.extensions

    @property
    def remote_name(self) -> str:
        """What the server calls itself: in its reply to EHLO, before that in the banner; "" when it does not say."""
        return self._remote_name

    def _lead(self, state: ClientState) -> None:
        """Goes where an answer leads; one that leads where a session cannot go is the server's fault."""
        if state in MOVES[self._state]:
            self._state = state
        else:
            self._break(f"an answer that leads from {self._state.value} to {state.value}")

    def _break(self, what: str) -> None:
        self._told.append(Broken(what))
        self._close(Ending.BROKEN)

    def _close(self, ending: Ending) -> None:
        self._told.append(Closed(ending, tuple(self._queue), self._fate()))
        self._state = self._ahead = ClientState.CLOSED
        self._owed = 0
        self._queue.clear()
        self._reader.clear()

    def _fate(self) -> Fate:
        """What becomes of the oldest content without an answer."""
        failed = self._state is ClientState.FAILED
        partial = failed or self._state in (*CONTENT, ClientState.CHUNKS)
        for command in self._queue:
            # What is left of a refused content cannot be accepted any more.
            failed = failed and not isinstance(command, (Mail, Reset))
            if failed or not isinstance(command, (EndOfData, Bdat)):
                continue
            if isinstance(command, EndOfData) or (command.last and not (self._owed and command is self._queue[-1])):
                return Fate.UNCERTAIN
            partial = True
        return Fate.PARTIAL if partial else Fate.NONE
