"""Where a client's session can be, what may be sent from there, and where the answer leads: a row a command.

A session is in two places at once while commands are outstanding: where the answers so far have brought it, and where it will be if all the
others are granted. What may be sent next is asked of the second place, what an answer does of the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .outgoing import Bdat, Continuation, Data, EndOfData, Hello, Mail, Outgoing, Quit, Raw, Rcpt, Reset, StartTls


class ClientState(Enum):
    """Where a session is."""

    CONNECTED = "before the banner"
    TURNED_AWAY = "after a banner that refused us"
    GREETING = "before EHLO, HELO or LHLO"
    READY = "between transactions"
    MAIL = "after MAIL"
    RCPT = "after RCPT"
    GO_AHEAD = "after a 354"
    CONTENT = "in the content"
    SENT = "after the content"
    CHUNKS = "between BDATs"
    FAILED = "after a refused BDAT"
    DIALOGUE = "in a dialogue that a 3xx began"
    TLS = "between STARTTLS and the handshake"
    OUT_OF_STEP = "after a reply that nobody asked for"
    CLOSED = "closed"

    __hash__ = object.__hash__


_TALKING = frozenset({ClientState.GREETING, ClientState.READY, ClientState.MAIL, ClientState.RCPT, ClientState.CHUNKS, ClientState.FAILED})
_IN_TRANSACTION = frozenset({ClientState.MAIL, ClientState.RCPT})

# Where answers, and what the host does about content, may lead; any state may be closed, and any but that may be out of step. A server may
# grant later commands of a batch whose first it refused, so the answers to a batch may take steps that no client would take one by one.
MOVES: dict[ClientState, frozenset[ClientState]] = {
    ClientState.CONNECTED: frozenset({ClientState.GREETING, ClientState.TURNED_AWAY}),
    ClientState.TURNED_AWAY: frozenset(),
    ClientState.GREETING: frozenset({ClientState.READY, ClientState.DIALOGUE}),
    ClientState.READY: frozenset(
        {ClientState.READY, ClientState.MAIL, ClientState.GO_AHEAD, ClientState.FAILED, ClientState.TLS, ClientState.DIALOGUE}
    ),
    ClientState.MAIL: frozenset({ClientState.READY, ClientState.RCPT, ClientState.GO_AHEAD, ClientState.FAILED, ClientState.DIALOGUE}),
    ClientState.RCPT: frozenset(
        {ClientState.READY, ClientState.RCPT, ClientState.GO_AHEAD, ClientState.CHUNKS, ClientState.FAILED, ClientState.DIALOGUE}
    ),
    ClientState.GO_AHEAD: frozenset({ClientState.CONTENT}),
    ClientState.CONTENT: frozenset({ClientState.SENT}),
    ClientState.SENT: frozenset({ClientState.READY}),
    ClientState.CHUNKS: frozenset({ClientState.CHUNKS, ClientState.READY, ClientState.FAILED, ClientState.DIALOGUE}),
    ClientState.FAILED: frozenset({ClientState.FAILED, ClientState.READY, ClientState.MAIL, ClientState.DIALOGUE}),
    ClientState.DIALOGUE: _TALKING,
    ClientState.TLS: frozenset({ClientState.GREETING}),
    ClientState.OUT_OF_STEP: frozenset(),
    ClientState.CLOSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What the machine knows of one command.

    Args:
        states: where it may be sent from.
        ahead: where it leads if it is granted; None for nowhere.
        grants: the first digit of the reply that grants it.
        grouped: other commands may follow before its answer; RFC 2920 §3.1 names which, and RFC 3030 §4.2 adds BDAT.
        keyword: the extension that must have been offered.
    """

    states: frozenset[ClientState]
    ahead: ClientState | None = None
    grants: int = 2
    grouped: bool = False
    keyword: str = ""


_ROWS: dict[type[Outgoing], Row] = {
    Hello: Row(_TALKING, ClientState.READY),
    Mail: Row(frozenset({ClientState.READY}), ClientState.MAIL, grouped=True),
    Rcpt: Row(_IN_TRANSACTION, ClientState.RCPT, grouped=True),
    Data: Row(frozenset({ClientState.RCPT}), ClientState.GO_AHEAD, grants=3),
    Bdat: Row(frozenset({ClientState.RCPT, ClientState.CHUNKS}), ClientState.CHUNKS, grouped=True, keyword="CHUNKING"),
    # RFC 2920 §3.1: "the actual transfer of message content is explicitly allowed to be the first 'command' in a group". It is never sent
    # as a command, so there is no state that it may be sent from.
    EndOfData: Row(frozenset(), ClientState.READY, grouped=True),
    Reset: Row(_TALKING - {ClientState.GREETING}, ClientState.READY, grouped=True),
    Quit: Row(_TALKING | {ClientState.TURNED_AWAY, ClientState.DIALOGUE, ClientState.OUT_OF_STEP}),
    StartTls: Row(frozenset({ClientState.READY}), ClientState.TLS, keyword="STARTTLS"),
    Raw: Row(_TALKING - {ClientState.CHUNKS}),
    Continuation: Row(frozenset({ClientState.DIALOGUE})),
}
_LAST_CHUNK = Row(_ROWS[Bdat].states, ClientState.READY, grouped=True, keyword="CHUNKING")


def row_of(command: Outgoing) -> Row:
    """The row of a command."""
    return _LAST_CHUNK if isinstance(command, Bdat) and command.last else _ROWS[type(command)]
