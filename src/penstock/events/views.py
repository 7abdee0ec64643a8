"""The server and the session as a sink sees them, and a message as a report shows it.

Each view belongs to one call of one handler: it knows whose private state to show, and which sink a submitted message comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from types import MappingProxyType
from typing import Any, cast

from ..errors import FrozenError, StorageUnavailable
from ..mail.address import Address
from ..mail.content import MemoryContent
from ..mail.envelope import Envelope, Recipient
from ..mail.header import Header
from ..mail.message import Direction, MessageRecord, Origin
from ..wire.tls import TlsFacts
from .drafts import copied, unchanged
from .message import Message, as_content
from .recipients import Recipients, as_address
from .work import Backplane, ContentHeader, MessageWork, OutboundWork, Scope, SessionWork

# A message that sinks submitted while handling a message that sinks submitted ... this often is a loop.
MAX_GENERATION = 20


class Remembering:
    """What a sink remembers about a session, of either kind."""

    __slots__ = ("_before", "_scope", "_states", "_work")

    def __init__(self, work: SessionWork | OutboundWork, scope: Scope) -> None:
        self._work = work
        self._scope = scope
        self._states: dict[str, dict[str, Any]] = {}
        self._before: dict[str, dict[str, Any]] = {}

    @property
    def state(self) -> dict[str, Any]:
        """What this sink remembers about this session, private to it; values of any kind, as they need not survive a restart.

        When the handler fails, it is as it was before. But only dictionaries, lists and sets are: what happened within another object,
        such as a connection, cannot be undone.
        """
        return self.shared(self._scope.owner)

    def shared(self, name: str) -> dict[str, Any]:
        """What all sinks that know this name remember together about this session."""
        if name not in self._states:
            # What is kept is never changed in place, so it also tells later what it was.
            self._before[name] = dict(self._work.states.get(name, {}))
            self._states[name] = {key: copied(value) for key, value in self._before[name].items()}
        return self._states[name]

    def commit(self) -> None:
        """Keeps what the handler changed; called by the dispatcher, not by sinks.

        Only the keys that it set or deleted, since a report may be told while a question of the same session is asked.
        """
        for name, state in self._states.items():
            before, now = self._before[name], self._work.states.setdefault(name, {})
            changed = {key: value for key, value in state.items() if key not in before or not unchanged(before[key], value)}
            now.update({key: copied(value) for key, value in changed.items()})
            for key in before.keys() - state.keys():
                now.pop(key, None)


class Session(Remembering):
    """One SMTP session, as one sink sees it; everything but the state is for reading."""

    __slots__ = ()
    _work: SessionWork

    def __init__(self, work: SessionWork, scope: Scope) -> None:
        super().__init__(work, scope)

    @property
    def id(self) -> str:
        """Unique in the cluster; the same in every log line of the session."""
        return self._work.id

    @property
    def client_ip(self) -> str:
        """The client's IP address."""
        return self._work.client_ip

    @property
    def client_port(self) -> int:
        """The client's port."""
        return self._work.client_port

    @property
    def client_name(self) -> str:
        """The client's host name from DNS, or "" when it is not known."""
        return self._work.client_name

    @property
    def helo(self) -> str:
        """What the client called itself in HELO or EHLO, or ""."""
        return self._work.helo

    @property
    def forwarded(self) -> Mapping[str, str]:
        """What a trusted filter before us says of the client of this message (XFORWARD): NAME, ADDR, HELO and the like; empty without."""
        return MappingProxyType(self._work.forwarded)

    @property
    def tls(self) -> TlsFacts | None:
        """What was agreed on when the connection was secured, or None without TLS."""
        return self._work.tls

    @property
    def user(self) -> str:
        """The authenticated user, or ""."""
        return self._work.user

    @property
    def listener(self) -> str:
        """The name of the listener that took the connection."""
        return self._work.listener

    @property
    def started(self) -> datetime:
        """When the connection came, in UTC."""
        return datetime.fromtimestamp(self._work.started, UTC)


class RemoteSession(Remembering):
    """One session with a remote server, as one sink sees it; everything but the state is for reading."""

    __slots__ = ()
    _work: OutboundWork

    def __init__(self, work: OutboundWork, scope: Scope) -> None:
        super().__init__(work, scope)

    @property
    def id(self) -> str:
        """Unique in the cluster; the same in every log line of the session."""
        return self._work.id

    @property
    def queue(self) -> str:
        """The queue that is being worked on."""
        return self._work.queue

    @property
    def messages(self) -> int:
        """How many messages the server took so far."""
        return self._work.messages

    @property
    def started(self) -> datetime:
        """When the connection was begun, in UTC."""
        return datetime.fromtimestamp(self._work.started, UTC)


class Queue:
    """The queue, as a sink sees it."""

    __slots__ = ("_backplane",)

    def __init__(self, backplane: Backplane) -> None:
        self._backplane = backplane

    async def depth(self, queue: str = "") -> int:
        """How many messages this server keeps; with a queue's name, such as "mx:example.com", only those that wait in it."""
        found = self._backplane.queue_depth(queue)
        return found if isinstance(found, int) else await found

    async def release(self, queue: str) -> int:
        """Works now on what waits in a queue, whatever its schedule and retry times say, and releases what is held there; how many.

        What ETRN asks for (RFC 1985), as a call.
        """
        found = self._backplane.release_queue(queue)
        return found if isinstance(found, int) else await found


class Routes:
    """The routes, as a sink sees them."""

    __slots__ = ("_backplane",)

    def __init__(self, backplane: Backplane) -> None:
        self._backplane = backplane

    async def reset(self) -> int:
        """Asks for the next hop of everything that is queued again, since what routes depend on has changed; how many got another."""
        return await self._backplane.reset_routes()


class Server:
    """The server, as one sink sees it."""

    __slots__ = ("_backplane", "_generation", "_scope")

    def __init__(self, backplane: Backplane, scope: Scope, generation: int = 0) -> None:
        self._backplane = backplane
        self._scope = scope
        self._generation = generation

    @property
    def name(self) -> str:
        """The name of this virtual server."""
        return self._backplane.name

    @property
    def hostname(self) -> str:
        """The host name with which it greets."""
        return self._backplane.hostname

    @property
    def now(self) -> datetime:
        """The present time of the server, in UTC; a sink that asks here, and not the machine, can be tested without waiting."""
        return datetime.fromtimestamp(self._backplane.now(), UTC)

    @property
    def queue(self) -> Queue:
        """The queue."""
        return Queue(self._backplane)

    @property
    def routes(self) -> Routes:
        """The routes."""
        return Routes(self._backplane)

    @property
    def state(self) -> dict[str, Any]:
        """What this sink remembers in this worker process; changes are not undone, since many events share it at once."""
        return self.shared(self._scope.owner)

    def shared(self, name: str) -> dict[str, Any]:
        """What all sinks that know this name remember together in this worker process."""
        return self._backplane.states.setdefault(name, {})

    def new_message(self, *, sender: Address | str, recipients: Iterable[Address | str], content: bytes | EmailMessage) -> Message:
        """A new message, to be edited further or given to ``submit``.

        Args:
            sender: the reverse-path; "" for the null path, which no bounce ever answers.
            recipients: where it goes.
            content: header and body; line ends become CRLF.

        Raises: AddressError.
        """
        raw = as_content(content)
        listed = Recipients([])
        for address in recipients:
            listed.add(address)
        envelope = Envelope(as_address(sender), listed.items)
        record = MessageRecord(
            id=self._backplane.new_id(),
            received=self._backplane.now(),
            envelope=envelope,
            origin="sink",
            direction="internal",
            size=len(raw),
            generation=self._generation + 1,
        )
        return Message(MessageWork(record, MemoryContent(raw)), self._scope, self._backplane, "new")

    async def submit(self, message: Message, *, reenter: bool = False) -> str:
        """Takes a new message into transport and returns its id when it is on stable storage.

        Args:
            message: from ``new_message``.
            reenter: True when the sink that submits wants to see the message itself.

        Raises: ValueError for a message that is not new or was submitted already, for one without recipients, or after too many
            submissions in a chain; StorageUnavailable, after which it may be submitted again.
        """
        if message.fate != "new":
            why = "was submitted already" if message.fate == "submitted" else "is not new: only what new_message returns can be submitted"
            raise ValueError(f"the message {message.id} {why}")
        message.commit()
        work = message.work
        if not work.record.envelope.recipients:
            raise ValueError("a message needs at least one recipient")
        if work.record.generation > MAX_GENERATION:
            raise ValueError(f"more than {MAX_GENERATION} submissions by sinks led to one another: this is a loop")
        work.record.skip = [] if reenter else [self._scope.binding]
        message.fate = "submitted"
        try:
            return await self._backplane.submit(work)
        except StorageUnavailable:
            message.fate = "new"
            raise

    def submit_now(self, message: Message, *, reenter: bool = False) -> str:
        """Does what ``submit`` does, for plain ``def`` handlers in threads; the thread waits meanwhile.

        Args:
            message: from ``new_message``.
            reenter: True when the sink that submits wants to see the message itself.

        Raises: as ``submit``; RuntimeError on the loop itself, which it would stop for good.
        """
        loop = self._scope.loop
        if loop is None or _is_on_a_loop():
            raise RuntimeError("submit_now is for plain 'def' handlers, which run in threads; elsewhere it is 'await submit(...)'")
        return asyncio.run_coroutine_threadsafe(self.submit(message, reenter=reenter), loop).result()


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class ShownRecipient(Recipient):
    """A recipient as a report shows it: to be read only."""

    @classmethod
    def of(cls, recipient: Recipient) -> ShownRecipient:
        """The recipient as it is now."""
        copy = recipient.copy()
        parameters, properties = MappingProxyType(copy.parameters), MappingProxyType(copy.properties)
        return cls(
            copy.address, copy.original, copy.notify, copy.orcpt, cast(dict[str, str], parameters), cast(dict[str, Any], properties),
            copy.route, copy.variant, copy.reason,
        )  # fmt: skip

    def copy(self) -> Recipient:
        """A copy that may be changed."""
        return Recipient(
            self.address, self.original, self.notify, self.orcpt, dict(self.parameters), deepcopy(dict(self.properties)),
            self.route, self.variant, self.reason,
        )  # fmt: skip

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenError(f"a report only shows its recipient; {name} can be changed in an event that asks")


@dataclass(frozen=True, slots=True)
class MessageSnapshot:
    """A message as it was when a report was made; nothing in it can be changed.

    Args:
        id: the queue id.
        sender: the reverse-path.
        recipients: the recipients; copies.
        origin: how it entered.
        direction: from outside, to outside, or neither.
        size: octets of the content.
    """

    id: str
    sender: Address
    recipients: tuple[Recipient, ...]
    origin: Origin
    direction: Direction
    size: int
    _came: ContentHeader | None = None

    @classmethod
    def of(cls, work: MessageWork) -> MessageSnapshot:
        """The message as it is now."""
        record = work.record
        recipients = tuple(ShownRecipient.of(r) for r in record.envelope.recipients)
        came = work.came() if work.content else None
        return cls(record.id, record.envelope.sender, recipients, record.origin, record.direction, record.size, came)

    @property
    def in_memory(self) -> bool:
        """True when the header can be read without waiting for the disk."""
        return self._came is None or self._came.content.in_memory

    @property
    def header(self) -> Header:
        """The header fields as they were accepted, for reading."""
        return Header(self._came.section if self._came else b"", frozen=True)
