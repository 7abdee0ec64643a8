"""One sink, bound as the server binds it, and the session, the message and the remote server that it is asked about.

The dispatcher, the bindings, the deadline, the conditions, and the way in which edits come to count or are undone are the server's own;
only what lies around them is a stand-in. So what a test sees here is what happens in the server."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from types import MappingProxyType
from typing import Any, cast

from ..errors import ConfigError, RemoteProtocolError, SinkError, SinkTimeout
from ..events.binding import Bindings
from ..events.catalog import Auth, Verb
from ..events.chain import EMPTY, Chain
from ..events.dispatch import Dispatcher, Outcome
from ..events.event import Event
from ..events.message import Message
from ..events.outbound import Edited, Remote
from ..events.plug import DEFAULT, OnError, Plug, RunIn
from ..events.rule import Match
from ..events.sink import Sink
from ..events.verdict import Verdict
from ..events.work import Facts, MessageWork, OutboundWork, Scope, SessionWork
from ..mail.address import Address
from ..mail.content import MemoryContent
from ..mail.envelope import Envelope, Recipient
from ..mail.message import Direction, MessageRecord, Origin
from ..observe.log import Log, get_log
from ..wire.tls import TlsFacts
from .captured import CapturedLog
from .stand_in import ContentLike, ReplyLike, ScriptedClient, ScriptedRemote, StandIn, as_octets

NAME = "tested"
SENDER, RECIPIENT = "alice@client.example", "bob@example.com"
MAIL = b"From: alice@client.example\r\nTo: bob@example.com\r\nSubject: hello\r\n\r\nHello.\r\n"


@dataclass(frozen=True, slots=True)
class HowBound:
    """How the sink of a test is bound; the keys of ``[[binding]]``.

    Args:
        match: conditions, all of which must hold; None for all events.
        timeout: seconds that a handler may take.
        on_error: what becomes of a question whose handler fails; None raises in the test what the handler raised.
        run_in: "loop", "thread", or "" for what suits the handler.
        priority: 0 to 32767.
    """

    match: Match | None = None
    timeout: float = 30.0
    on_error: OnError | None = None
    run_in: RunIn = ""
    priority: int = DEFAULT


class _Heard:
    """The dispatcher's log, which also hears what went wrong with a sink beyond what its handler raised.

    Args:
        log: where the lines go.
    """

    def __init__(self, log: Log) -> None:
        self.failures: list[Exception] = []
        self.debug, self.info, self.warning = log.debug, log.info, log.warning
        self._log = log

    def error(self, event: str, **values: Any) -> None:
        """Writes a line, and keeps what a failure of a sink says."""
        if event == "sink failed":
            error, said = values.get("exc_info"), str(values.get("error", ""))
            kind = SinkTimeout if said.startswith(SinkTimeout.__name__) else SinkError
            self.failures.append(error if isinstance(error, Exception) else kind(NAME, said.partition(": ")[2].partition(": ")[2] or said))
        self._log.error(event, **values)


class Asking:
    """A sink that can be asked, and what it is asked about.

    Args:
        sink: the sink.
        log: where its log lines are kept.
        how: how it is bound.

    Raises: ConfigError when it cannot be bound, as ``penstock check`` would say.
    """

    def __init__(self, sink: Sink[Any], log: CapturedLog | None = None, how: HowBound | None = None) -> None:
        self.sink = sink
        self.server = StandIn()
        self.log = log if log is not None else CapturedLog()
        self.client = ScriptedClient()
        self.remote = ScriptedRemote()
        self._event: Event | None = None
        self._notice: MessageWork | None = None
        self._forks: list[MessageWork] = []
        self._how = how or HowBound()
        self._started = False
        self._fired = 0
        self._edits: list[Verdict] = []
        self._heard = _Heard(get_log())
        self._dispatcher = Dispatcher(cast(Log, self._heard))
        self._raised: list[BaseException] = []
        self._bindings = self._bind()
        self._session = SessionWork("s1", ("192.0.2.1", 4711), "mx", time.time())
        self._session.helo = "client.example"
        self._message: MessageWork | None = None
        remote = Remote("mx:example.net", "mx.example.net", "mx.example.net", "192.0.2.25", 25)
        self._outbound = OutboundWork("o1", remote.next_hop, remote, time.time())

    def _bind(self) -> Bindings:
        how = self._how
        plug = Plug(
            NAME,
            self.sink,
            how.priority,
            how.match,
            how.timeout,
            how.on_error or "defer",
            how.run_in,
            where=type(self.sink).__qualname__,
        )
        bindings = Bindings([plug])
        for binding in bindings.all:
            binding.handler = self._watched(binding.handler)
        return bindings

    def _watched(self, handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The handler, with a note of each call and of each verdict, since one that edits is not the outcome."""

        def note(verdict: Any) -> Any:
            self._edits.append(verdict)
            return verdict

        if inspect.iscoroutinefunction(handler):

            @wraps(handler)
            async def waited(event: Event) -> Any:
                self._fired += 1
                with self._keeping():
                    return note(await handler(event))

            return waited

        @wraps(handler)
        def called(event: Event) -> Any:
            self._fired += 1
            with self._keeping():
                return note(handler(event))

        return called

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Keeps what a handler raises, for the test; but for a client's breaking off, which is nobody's fault and has its own answer."""
        try:
            yield
        except RemoteProtocolError:
            raise
        except (Exception, SystemExit) as error:
            self._raised.append(error)
            raise

    # -- what it is asked about ---------------------------------------------------------------------------------------------------------

    @property
    def fired(self) -> int:
        """How many handlers of the sink were called by the last question or report; 0 when no condition held."""
        return self._fired

    @property
    def event(self) -> Event:
        """The event of the last question or report, as it was left."""
        assert self._event is not None, "nothing was asked yet"
        return self._event

    @property
    def message(self) -> Message:
        """The message as it is now, with all edits that were kept."""
        return self._view(self._the_message())

    @property
    def content(self) -> bytes:
        """The octets of the message as it is now."""
        return self.message.content.read()

    @property
    def recipients(self) -> list[str]:
        """The addresses of the message's recipients as they are now."""
        return [str(recipient.address) for recipient in self._the_message().record.envelope.recipients]

    @property
    def forks(self) -> list[Message]:
        """The copies that the sink split off so far."""
        return [self._view(work) for work in self._forks]

    @property
    def submitted(self) -> list[Message]:
        """The messages that the sink submitted so far."""
        return [self._view(work) for work in self.server.submitted]

    @property
    def notice(self) -> Message:
        """The report (DSN) of the last ``bounce``, ``delay_notice`` or ``success_notice``, as the sink left it."""
        assert self._notice is not None, "no notice was asked about yet"
        return self._view(self._notice)

    @property
    def session_state(self) -> dict[str, Any]:
        """What the sink remembers about the session with the client."""
        return self._session.states.get(NAME, {})

    @property
    def remote_state(self) -> dict[str, Any]:
        """What the sink remembers about the session with the remote server."""
        return self._outbound.states.get(NAME, {})

    @property
    def message_state(self) -> dict[str, Any]:
        """What the sink remembers about the message."""
        return self._the_message().record.state.get(NAME, {})

    @property
    def server_state(self) -> dict[str, Any]:
        """What the sink remembers in its worker process."""
        return self.server.states.get(NAME, {})

    def set_session(
        self,
        client_ip: str | None = None,
        *,
        client_name: str | None = None,
        helo: str | None = None,
        tls: str | TlsFacts | None = None,
        user: str | None = None,
        listener: str | None = None,
    ) -> None:
        """Says who the client is; what is None stays as it is. It begins as 192.0.2.1, ``client.example``, on listener "mx".

        Args:
            client_ip: its address.
            client_name: its name from DNS.
            helo: what it called itself.
            tls: the TLS version, all the facts of it, or "" for none.
            user: who has logged in.
            listener: where it came.
        """
        given = {"client_ip": client_ip, "client_name": client_name, "helo": helo, "user": user, "listener": listener}
        if tls is not None:
            self._session.tls = (TlsFacts(tls) if tls else None) if isinstance(tls, str) else tls
        for name, value in given.items():
            if value is not None:
                setattr(self._session, name, value)

    def set_message(
        self,
        content: ContentLike = MAIL,
        *,
        sender: str = SENDER,
        recipients: Iterable[str | Recipient] = (RECIPIENT,),
        origin: Origin = "smtp",
        direction: Direction = "in",
    ) -> None:
        """Puts a new message in the place of the one that is asked about.

        Args:
            content: header and body.
            sender: the reverse-path; "" for the null path.
            recipients: addresses, or recipients with all their parameters.
            origin: how it entered.
            direction: from outside, to outside, or neither.
        """
        octets = as_octets(content)
        envelope = Envelope(Address.parse(sender), [as_recipient(r) for r in recipients])
        session = self._session
        record = MessageRecord(
            self.server.new_id(),
            self.server.now(),
            envelope,
            origin,
            direction,
            len(octets),
            session.listener,
            session.client_ip,
            session.client_name,
            session.helo,
            session.user,
        )
        self._message = MessageWork(record, MemoryContent(octets), record.id)

    def follow(self, message: Message) -> None:
        """Asks about this message from now on: one of ``forks`` or ``submitted``."""
        self._message = message.work

    def set_remote(
        self,
        name: str = "mx.example.net",
        *,
        next_hop: str = "mx:example.net",
        address: str = "192.0.2.25",
        tls: str | TlsFacts = "",
        extensions: Mapping[str, str] | Iterable[str] = (),
        replies: Mapping[str, ReplyLike | Exception] | None = None,
    ) -> None:
        """Says who the remote server is, and what it answers.

        Args:
            name: its host name.
            next_hop: where the mail was routed.
            address: its IP address.
            tls: the TLS version in use, all the facts of it, or "" for none.
            extensions: what it offers in EHLO, by keyword in upper case.
            replies: what it answers to ``event.send``, by verb; an exception is raised.
        """
        offered = dict(extensions) if isinstance(extensions, Mapping) else dict.fromkeys(extensions, "")
        facts = (TlsFacts(tls) if tls else None) if isinstance(tls, str) else tls
        self._outbound.remote = Remote(next_hop, name, name, address, 25, facts, MappingProxyType(offered))
        self._outbound.queue = next_hop
        self.remote.says(replies or {})

    # -- asking -------------------------------------------------------------------------------------------------------------------------

    def bound(
        self,
        *,
        match: Match | None = None,
        timeout: float = 30.0,
        on_error: OnError | None = None,
        run_in: RunIn = "",
        priority: int = DEFAULT,
    ) -> None:
        """Binds the sink anew, as a ``[[binding]]`` with these keys would.

        Args:
            match: conditions, all of which must hold; None for all events.
            timeout: seconds that a handler may take.
            on_error: what becomes of a question whose handler fails; None raises in the test what the handler raised.
            run_in: "loop", "thread", or "" for what suits the handler.
            priority: 0 to 32767.

        Raises: ConfigError when it cannot be bound.
        """
        self._how = HowBound(match, timeout, on_error, run_in, priority)
        self._bindings = self._bind()

    async def start(self) -> None:
        """Starts the sink, once; the first question does so too."""
        if not self._started:
            self._started = True
            await self.sink.start()

    async def stop(self) -> None:
        """Stops the sink, if it was started; the fixture does so when the test is over."""
        if self._started:
            self._started = False
            await self.sink.stop()

    async def put(self, event: Event) -> Verdict | None:
        """Asks or tells the sink about an event that a test made itself, with ``facts``.

        Returns the final verdict; else the last one that edits, such as Rewrite; else None.
        Raises: what the handler raised, or SinkError or SinkTimeout for what the server finds wrong with it, unless it is bound with
            ``on_error``.
        """
        await self.start()
        chain = self._chain(event)
        self._fired, self._event = 0, event
        self._edits.clear()
        self._raised.clear()
        self._heard.failures.clear()
        message = event.facts.message
        if event.stage and message is not None:
            # Each question is a stage of its own: what was asked at an earlier one is asked again.
            message.record.done = []
        outcome = await self._outcome(event, chain)
        if isinstance(event, Edited):
            event.restore()
        if message is not None:
            self._forks += message.forks
            message.forks = []
        failures = [*self._raised, *self._heard.failures]
        if failures and self._how.on_error is None:
            raise failures[0]
        edits = [verdict for verdict in self._edits if type(verdict) in event.edits]
        return outcome.verdict or (edits[-1] if edits else None)

    async def _outcome(self, event: Event, chain: Chain) -> Outcome:
        if event.report:
            self._dispatcher.tell(event, chain)
            await self._dispatcher.drain()
            return Outcome()
        answer = self._dispatcher.ask(event, chain)
        return answer if isinstance(answer, Outcome) else await answer

    def _chain(self, event: Event) -> Chain:
        if isinstance(event, Verb):
            return self._bindings.verbs.get(event.keyword, EMPTY)
        if isinstance(event, Auth):
            return self._bindings.mechanisms.get(event.mechanism, EMPTY)
        return self._bindings.chain(type(event))

    def facts(self, *, session: bool = True, message: bool = True, outbound: bool = False) -> Facts:
        """What an event is about: the session, the message and the remote server of this tester, as far as they are wanted."""
        return Facts(
            self.server,
            self._session if session else None,
            self._the_message() if message else None,
            self._outbound if outbound else None,
        )

    def _the_message(self) -> MessageWork:
        if self._message is None:
            self.set_message()
        assert self._message is not None
        return self._message

    def _view(self, work: MessageWork) -> Message:
        return Message(work, Scope(NAME, NAME), self.server)


def as_recipient(recipient: str | Recipient) -> Recipient:
    """The recipient itself, or one made as RCPT would. Raises AddressError."""
    return recipient if isinstance(recipient, Recipient) else Recipient(Address.parse(recipient), recipient)


def with_message(asking: Asking, content: ContentLike | None, sender: str | None, recipients: Iterable[str | Recipient] | None) -> None:
    """Puts a new message in the place of the present one when anything of it is given."""
    if content is None and sender is None and recipients is None:
        return
    asking.set_message(
        MAIL if content is None else content,
        sender=SENDER if sender is None else sender,
        recipients=(RECIPIENT,) if recipients is None else recipients,
    )


def unbindable(sink: type[Sink[Any]], error: Exception) -> ConfigError:
    """What is said of settings that do not fit."""
    return ConfigError(f"{sink.__qualname__}.settings", str(error))
