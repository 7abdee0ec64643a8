"""STARTTLS as a session serves it: the sinks are asked, the handshake begins, and afterwards all that was said before is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...events import catalog as events
from ...events.dispatch import Outcome, Step
from ...wire.smtp import happening as wire
from ...wire.tls import TlsFacts

if TYPE_CHECKING:
    from .connection import Connection
    from .session import SmtpSession


_PRETENDED = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)


def on_starttls(session: SmtpSession, asked: wire.StartTls) -> Step:
    """STARTTLS; asks the sinks whether it may be (RFC 3207 §4)."""
    chain = session.bindings.chain(events.StartTls)
    if not chain:
        _begin(session)
        return None

    def settle(outcome: Outcome) -> Step:
        if not session.refused(outcome, asked.line) and not session.connection.is_lost:
            _begin(session)
        return None

    return session.ask(events.StartTls(session.facts()), chain, settle)


def _begin(session: SmtpSession) -> None:
    dropped = session.machine.pending
    if dropped:
        # An attacker in the middle puts commands there, so that they take effect in the session that is secured (CVE-2011-0411).
        session.log.warning("plaintext after STARTTLS discarded", octets=dropped)
    session.machine.accept()
    session.connection.begin_tls()


def tls_is_on(session: SmtpSession, facts: TlsFacts) -> None:
    """The handshake is over: "MUST discard any knowledge obtained from the client" that did not come from it (RFC 3207 §4.2)."""
    work = session.work
    work.tls = facts
    work.helo = work.user = ""
    session.extended = False
    session.machine.secured()
    chain = session.bindings.chain(events.TlsEstablished)
    if chain:
        session.services.dispatcher.tell(events.TlsEstablished(session.facts(), facts), chain)


class ConnectionTls:
    """What happens in the TLS of a connection, in terms of its session.

    Args:
        connection: whose.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, octets: bytes) -> None:
        """Octets go to the socket as they are."""
        self._connection.put(octets)

    def tls_is_on(self, facts: TlsFacts) -> None:
        """The handshake is over: the session goes on, or begins."""
        session = self._connection.session
        if session is None:
            self._connection.begin_session(facts)
        else:
            tls_is_on(session, facts)
            self._connection.proceed()

    def pretend(self) -> None:
        """There is no network, and so no handshake; all else is as if there had been one."""
        if self._connection.session is None:
            self._connection.begin_session(_PRETENDED)
        else:
            tls_is_on(self._connection.session, _PRETENDED)

    def tls_failed(self, why: str, ending: str = "dropped") -> None:
        """TLS cannot begin or go on: one line says so, and the session ends, since nothing can be said to the client any more."""
        connection, session = self._connection, self._connection.session
        log = session.log if session is not None else connection.log
        if connection.layer is not None and connection.layer.is_on:
            log.info("TLS failed", reason=why)
        else:
            log.info("TLS handshake failed", reason=why)
        if session is not None:
            session.work.rejections += 1
        connection.finish(None, ending)
        connection.flush()
