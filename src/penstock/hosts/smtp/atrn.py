"""ATRN (RFC 2645): a customer without an address of its own logs in and fetches the mail of its domains over its own connection.

Who may fetch which domain the configuration says, by user; a name that a client makes up leads nowhere. After the reply the roles are
turned: the customer greets, and we deliver what waits in all workers, queue after queue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...events.dispatch import Step
from ...mail.reply import Reply
from ...wire.smtp import happening as wire
from .turned import Turned

if TYPE_CHECKING:
    from .session import SmtpSession

VERB = "ATRN"
# RFC 2645 §5.2.1: "ATRN" [SP domain *("," domain)]
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,254}")
_LOG_IN = Reply(530, "5.7.0", "Authentication required")
_NOT_NOW = Reply(503, "5.5.1", "Not in a mail transaction")
_ALONE = Reply(503, "5.5.1", "Nothing may follow ATRN before its answer")
_SYNTAX = Reply(501, "5.5.4", "Syntax: ATRN [domain[,domain...]]")
_NOT_YOURS = Reply(450, "4.7.1", "ATRN request refused")
_UNABLE = Reply(451, "4.3.0", "Unable to process ATRN request now")
_NOTHING = Reply(453, "4.0.0", "You have no mail")
_TURNING = Reply(250, "2.0.0", "OK now reversing the connection")


class Customers(Protocol):
    """Who knows whose mail waits where."""

    def fetched_by(self, user: str, domains: Sequence[str]) -> Sequence[str] | None:
        """The queues of a user's domains, or of all of them; None when one of the domains is not the user's, or none is."""

    async def waiting(self, queues: Sequence[str]) -> Sequence[tuple[int, str]]:
        """Which workers have mail in which of the queues, by number."""

    async def lend(self, worker: int, queue: str, path: str) -> bool:
        """Has a worker deliver a queue over the connection behind a Unix socket; whether the connection can be used on."""

    def place(self) -> Path:
        """A place for such a socket, where nobody else can go."""


def offered_to(session: SmtpSession) -> list[str]:
    """The line of EHLO for listeners where mail is fetched."""
    wire_settings = session.connection.settings.wire
    if VERB not in wire_settings.verbs or session.bindings.verbs.get(VERB) or session.services.customers is None:
        return []
    return [VERB] if session.work.tls is not None or not wire_settings.tls_required else []


def on_atrn(session: SmtpSession, asked: wire.Verb) -> Step:
    """ATRN: refused at once, or answered when it is known what waits."""
    customers = session.services.customers
    domains = [domain for domain in asked.argument.split(",") if domain] if asked.argument else []
    queues: Sequence[str] | None = None
    refusal: Reply | None = None
    if customers is None:
        refusal = _UNABLE
    elif not session.work.user:
        refusal = _LOG_IN
    elif session.transaction is not None:
        refusal = _NOT_NOW
    elif session.machine.pending:
        # What came in one go was not said to who turns the connection, and would be taken for the greeting.
        refusal = _ALONE
    elif not all(_DOMAIN.fullmatch(domain) for domain in asked.argument.split(",") if asked.argument):
        refusal = _SYNTAX
    else:
        queues = customers.fetched_by(session.work.user, [domain.lower() for domain in domains])
        refusal = _NOT_YOURS if queues is None else None
    if refusal is not None:
        session.note_refusal(asked.line, refusal, "server")
        session.machine.refuse(refusal)
        return None
    assert customers is not None
    assert queues is not None
    return _turn(session, customers, queues)


async def _turn(session: SmtpSession, customers: Customers, queues: Sequence[str]) -> None:
    """Delivers what waits, over the customer's own connection; whatever happens, mail that was not taken stays where it is."""
    connection, log = session.connection, session.log
    try:
        waiting = await customers.waiting(queues)
    except Exception as error:
        log.warning("mail cannot be fetched", user=session.work.user, error=f"{type(error).__name__}: {error}")
        session.machine.refuse(_UNABLE)
        return
    if not waiting:
        session.machine.respond(_NOTHING)
        return
    turned = Turned(connection, session.services.server.hostname)
    try:
        async with turned.open(customers.place()) as path:
            session.machine.respond(_TURNING)
            connection.flush()
            connection.turned = turned
            log.info("mail is fetched", user=session.work.user, queues=len({queue for _, queue in waiting}))
            for worker, queue in waiting:
                if turned.is_over or not await customers.lend(worker, queue, path):
                    break
            else:
                await turned.say_goodbye()
    except OSError as error:
        log.warning("mail cannot be fetched", user=session.work.user, error=f"{type(error).__name__}: {error}")
        if connection.turned is None:
            session.machine.refuse(_UNABLE)
            return
    connection.turned = None
    connection.finish(None, "turned")
