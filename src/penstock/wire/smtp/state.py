"""Where a session can be, and where it can go from there: a table, so that an impossible move fails loudly and names both ends."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a session is; one decision may be open in any of these but the first and the last."""

    CONNECTED = "before the banner"
    TURNED_AWAY = "after a 554 banner"
    GREETING = "before EHLO or HELO"
    SECURING = "in the TLS handshake"
    READY = "between transactions"
    MAIL = "after MAIL"
    RCPT = "after RCPT"
    DATA = "in the content after DATA"
    CHUNK = "in the content of a BDAT"
    BDAT = "between two BDATs"
    CLOSED = "closed"

    # Members are compared by identity; Enum would hash the name in Python, several times for each command.
    __hash__ = object.__hash__


# Where a session may go from where it is; RFC 5321 §4.1.4 and RFC 3030 §2. Any state may be closed.
MOVES: dict[State, frozenset[State]] = {
    State.CONNECTED: frozenset({State.GREETING, State.TURNED_AWAY}),
    State.TURNED_AWAY: frozenset(),
    State.GREETING: frozenset({State.GREETING, State.READY}),
    # RFC 3207 §4.2: after the handshake the session is where it was after the banner.
    State.SECURING: frozenset({State.GREETING}),
    State.READY: frozenset({State.GREETING, State.SECURING, State.READY, State.MAIL}),
    State.MAIL: frozenset({State.READY, State.RCPT}),
    State.RCPT: frozenset({State.READY, State.RCPT, State.DATA, State.CHUNK}),
    State.DATA: frozenset({State.READY}),
    State.CHUNK: frozenset({State.READY, State.BDAT}),
    State.BDAT: frozenset({State.READY, State.CHUNK}),
    State.CLOSED: frozenset(),
}
