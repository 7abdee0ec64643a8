"""AUTH: with mechanisms that ship, which drive a machine of ``wire.sasl`` and ask the sinks of ``Credentials``, and with those of sinks.

A client that fails hears the same words after the same time whether the user exists or not, and more slowly each time. Each failure is a
log line that fail2ban can read; nothing that was sent as a secret is in it, nor anywhere else that is written down.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...errors import ClientGone, RemoteProtocolError
from ...events import catalog as events
from ...events import verdict as v
from ...events.chain import EMPTY
from ...events.dispatch import Outcome, Step
from ...events.verdict_login import Keys, PlainPassword
from ...mail.reply import Reply
from ...wire.sasl import base, mechanisms
from ...wire.smtp import happening as wire
from .guessing import GuessLimits

if TYPE_CHECKING:
    from .session import SmtpSession

# RFC 4954 §6: "authentication failed due to invalid or insufficient authentication credentials".
_WRONG = v.Reject(535, "5.7.8", "Authentication credentials invalid")
# RFC 4954 §6: "a temporary server failure", on which clients keep the password that they have.
_DOWN = v.Defer(454, "4.7.0", "Temporary authentication failure")
_USER_REFUSED = v.Defer(454, "4.7.0", "Too many failed logins, please try again later")
_TOO_MANY = v.Disconnect(421, "4.7.0", "Too many failed logins, closing the connection")
# RFC 4954 §4: a response that cannot be decoded is a 501; so is one that breaks the rules of its mechanism.
_MALFORMED = v.Reject(501, "5.5.2", "Malformed authentication exchange")
# RFC 4954 §6: "returned by any command other than AUTH, EHLO, HELO, NOOP, RSET, or QUIT when server policy requires authentication".
_REQUIRED = Reply(530, "5.7.0", "Authentication required")
_LONGEST_NAME = 128


@dataclass(frozen=True, slots=True)
class AuthServing:
    """What a listener does with AUTH.

    Args:
        mechanisms: those that ship and are offered, in order of preference.
        required: MAIL is taken from authenticated clients only.
        in_clear: mechanisms may be used without TLS.
        guesses: what failures cost.
        pepper: keeps the salts of users that do not exist the same in all workers; a secret.
    """

    mechanisms: tuple[str, ...] = ()
    required: bool = False
    in_clear: bool = False
    guesses: GuessLimits = field(default=GuessLimits())
    pepper: bytes = field(default=b"", repr=False)


def on_auth(session: SmtpSession, asked: wire.Auth) -> Step:
    """AUTH, with a mechanism that was offered (RFC 4954 §4); that of a sink goes before one of the same name that ships."""
    limits = session.connection.settings.auth.guesses
    if session.connection.host.guesses.refuses_client(session.work.client_ip, limits):
        _log_failure(session, asked.mechanism, "", "too many failures of this address")
        session.refused(Outcome(_TOO_MANY, "server"), asked.line)
        return None
    if asked.mechanism not in session.bindings.mechanisms:
        return Login(session, asked).run()
    chain = session.bindings.mechanisms.get(asked.mechanism, EMPTY)
    event = events.Auth(session.facts(), asked.mechanism, asked.initial, session.connection.dialogue)
    return session.ask(event, chain, lambda outcome: _settle(session, asked, outcome))


def must_log_in(session: SmtpSession, asked: wire.Mail) -> bool:
    """Refuses MAIL where only those may send who logged in; whether it did. What others say of whose mail it is counts for nothing."""
    claimed = asked.parameters.other.get("AUTH")
    if claimed is not None and claimed.casefold() != session.work.user.casefold():
        # RFC 4954 §5: of a client that is not trusted to say so "the server MUST behave as if the AUTH=<> parameter was supplied".
        asked.parameters.other["AUTH"] = "<>"
    if session.work.user or not session.connection.settings.auth.required:
        return False
    session.note_refusal(asked.line, _REQUIRED, "server")
    session.machine.refuse(_REQUIRED)
    return True


def _settle(session: SmtpSession, asked: wire.Auth, outcome: Outcome) -> Step:
    """What the sinks of a mechanism of their own said."""
    if _is_over(session):
        return None
    if isinstance(outcome.verdict, v.Authenticated):
        _authenticated(session, asked.mechanism, outcome)
        return None
    if outcome.verdict is None:
        # None of the sinks of the mechanism knew the client (RFC 4954 §6).
        outcome = Outcome(_WRONG, "server")
    verdict = outcome.verdict
    if isinstance(verdict, v.Reject) and verdict.code == _WRONG.code and not outcome.failed:
        return _fail(session, asked, base.Failure("refused by the mechanism"), outcome)
    session.refused(outcome, asked.line)
    return None


def _is_over(session: SmtpSession) -> bool:
    """Whether there is nobody to answer, or the machine has answered a line that it refused itself."""
    dialogue = session.connection.dialogue
    if session.machine.is_closed or session.connection.is_lost:
        return True
    refused, dialogue.refused = dialogue.refused, False
    return refused


def _authenticated(session: SmtpSession, mechanism: str, outcome: Outcome) -> None:
    assert isinstance(outcome.verdict, v.Authenticated)
    user = session.work.user = outcome.verdict.user
    session.connection.host.guesses.succeeded(session.work.client_ip, user)
    session.log.info("authenticated", user=user, mechanism=mechanism, by=outcome.by)
    session.machine.accept()
    chain = session.bindings.chain(events.AuthenticatedReport)
    if chain:
        session.services.dispatcher.tell(events.AuthenticatedReport(session.facts(), user, mechanism), chain)


async def _fail(session: SmtpSession, asked: wire.Auth, failure: base.Failure, outcome: Outcome, since: float = 0.0) -> None:
    """Counts and logs a failure, waits as long as it costs, and refuses.

    What it costs is counted from the client's last line on: that one store takes longer than another, or has more to do for a user who
    exists, shows nowhere.
    """
    now = asyncio.get_running_loop().time()
    host, limits = session.connection.host, session.connection.settings.auth.guesses
    _log_failure(session, asked.mechanism, failure.user, failure.reason)
    delay = host.guesses.failed(session.work.client_ip, failure.user, limits)
    session.failed_logins += 1
    if host.guesses.waiting >= limits.waiting:
        # To answer at once instead would be what a guesser with many connections wants.
        outcome = Outcome(_TOO_MANY, "server")
    else:
        host.guesses.waiting += 1
        try:
            await asyncio.sleep(delay - max(0.0, now - (since or now)))
        finally:
            host.guesses.waiting -= 1
    if session.failed_logins >= limits.session:
        outcome = Outcome(_TOO_MANY, "server")
    if not session.machine.is_closed and not session.connection.is_lost:
        session.refused(outcome, asked.line)


def _log_failure(session: SmtpSession, mechanism: str, user: str, reason: str) -> None:
    session.log.warning("authentication failed", mechanism=mechanism, reason=reason, user=shown_user(user))


def shown_user(user: str) -> str:
    """A name as it stands in the log: nothing in it ends a field or looks like the next one, whatever a stranger calls himself."""
    return "".join(map(_shown_character, user[:_LONGEST_NAME]))


def _shown_character(c: str) -> str:
    if c in ' ="\\':
        return f"\\x{ord(c):02x}"
    return c if c.isprintable() else c.encode("unicode_escape").decode()


class Login:
    """One exchange with a mechanism that ships.

    Args:
        session: whose it is.
        asked: the command.
    """

    __slots__ = ("_asked", "_by", "_reason", "_refusal", "_session", "_since")

    def __init__(self, session: SmtpSession, asked: wire.Auth) -> None:
        self._session = session
        self._asked = asked
        # The store that said the last word, and its own words for no.
        self._by = "server"
        self._refusal: v.Reject | v.Defer = _WRONG
        self._reason = ""
        # When the client said its last line, as the time of the loop.
        self._since = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """The whole exchange, with the reply to AUTH at its end."""
        session = self._session
        try:
            end = await self._talk()
        except ClientGone:
            return
        except RemoteProtocolError as error:
            end = Outcome(v.Reject(error.code, error.enhanced, error.text), "client")
        if _is_over(session):
            return
        if isinstance(end, base.Success):
            _authenticated(session, self._asked.mechanism, Outcome(v.Authenticated(end.user), self._by))
        elif isinstance(end, Outcome):
            session.refused(end, self._asked.line)
        elif end.malformed:
            _log_failure(session, self._asked.mechanism, end.user, end.reason)
            session.refused(Outcome(_MALFORMED, "server"), self._asked.line)
        else:
            failure = base.Failure(self._reason or end.reason, user=end.user)
            await _fail(session, self._asked, failure, Outcome(self._refusal, self._by), self._since)

    async def _talk(self) -> base.Success | base.Failure | Outcome:
        """Runs the machine to its end, or until a store wants the exchange to end. Raises RemoteProtocolError, ClientGone."""
        machine = mechanisms.server(self._asked.mechanism, self._side())
        step = machine.start(self._asked.initial)
        while not isinstance(step, base.Success | base.Failure):
            if isinstance(step, base.Challenge):
                response = await self._session.connection.dialogue.response(step.data)
                self._since = asyncio.get_running_loop().time()
                step = machine.respond(response)
                continue
            answer = await self._ask(step)
            if isinstance(answer, Outcome | base.Failure):
                return answer
            step = machine.answer(answer)
        return step

    def _side(self) -> mechanisms.ServerSide:
        session = self._session
        layer = session.connection.layer
        bindings = base.ChannelBindings(layer.channel) if layer is not None else base.UNBOUND
        serving = session.connection.settings.auth
        offered = serving.mechanisms if layer is not None else ()
        return mechanisms.ServerSide(session.services.server.hostname, bindings, offered, serving.pepper)

    async def _ask(self, asked: base.Ask) -> base.Answer | base.Failure | Outcome:
        """Asks the stores; an Outcome or a Failure when there is no point in going on."""
        session = self._session
        user = getattr(asked, "user", "")
        serving = session.connection.settings.auth
        if user and session.connection.host.guesses.refuses_user(session.work.client_ip, user, serving.guesses):
            self._refusal = _USER_REFUSED
            return base.Failure("too many failures of this user", user=user)
        event = events.Credentials(session.facts(), self._asked.mechanism, asked)
        answer = session.services.dispatcher.ask(event, session.bindings.chain(events.Credentials))
        outcome = answer if isinstance(answer, Outcome) else await answer
        return self._judged(asked, outcome)

    def _judged(self, asked: base.Ask, outcome: Outcome) -> base.Answer | Outcome:
        """A store's verdict as the machine understands it."""
        verdict = outcome.verdict
        self._by = outcome.by or "server"
        if outcome.failed:
            return Outcome(_DOWN, outcome.by, failed=True)
        if verdict is None or isinstance(verdict, v.Reject):
            # The machine goes on to the end: after the same number of lines, whatever the reason is.
            self._refusal = verdict or _WRONG
            return None
        if isinstance(verdict, v.Defer | v.Disconnect):
            return outcome
        answer = _answer_of(verdict) if isinstance(verdict, _FITTING[type(asked)]) else None
        if answer is None:
            said = type(verdict).__name__
            self._session.log.error("credentials answered wrongly", by=outcome.by, verdict=said, mechanism=self._asked.mechanism)
            return Outcome(_DOWN, outcome.by, failed=True)
        wanted = getattr(asked, "authorize_as", "")
        if wanted and answer.user != wanted and wanted.casefold() != getattr(asked, "user", "").casefold():
            # RFC 4616 §2: the server decides whether one user may act as another; without a word to the contrary it may not.
            self._reason = "may not act as another user"
            return None
        return answer


_FITTING: dict[type[base.Ask], type[v.Verdict]] = {
    base.Password: v.Authenticated,
    base.Keys: Keys,
    base.Secret: PlainPassword,
    base.Token: v.Authenticated,
    base.Certificate: v.Authenticated,
}


def _answer_of(verdict: v.Verdict) -> base.Answer:
    """A yes in the words of the machines."""
    if isinstance(verdict, v.Authenticated):
        return base.Known(verdict.user)
    if isinstance(verdict, Keys):
        return base.ScramKeys(verdict.user, verdict.salt, verdict.iterations, verdict.stored_key, verdict.server_key)
    return base.PlainSecret(verdict.user, verdict.password) if isinstance(verdict, PlainPassword) else None
