"""The questions and reports of a session in which the server is the server, each as a method; the session goes on as in the server.

What the sink agrees to takes effect: HELO is remembered, a recipient joins the envelope. Nothing is refused for its order: a test may ask
about RCPT at once, and gets a message for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

from .. import events
from ..events import verdict as v
from ..events import verdict_transit as t
from ..events.catalog import Greeting
from ..events.credentials import Kind
from ..events.verdict_each import RefuseRecipients
from ..events.verdict_login import Keys, PlainPassword
from ..events.views import MessageSnapshot
from ..events.work import MessageWork
from ..mail.address import Address
from ..mail.content import MemoryContent
from ..mail.envelope import MailParameters, Recipient
from ..mail.header import split_header
from ..wire.sasl import base
from ..wire.tls import TlsFacts
from .asking import MAIL, RECIPIENT, SENDER, Asking
from .stand_in import ContentLike, ReplyLike, ScriptedClient, as_octets, as_reply

Refusal = v.Reject | v.Defer | v.Disconnect
# What is asked for each kind, and the usual mechanism that asks it; of a user, a secret, whom to act as, and a mechanism.
_ASKED: dict[Kind, tuple[str, Callable[[str, str, str, str], base.Ask]]] = {
    "password": ("PLAIN", lambda user, secret, other, _: base.Password(user, secret, other)),
    "keys": ("SCRAM-SHA-256", lambda user, _, other, mechanism: base.Keys(user, mechanism.upper().removesuffix("-PLUS"), other)),
    "secret": ("CRAM-MD5", lambda user, _, __, ___: base.Secret(user)),
    "token": ("OAUTHBEARER", lambda user, secret, _, __: base.Token(secret, user)),
    "certificate": ("EXTERNAL", lambda _, __, other, ___: base.Certificate(other)),
}
OFFERED = ("PIPELINING", "8BITMIME", "SIZE 26214400", "DSN", "ENHANCEDSTATUSCODES", "SMTPUTF8", "CHUNKING")


class AskInbound(Asking):
    """Connected, the commands of a client, its content, and what is told of them."""

    async def connected(self) -> v.Disconnect | v.Respond | v.Delay | None:
        """A client connected."""
        return cast(v.Disconnect | v.Respond | v.Delay | None, await self.put(events.Connected(self.facts(message=False))))

    async def helo(self, name: str = "client.example") -> Refusal | None:
        """HELO with this name."""
        return await self._greeting(events.Helo(self.facts(message=False), name, []), name)

    async def ehlo(self, name: str = "client.example", offered: Iterable[str] = OFFERED) -> Refusal | None:
        """EHLO with this name; ``tester.event.offered`` is what would be offered after it."""
        return await self._greeting(events.Ehlo(self.facts(message=False), name, list(offered)), name)

    async def _greeting(self, event: Greeting, name: str) -> Refusal | None:
        # As in the server: a condition on the name is met by the name that was just said, and a refusal forgets it.
        before, self._session.helo = self._session.helo, name
        verdict = await self.put(event)
        if verdict is not None:
            self._session.helo = before
        return cast(Refusal | None, verdict)

    async def start_tls(self) -> Refusal | None:
        """STARTTLS."""
        return cast(Refusal | None, await self.put(events.StartTls(self.facts(message=False))))

    async def tls_established(self, tls: TlsFacts | str = "TLSv1.3") -> None:
        """Tells that the connection is secured.

        Args:
            tls: what was agreed on, or its version alone.
        """
        agreed = TlsFacts(tls) if isinstance(tls, str) else tls
        self.set_session(tls=agreed)
        await self.put(events.TlsEstablished(self.facts(message=False), agreed))

    async def mail_from(self, sender: str = SENDER, parameters: MailParameters | None = None) -> Refusal | v.Rewrite | None:
        """MAIL; begins a new message.

        Args:
            sender: the reverse-path, "" for the null path.
            parameters: what the client asks for, such as ``MailParameters(size=1000, body="8BITMIME")``.
        """
        self.set_message(b"", sender=sender, recipients=())
        work = self._the_message()
        work.content, work.record.size = None, 0
        work.record.envelope.parameters = parameters or MailParameters()
        return cast(Refusal | v.Rewrite | None, await self.put(events.MailFrom(self.facts())))

    async def rcpt_to(
        self, recipient: str = RECIPIENT, *, notify: Iterable[str] = (), orcpt: str = "", parameters: Mapping[str, str] | None = None
    ) -> Refusal | v.Rewrite | v.Discard | None:
        """RCPT; the recipient joins the message when the sink agrees.

        Args:
            recipient: the address.
            notify: lower-case words of NOTIFY (RFC 3461 §4.1).
            orcpt: ORCPT as ``type;address``.
            parameters: further parameters, by upper-case name.
        """
        if self._message is None:
            await self._begin()
        asked = Recipient(Address.parse(recipient), recipient, frozenset(notify), orcpt, dict(parameters or {}))
        event = events.RcptTo(self.facts(), asked)
        verdict = await self.put(event)
        envelope = self._the_message().record.envelope
        if (verdict is None or isinstance(verdict, v.Rewrite)) and all(r.address != event.work.address for r in envelope.recipients):
            envelope.recipients.append(event.work)
        return cast(Refusal | v.Rewrite | v.Discard | None, verdict)

    async def _begin(self) -> None:
        """A message whose MAIL nobody was asked about."""
        self.set_message(b"", recipients=())
        work = self._the_message()
        work.content, work.record.size = None, 0

    async def data(self) -> Refusal | None:
        """DATA, or the first BDAT."""
        return cast(Refusal | None, await self.put(events.Data(self.facts())))

    async def end_of_headers(self, content: ContentLike | None = None) -> Refusal | v.Discard | None:
        """The header section of this content is complete, and nothing behind it is here yet."""
        work = self._arrived(content)
        whole = work.content
        assert whole is not None
        octets = whole.read()
        # What comes first of the content: the fields, and the empty line after them.
        work.content, work.complete = MemoryContent(octets[: len(split_header(octets)[0]) + 2]), False
        try:
            verdict = await self.put(events.EndOfHeaders(self.facts()))
        finally:
            work.content, work.complete = whole, True
        return cast(Refusal | v.Discard | None, verdict)

    async def end_of_data(
        self, content: ContentLike | None = None, *, per_recipient: bool = False
    ) -> Refusal | v.Discard | v.Quarantine | RefuseRecipients | None:
        """The whole content came; without one, what the message has already, else a short message.

        Args:
            content: the content.
            per_recipient: the client takes an answer for each recipient, as in LMTP.
        """
        self._arrived(content)
        event = events.EndOfData(self.facts(), per_recipient)
        return cast(Refusal | v.Discard | v.Quarantine | RefuseRecipients | None, await self.put(event))

    def _arrived(self, content: ContentLike | None) -> MessageWork:
        work = self._the_message()
        if content is not None or work.content is None:
            octets = as_octets(MAIL if content is None else content)
            work.content, work.record.size, work.record.header, work.record.body_offset = MemoryContent(octets), len(octets), None, 0
        if not work.record.envelope.recipients:
            work.record.envelope.recipients = [Recipient(Address.parse(RECIPIENT), RECIPIENT)]
        return work

    async def max_message_size(self, size: int = 26214401, limit: int = 26214400) -> t.Allow | v.Reject | None:
        """Content of this size is above the limit; both in octets."""
        event = events.MaxMessageSize(self.facts(message=self._message is not None), size, limit)
        return cast(t.Allow | v.Reject | None, await self.put(event))

    async def verb(
        self, line: str, *, lines: Iterable[bytes | str] = (), octets: bytes = b""
    ) -> v.Respond | v.Reject | v.Defer | v.Disconnect | None:
        """A verb of the sink's, such as ``XQDEPTH now``; ``tester.client.prompts`` are the replies that it sent meanwhile.

        Args:
            line: the command line.
            lines: what the client answers to ``read_line``, one after the other.
            octets: what it sends for ``read_bytes``.
        """
        keyword, _, argument = line.partition(" ")
        self.client = ScriptedClient(lines, octets)
        event = events.Verb(self.facts(message=self._message is not None), keyword.upper(), argument, self.client)
        return cast(v.Respond | v.Reject | v.Defer | v.Disconnect | None, await self.put(event))

    async def auth(
        self, mechanism: str, *, initial_response: bytes | None = None, responses: Iterable[bytes | str] = ()
    ) -> v.Authenticated | Refusal | None:
        """AUTH with a mechanism of the sink's; ``tester.client.challenges`` are those that it sent. All octets are plain, not in base64.

        Args:
            mechanism: its name.
            initial_response: what comes with the command; None for nothing.
            responses: what the client answers, one after the other; "*" gives up.
        """
        self.client = ScriptedClient(responses)
        event = events.Auth(self.facts(message=False), mechanism.upper(), initial_response, self.client)
        verdict = await self.put(event)
        if isinstance(verdict, v.Authenticated):
            self._session.user = verdict.user
        return cast(v.Authenticated | Refusal | None, verdict)

    async def credentials(
        self, user: str = "alice", *, kind: Kind = "password", secret: str = "", authorize_as: str = "", mechanism: str = ""
    ) -> v.Authenticated | Keys | PlainPassword | Refusal | None:
        """A mechanism that ships asks about a user.

        Args:
            user: the name; "" where a token or a certificate has to say it.
            kind: what is asked.
            secret: the password or the token that was sent.
            authorize_as: whom the user wants to act as.
            mechanism: its name; "" for the usual one of the kind.
        """
        usual, make = _ASKED[kind]
        asked = make(user, secret, authorize_as, mechanism or usual)
        event = events.Credentials(self.facts(message=False), mechanism.upper() or usual, asked)
        verdict = await self.put(event)
        if isinstance(verdict, v.Authenticated):
            self._session.user = verdict.user
        return cast(v.Authenticated | Keys | PlainPassword | Refusal | None, verdict)

    async def authenticated(self, user: str = "alice", mechanism: str = "PLAIN") -> None:
        """Tells that a mechanism succeeded."""
        self._session.user = user
        await self.put(events.Authenticated(self.facts(message=False), user, mechanism))

    async def accepted(self) -> None:
        """Tells that the message is on stable storage and that the client was told so."""
        self._session.messages += 1
        await self.put(events.Accepted(self.facts(), MessageSnapshot.of(self._the_message())))

    async def rejected(self, command: str = "RCPT TO:<bob@example.com>", reply: ReplyLike = "550 5.1.1 No", by: str = "server") -> None:
        """Tells that a command was refused, with which reply, and by which binding."""
        self._session.rejections += 1
        event = events.Rejected(self.facts(message=self._message is not None), command, as_reply(reply), by)
        await self.put(event)

    async def session_ended(self, reason: str = "quit", seconds: float = 1.0) -> None:
        """Tells that the connection is gone, why, and after how many seconds."""
        await self.put(events.SessionEnded(self.facts(message=False), reason, seconds))
