"""Logging in to a server (RFC 4954): the best mechanism that both sides can, over the machines of ``wire.sasl``.

A refusal is the queue's trouble and not the message's: what is wrong is a password or a token, and mail waits until somebody mends it.
No other mechanism is tried then: whoever could make the good ones fail would be given the password by PLAIN. Nor is mail sent where the
server says that we are in and has not proven, in a mechanism that has it do so, that it knows us.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import SaslError
from ..events import handed
from ..events.verdict_transit import Retry, TreatAs
from ..mail.reply import Reply
from ..wire.sasl.base import UNBOUND, ChannelBindings, ClientMechanism
from ..wire.sasl.mechanisms import Login, choose, client
from ..wire.sasl.scram import PLUS
from ..wire.smtp.client_events import Closed
from ..wire.smtp.client_state import ClientState
from ..wire.smtp.outgoing import Continuation, raw
from ..wire.x509 import read_certificate
from .attempt import Trouble
from .exchange import Exchange, Said
from .settings import Credentials

# RFC 4954 §4: an initial response that makes the line too long is sent after an empty challenge instead; a line has 512 octets with its
# CRLF (RFC 5321 §4.5.3.1.4), one of the dialogue 12288.
_LONGEST_LINE, _LONGEST_RESPONSE = 510, 12286
# No mechanism has more challenges than SCRAM: its two, and the empty one for an initial response that was too long.
_ROUNDS = 4
_LONGEST_TOKEN = 8 * 1024
# RFC 6750 §2.1 has fewer characters, but what a token is made of is for its maker to know.
_TOKEN = re.compile(r"[\x21-\x7e]+")
# How long reading a token may take: its folder may be on another machine.
_READ = 10.0


async def log_in(session: Exchange) -> Trouble | None:
    """Logs in, where there is something to log in with; None when the session may go on."""
    credentials = session.settings.credentials
    if credentials is None:
        return None
    if not session.remote.tls and not credentials.in_clear:
        return Trouble("there is no TLS, and the password is not to be sent in clear", "4.7.0", None, session.server)
    offered = session.machine.extensions.get("AUTH", "").upper().split()
    try:
        have = await _login(session, credentials)
        name = choose(offered, have, credentials.mechanisms)
        if not name:
            what = f"the server offers no AUTH that we may use: it has {' '.join(offered)[:200] or 'none'}"
            return Trouble(what, "4.7.0", None, session.server)
        return await _Dialogue(session, client(name, _bound(have, name, offered)), have).run()
    except SaslError as error:
        return Trouble(f"we cannot log in: {error}", "4.7.0", None, session.server)


async def _login(session: Exchange, credentials: Credentials) -> Login:
    """What we have to log in with in this session. Raises SaslError when it cannot be read."""
    token = credentials.token
    if credentials.token_file is not None:
        try:
            async with asyncio.timeout(_READ):
                token = await asyncio.to_thread(read_token, credentials.token_file)
        except TimeoutError:
            raise SaslError(f"the token in {credentials.token_file} cannot be read: it takes too long") from None
    place = session.place
    return Login(
        user=credentials.user,
        password=credentials.password,
        token=token,
        certificate=credentials.certificate,
        host=session.target.host or place.address,
        port=place.port,
        bindings=_bindings(session.connection.certificate),
    )


def read_token(path: Path) -> str:
    """The token in a file, which whoever refreshes it writes anew. Raises SaslError that names the file, and nothing of what is in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SaslError(f"the token in {path} cannot be read: it is no file")
            found = file.read(_LONGEST_TOKEN + 1)
    except OSError as error:
        found = b""
        if isinstance(error, PermissionError):
            with suppress(OSError):
                found = handed.read(path)
        if not found:
            raise SaslError(f"the token in {path} cannot be read: {error.strerror}") from None
    token = found[: _LONGEST_TOKEN + 1].decode("ascii", "replace").strip()
    if len(found) > _LONGEST_TOKEN or not _TOKEN.fullmatch(token):
        raise SaslError(f"what is in {path} is no token: one word of at most {_LONGEST_TOKEN} octets")
    return token


def _bindings(certificate: bytes) -> ChannelBindings:
    # Of the other types Python's ssl has the data of "tls-unique" alone, which TLS 1.3 does not have (RFC 9266 §1); for "tls-exporter"
    # it has nothing.
    try:
        end_point = read_certificate(certificate).end_point if certificate else b""
    except ValueError:
        end_point = b""
    return ChannelBindings({"tls-server-end-point": end_point}) if end_point else UNBOUND


def _bound(have: Login, name: str, offered: Iterable[str]) -> Login:
    """The same, without the channel where "-PLUS" was offered and is not used: "the server has none" would be taken for an attack."""
    if name.endswith(PLUS) or not any(one.endswith(PLUS) for one in offered):
        return have
    return Login(have.user, have.password, have.token, have.certificate, have.host, have.port)


class _Dialogue:
    """One AUTH, from the command to its last reply.

    Args:
        session: in which it takes place.
        mechanism: what is said.
        have: what may not be repeated to anybody.
    """

    def __init__(self, session: Exchange, mechanism: ClientMechanism, have: Login) -> None:
        self._session = session
        self._mechanism = mechanism
        self._user = have.user
        self._secrets = {have.password, have.token} - {""}

    async def run(self) -> Trouble | None:
        """None when we are in. Raises SaslError when the server, which has gone on, broke the rules of the mechanism."""
        said = await self._talk()
        session = self._session
        if isinstance(said.event, Closed):
            return session.trouble
        decided = self._decided(said)
        if decided is not None:
            return decided
        if said.reply.code // 100 != 2:
            return self._refused(said)
        if said.event.reply.code // 100 == 2:  # type: ignore[union-attr]  # what is not Closed here has a reply
            self._mechanism.finish()
        return None

    async def _talk(self) -> Said:
        """Says what the mechanism says, until there is nothing more to say."""
        session = self._session
        line, late = f"AUTH {self._mechanism.name}", None
        initial = self._mechanism.initial()
        if initial is not None:
            # RFC 4954 §4: "=" stands for an empty one.
            told = self._coded(initial) or "="
            line, late = (f"{line} {told}", None) if len(line) + 1 + len(told) <= _LONGEST_LINE else (line, initial)
        said = await session.exchange(raw(line))
        for _ in range(_ROUNDS):
            if session.machine.state is not ClientState.DIALOGUE:
                return said
            if self._decided(said) is not None:
                await session.exchange(Continuation("*"))
                return said
            response, late = (await self._response(said) if late is None else late), None
            said = await session.exchange(Continuation(self._coded(response)))
        if session.machine.state is ClientState.DIALOGUE:
            await self._cancel("the server asks on and on")
        return said

    async def _response(self, said: Said) -> bytes:
        """What we say to a challenge. Raises SaslError, after the exchange was cancelled, when it is none that we can answer."""
        text = said.event.reply.text if not isinstance(said.event, Closed) else ""  # type: ignore[union-attr]
        try:
            challenge = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            if self._mechanism.name != "LOGIN":
                await self._cancel("a challenge of the server is not base64")
            # Some servers ask for the name in words; it is only counted which of the two is meant.
            challenge = b""
        try:
            if not self._mechanism.name.startswith("SCRAM-"):
                return self._mechanism.respond(challenge)
            # Deriving the keys takes as long as the server wants, within limits; other sessions go on meanwhile.
            return await asyncio.to_thread(self._mechanism.respond, challenge)
        except SaslError as error:
            await self._cancel(str(error))
            raise

    def _coded(self, response: bytes) -> str:
        coded = base64.b64encode(response).decode("ascii")
        if len(coded) > _LONGEST_RESPONSE:
            raise SaslError("the name, password or token is too long")
        # A server may repeat to us what we said.
        self._secrets.add(coded)
        return coded

    async def _cancel(self, why: str) -> None:
        """Ends the exchange on our side (RFC 4954 §4). Always raises SaslError."""
        await self._session.exchange(Continuation("*"))
        raise SaslError(why)

    def _decided(self, said: Said) -> Trouble | None:
        verdict = said.outcome.verdict
        return None if verdict is None or isinstance(verdict, TreatAs | Retry) else self._session.decided(said)

    def _refused(self, said: Said) -> Trouble:
        session, reply = self._session, self._clean(said.reply)
        session.context.log.warning(
            "login refused",
            remote=session.server.host,
            mechanism=self._mechanism.name,
            user=self._user,
            reply=str(reply),
            session=session.work.id,
        )
        return Trouble("the server did not let us in", "4.7.0", reply, session.server)

    def _clean(self, reply: Reply) -> Reply:
        """The reply without what it may repeat of our secrets: it goes into logs and reports."""
        if any(len(secret) > 1 and secret in reply.text for secret in self._secrets):
            return Reply(reply.code, reply.enhanced, "(it repeats what we said, and is not shown)")
        return reply
