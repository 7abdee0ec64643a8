"""XCLIENT and XFORWARD: what a filter or a gateway that we trust says of the client behind it.

XCLIENT makes the session that client's: it begins anew, with a banner, and limits, conditions, log lines and the trace field are about the
client from then on. XFORWARD only adds facts, for sinks and the log, to the next message. From anybody else both are refused, and not
offered: who may send them may be anybody he likes.

Source: Postfix, XCLIENT_README and XFORWARD_README.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ...errors import RemoteProtocolError
from ...events import catalog as events
from ...events import verdict as v
from ...events.dispatch import PROCEED, Outcome, Step
from ...mail.reply import Reply
from ...wire.smtp import happening as wire
from ...wire.smtp.extension import xtext

if TYPE_CHECKING:
    from .session import SmtpSession

VERBS = frozenset({"XCLIENT", "XFORWARD"})
_KNOWN = {
    "XCLIENT": ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"),
    "XFORWARD": ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"),
}
# "[UNAVAILABLE]": there is none; "[TEMPUNAVAIL]": there may be one at another time.
_NOTHING = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
# As in a greeting: nothing that could end a comment of the trace field.
_HOST = re.compile(r"[A-Za-z0-9._:\-]{1,255}|\[[A-Za-z0-9.:\-]{1,253}\]")
_PORT = re.compile(r"[0-9]{1,5}")
_STRANGER = Reply(550, "5.7.0", "Insufficient authorization")
_NOT_NOW = Reply(503, "5.5.1", "Not in a mail transaction")
_OK = Reply(250, "2.0.0", "Ok")


def offered_to(session: SmtpSession) -> list[str]:
    """The lines of EHLO for who may say it."""
    if not session.connection.settings.trust.may_claim(session.peer_ip):
        return []
    return [f"{verb} {' '.join(names)}" for verb, names in _KNOWN.items()]


def on_claim(session: SmtpSession, asked: wire.Verb) -> Step:
    """XCLIENT or XFORWARD; the peer of the connection is asked for its right to it, whoever the client is by now."""
    refusal: Reply | None = None
    said: dict[str, str] = {}
    if not session.connection.settings.trust.may_claim(session.peer_ip):
        refusal = _STRANGER
    elif session.transaction is not None:
        refusal = _NOT_NOW
    else:
        try:
            said = read_attributes(asked.verb, asked.argument)
        except RemoteProtocolError as error:
            refusal = Reply(error.code, error.enhanced, error.text)
    if refusal is not None:
        session.note_refusal(asked.line, refusal, "server")
        session.machine.refuse(refusal)
        return None
    if asked.verb == "XFORWARD":
        session.work.forwarded = {**session.work.forwarded, **said}
        session.machine.respond(_OK)
        return None
    return _become(session, said)


def read_attributes(verb: str, argument: str) -> dict[str, str]:
    """The attributes of a command, decoded and checked, by upper-case name; "" for one that is not available.

    Args:
        verb: XCLIENT or XFORWARD.
        argument: what follows it.

    Raises: RemoteProtocolError for what is none.
    """
    found: dict[str, str] = {}
    for word in argument.split():
        name, equals, value = word.partition("=")
        name = name.upper()
        if not equals or name not in _KNOWN[verb] or name in found:
            raise _bad(f"bad attribute of {verb}")
        found[name] = "" if value.upper() in _NOTHING else _checked(name, xtext(value, name))
    if not found:
        raise _bad(f"{verb} without attributes")
    return found


def _checked(name: str, value: str) -> str:
    if name in ("ADDR", "DESTADDR"):
        try:
            return str(ip_address(re.sub(r"^IPV6:", "", value, flags=re.IGNORECASE)))
        except ValueError:
            raise _bad("an address is none") from None
    if name in ("PORT", "DESTPORT"):
        if not _PORT.fullmatch(value) or int(value) > 65535:
            raise _bad("a port is none")
    elif name == "PROTO":
        if value.upper() not in ("SMTP", "ESMTP", "LMTP"):
            raise _bad("a protocol is none")
    elif name == "SOURCE":
        if value.upper() not in ("LOCAL", "REMOTE"):
            raise _bad("a source is none")
    elif name in ("NAME", "HELO") and not _HOST.fullmatch(value):
        raise _bad("a host name is none")
    elif not value.isprintable():
        # A user's name stands in the log, and with sinks.
        raise _bad("a value has control characters")
    return value[:255]


def _bad(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(what, 501, "5.5.4", "Bad attribute")


def _become(session: SmtpSession, said: dict[str, str]) -> Step:
    """The session is another client's from now on, and begins anew with the question who that is."""
    work, connection = session.work, session.connection
    if said.get("ADDR"):
        work.client_ip, work.client_name = said["ADDR"], ""
    if "NAME" in said:
        work.client_name = said["NAME"]
    if said.get("PORT"):
        work.client_port = int(said["PORT"])
    work.user = said.get("LOGIN", "")
    work.helo, session.extended = "", False
    session.claimed_helo = said.get("HELO", "")
    session.log.info("client is another, says one that may", peer=session.peer_ip, user=work.user)
    refusal = connection.host.readmit(connection, work.client_ip)
    if refusal:
        connection.finish(Reply(421, "4.7.0", refusal), "dropped")
        return None
    chain = session.bindings.chain(events.Connected)

    def settle(outcome: Outcome) -> Step:
        if connection.is_lost or session.machine.is_closed:
            return None
        verdict = outcome.verdict
        if isinstance(verdict, v.Disconnect | v.Defer | v.Reject):
            session.note_refusal("", verdict.reply, outcome.by)
            connection.finish(verdict.reply, "dropped")
            return None
        session.machine.respond(Reply(220, "", f"{session.services.server.hostname} ESMTP Penstock"))
        session.machine.reset_greeting()
        return None

    return session.ask(events.Connected(session.facts()), chain, settle) if chain else settle(PROCEED)
