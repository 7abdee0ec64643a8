"""ETRN (RFC 1985): a client that is not always there asks us to deliver now what waits for its domain.

The mail goes where its route says, never to who asked; so all that a stranger could do is to keep us busy, and a listener says whose
addresses may ask. Only for domains that we relay for: of others nothing waits here for long, and nobody needs to know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ...events.dispatch import Step
from ...mail.reply import Reply
from ...wire.smtp import happening as wire
from .trust import within

if TYPE_CHECKING:
    from .session import SmtpSession

VERB = "ETRN"
# RFC 1985 §5: [<option character>]<node name>; "@" is for a domain and all below it, "#" for a queue.
_NODE = re.compile(r"([@#]?)([A-Za-z0-9\[][A-Za-z0-9.:\-\[\]]{0,254})")
_SYNTAX = Reply(501, "5.5.4", "Syntax: ETRN domain, @domain or #queue")
_NOT_NOW = Reply(503, "5.5.1", "Not in a mail transaction")
_NOT_YOU = Reply(459, "4.7.1", "You may not ask for mail to be sent")
_UNABLE = Reply(458, "4.3.0", "Unable to queue messages now")


class OnDemand(Protocol):
    """Who knows the queues of all workers."""

    def queues_of(self, option: str, node: str) -> Sequence[str] | None:
        """The queues that a node's mail waits in; None when nobody may ask for them."""

    async def release(self, queues: Sequence[str]) -> int:
        """Works on queues now, in all workers; how many there were with mail in them. Raises OSError, PenstockError."""


def offered_to(session: SmtpSession) -> list[str]:
    """The line of EHLO for who may ask."""
    return [VERB] if _may_ask(session) else []


def on_etrn(session: SmtpSession, asked: wire.Verb) -> Step:
    """ETRN; its answer may come before anything was sent, which is what RFC 1985 §5.3 wants."""
    found = _NODE.fullmatch(asked.argument)
    queues: Sequence[str] | None = None
    refusal: Reply | None = None
    if not _may_ask(session):
        refusal = _NOT_YOU
    elif session.transaction is not None:
        refusal = _NOT_NOW
    elif not found:
        refusal = _SYNTAX
    else:
        assert session.services.on_demand is not None
        queues = session.services.on_demand.queues_of(found[1], found[2].lower())
        if queues is None:
            refusal = Reply(459, "4.7.1", f"Node {found[2]} not allowed")
    if refusal is not None:
        session.note_refusal(asked.line, refusal, "server")
        session.machine.refuse(refusal)
        return None
    assert found is not None
    assert queues is not None
    return _release(session, asked, found[2], queues)


async def _release(session: SmtpSession, asked: wire.Verb, node: str, queues: Sequence[str]) -> None:
    assert session.services.on_demand is not None
    try:
        waiting = await session.services.on_demand.release(queues)
    except Exception as error:
        session.log.warning("mail cannot be sent on demand", node=node, error=f"{type(error).__name__}: {error}")
        session.note_refusal(asked.line, _UNABLE, "server")
        session.machine.refuse(_UNABLE)
        return
    session.log.info("mail is sent on demand", node=node, queues=waiting)
    if waiting:
        session.machine.respond(Reply(250, "2.0.0", f"Ok, queuing for node {node} started"))
    else:
        session.machine.respond(Reply(251, "2.0.0", f"Ok, no messages waiting for node {node}"))


def _may_ask(session: SmtpSession) -> bool:
    return session.services.on_demand is not None and within(session.work.client_ip, session.connection.settings.trust.etrn)
