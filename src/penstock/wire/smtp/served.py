"""What a server serves in clear and what it serves within TLS: the commands, the lines of the EHLO reply, and what they offer.

Two tables and not a question in each command: a command that waits for TLS has a row that says so, and no check elsewhere can forget it.
Both are worked out once for each listener.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from ...errors import RemoteProtocolError
from .command import Check, Command, Scope
from .extension import Extension, Offer
from .happening import Question, StartTls
from .state import State

# RFC 3207 §4: "530 Must issue a STARTTLS command first", for "every command other than NOOP, EHLO, STARTTLS, or QUIT". HELO does no more
# than EHLO; and the octets after a BDAT are swallowed whatever the reply is, which its own row does (RFC 3030 §2).
_WITHOUT_TLS = frozenset(["NOOP", "EHLO", "HELO", "LHLO", "STARTTLS", "QUIT", "BDAT"])
_TLS_FIRST = RemoteProtocolError("command before STARTTLS", 530, "5.7.0", "Must issue a STARTTLS command first")
# RFC 4954 §6: the mechanism "may only be used when the underlying SMTP connection is encrypted".
_AUTH_IN_CLEAR = RemoteProtocolError("AUTH without TLS", 538, "5.7.11", "Encryption required for authentication")
_ALREADY = RemoteProtocolError("STARTTLS twice", 503, "5.5.1", "TLS is already active")


class Served(NamedTuple):
    """What is served at one level of security."""

    table: dict[str, Command]
    lines: tuple[str, ...]
    offer: Offer


def serve_both(
    table: dict[str, Command], rows: Sequence[Extension], lines: tuple[str, ...], policy: tuple[bool, bool, bool], auth: str
) -> tuple[Served, Served]:
    """What is served in clear, and what within TLS.

    Args:
        table: all commands.
        rows: the extensions.
        lines: their lines in the reply to EHLO.
        policy: whether STARTTLS is offered, whether TLS is required, and whether AUTH is served in clear.
        auth: the line of AUTH, "" without it.
    """
    starttls, required, auth_in_clear = policy
    waiting = {row.keyword for row in rows if row.needs_tls}
    open_lines = tuple(line for line in lines if line.partition(" ")[0] not in waiting)
    within = (*lines, auth) if auth else lines
    secured = Served(table | {"STARTTLS": Command(_refusing(_ALREADY))} if starttls else table, within, Offer(rows, within))
    # What needs TLS has nothing to stand on without it: a channel to bind to, a certificate.
    plain = " ".join(word for word in auth.split() if not word.endswith("-PLUS") and word != "EXTERNAL")
    shown = (*open_lines, *["STARTTLS"] * starttls, *[plain] * bool(" " in plain and auth_in_clear and not required))
    in_clear = dict(table)
    if auth and not auth_in_clear:
        in_clear["AUTH"] = Command(_refusing(_AUTH_IN_CLEAR))
    if required:
        in_clear = {verb: row if verb in _WITHOUT_TLS else Command(_refusing(_TLS_FIRST)) for verb, row in in_clear.items()}
    if starttls:
        in_clear["STARTTLS"] = Command(_starttls, frozenset({State.READY}))
    return Served(in_clear, shown, Offer(rows, shown)), secured


def _refusing(error: RemoteProtocolError) -> Check:
    def check(argument: str, line: str, scope: Scope) -> NoReturn:
        # A fresh one each time: a raised exception holds on to where it was raised.
        raise RemoteProtocolError(error.what, error.code, error.enhanced, error.text)

    return check


def _starttls(argument: str, line: str, scope: Scope) -> Question:
    if not scope.offer.starttls:  # a sink took it out of the reply to EHLO, or there was only HELO
        raise RemoteProtocolError("STARTTLS not offered", 502, "5.5.1", "Command not implemented")
    if argument:
        raise RemoteProtocolError("STARTTLS with an argument", 501, "5.5.4", "Syntax error, no parameters allowed")
    return StartTls(line)
